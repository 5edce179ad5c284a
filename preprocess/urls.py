"""URLs of images as browsers read them (the WHATWG's URL standard, by the library Ada).

One form for one address, so that one image has one identity: default ports, fragments and the dot
behind a host's name are dropped, host names go to IDNA (2008, UTS 46), numeric hosts to the usual
form, backslashes to slashes; what may not stand in a component is escaped as UTF-8. Escapes that
are there already stay as they are: signed URLs break when they are rewritten.
"""

import re
from contextlib import suppress
from functools import lru_cache

import ada_url

from septet.schemas.reasons import Rejected

MAX_LINK = 2048
"""Characters of a link as written. Longer ones are hardly ever addresses."""
MAX_URL = 8192
"""Characters of a URL, its escapes included."""

_MAX_HOST, _MAX_LABEL = 253, 63  # RFC 1035
_SCHEME = re.compile(r"\s*[a-zA-Z][a-zA-Z0-9+.-]*:")
_HTTP_URL = re.compile(r"(https?)://([^/?@]*@)?([^/?:\[]+|\[[^/?]*\])(.*)", re.DOTALL)
_BYTE = re.compile("[\udc80-\udcff]")  # how Python spells a byte that is not UTF-8
_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_PLACEHOLDER = re.compile(
    r"#.*|undefined|null|none|nan|false|true|about:blank|\[object .*|javascript:.*"
    r"|.*(?:\{\{|\}\}|\$\{|<%|%>|%7B%7B|\$%7B).*",
    re.IGNORECASE | re.DOTALL,
)

# What the parser leaves as it is, so that most links need none: no port, no user, no number for a
# host, no Punycode, no segments of dots, nothing that is escaped or means something else.
_HOST = r"https?://(?:[a-z0-9-]{1,62}\.){1,3}[a-z][a-z0-9-]{0,61}"
_SIGNS = "A-Za-z0-9._~!$&()*+,;=:@%-"
_PATH = rf"(?:/['{_SIGNS}]*+)++"
_QUERY = rf"(?:\?[/?{_SIGNS}]*+)?"
_NAME = rf"(?![.]|[^/?\n]*:)['{_SIGNS}]++(?:{_PATH})?{_QUERY}"
_PLAIN_NAME = re.compile(_NAME)
_PLAIN_NAMES = re.compile(rf"{_NAME}(?:\n{_NAME})*+")
_PLAIN_LINK = re.compile(rf"(?:{_HOST}{_PATH}{_QUERY}|(?!//){_PATH}{_QUERY}|{_NAME})")
_PLAIN_LINKS = re.compile(rf"{_PLAIN_LINK.pattern}(?:\n{_PLAIN_LINK.pattern})*+")
_PLAIN_BASE = re.compile(rf"({_HOST})({_PATH})(?:[?#].*)?", re.DOTALL)
_PLAIN_ORIGIN = re.compile(f"{_HOST}/")
_PLAIN_TEXT = re.compile(rf"[/?\n{_SIGNS.replace('$', '')}]++")
_NO_TEMPLATE = re.compile(r"(?:https?:/|\.\.?)?/[\w.~!&'()*+,;=:@?/-]*", re.ASCII)


class UrlError(ValueError):
    """Raised when a link is no http(s) URL: `part` is `scheme` or `url`, `detail` says what is
    wrong."""

    def __init__(self, part: str, detail: str):
        super().__init__(f"{part}: {detail}")
        self.part, self.detail = part, detail


def resolve(link: str, base: str | None = None) -> str:
    """Resolve `link` to an absolute http(s) URL without its fragment.

    Args:
        link: A URL, absolute or relative to `base`.
        base: An absolute URL; one that cannot be parsed counts as absent.

    Raises:
        UrlError: it has another scheme, no host, a user name, or is no URL.
    """
    if len(link) > MAX_URL:
        raise UrlError("url", f"longer than {MAX_URL} characters")
    if (plain := _resolve_plain(link, base)) is not None:
        return plain
    url = _join(_scalar(link), base).partition("#")[0]
    found = _HTTP_URL.fullmatch(url)
    if found is None:
        raise UrlError("scheme", url.partition(":")[0][:20])
    scheme, user, host, rest = found.groups()
    if user:
        raise UrlError("url", "carries a user name")
    name = host.rstrip(".")
    if len(name) > _MAX_HOST or not all(0 < len(label) <= _MAX_LABEL for label in name.split(".")):
        raise UrlError("url", "no name that a host can have")
    if len(url) > MAX_URL:
        raise UrlError("url", f"longer than {MAX_URL} characters")
    return f"{scheme}://{name}{rest}"


def _resolve_plain(link: str, base: str | None) -> str | None:
    """The URL of a link with nothing in it that needs a parser; None for others."""
    origin, folder = _plain_base(base) if base else ("", "")
    form = _PLAIN_LINK
    while link.startswith("../"):
        link, form = link[3:], _PLAIN_NAME
        folder = _folder_above(folder)
    if _may_need_parser(link) or not form.fullmatch(link):
        return None
    return _joined(link, origin, folder)


def _folder_above(folder: str) -> str:
    return folder[: folder.rfind("/", 0, -1) + 1] or "/"


def _may_need_parser(links: str) -> bool:
    escapes = "%" in links and ("%2e" in links or "%2E" in links)
    return escapes or "/." in links or "xn--" in links


def _joined(link: str, origin: str, folder: str) -> str | None:
    """The URL of a plain link; None where its base is not plain."""
    if link.startswith(("http://", "https://")):
        return link
    if not origin:
        return None
    return origin + link if link[0] == "/" else f"{origin}{folder}{link}"


@lru_cache(maxsize=256)
def _plain_base(base: str) -> tuple[str, str]:
    """The origin of a plain base, and the folder that links without a slash start in; both empty
    for other bases."""
    found = _PLAIN_BASE.fullmatch(base)
    path = found[2] if found else ""
    if found is None or len(base) > MAX_LINK or "xn--" in base or "/." in path or "%2" in path:
        return "", ""
    return found[1], path[: path.rindex("/") + 1]


def plain_image_urls(base: str, links: list[str]) -> list[str | None]:
    """The URLs that `image_url` gives for most links of a page, quickly; None for those that need
    a closer look."""
    together = "\n".join(links)
    others = len(links) - 1
    if (
        together.count("\n") != others
        or _may_need_parser(together)
        or "%7" in together
        or "$" in together
        or max(map(len, links)) > MAX_LINK
    ):
        return [_plain_image_url(base, link) for link in links]
    origin, folder = _plain_base(base)
    first = links[0]
    if _PLAIN_TEXT.fullmatch(together):  # then most pages write all of their links in one form
        start = first[: first.find("/", 8) + 1]
        if _is_plain_origin(start) and together.count(f"\n{start}") == others:
            return [*links]
        are_paths = first[:1] == "/" != first[1:2] and together.count("\n/") == others
        if origin and are_paths and "\n//" not in together:
            return [origin + link for link in links]
        if origin and first.startswith("../") and together.count("\n../") == others:
            names = [link[3:] for link in links]
            if _PLAIN_NAMES.fullmatch("\n".join(names)):
                start = origin + _folder_above(folder)
                return [start + name for name in names]
    if not _PLAIN_LINKS.fullmatch(together):
        return [_plain_image_url(base, link) for link in links]
    return [_joined(one, origin, folder) if "." in one or "/" in one else None for one in links]


@lru_cache(maxsize=256)
def _is_plain_origin(start: str) -> bool:
    return _PLAIN_ORIGIN.fullmatch(start) is not None


def _plain_image_url(base: str, link: str) -> str | None:
    if "%7" in link or "$" in link or not ("/" in link or "." in link):
        return None  # perhaps a placeholder
    return _resolve_plain(link, base) if len(link) <= MAX_LINK else None


def image_url(base: str, link: str) -> str | Rejected:
    """Resolve the address of an image that a page at `base` links to.

    Returns:
        An absolute URL as of `resolve`; or `inline_image` (a `data:` URL), `url_scheme`, or
        `bad_url`: no URL, or what a template or script left in the place of one.
    """
    link = link.strip()
    if link[:5].lower() == "data:":
        return Rejected("inline_image", printable(link[:40]))
    if len(link) > MAX_LINK or is_placeholder(link):
        return Rejected("bad_url", printable(link[:MAX_LINK]))
    try:
        return resolve(link, base)
    except UrlError as error:
        if error.part == "scheme":
            return Rejected("url_scheme", error.detail)
        return Rejected("bad_url", printable(link))


def is_placeholder(link: str) -> bool:
    """Whether a link is a placeholder and no address: empty, "#", "undefined", "{{ image }}"."""
    if _NO_TEMPLATE.fullmatch(link):
        return False
    return not link or _PLACEHOLDER.fullmatch(link) is not None


def printable(text: str) -> str:
    """`text` without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _join(link: str, base: str | None) -> str:
    if base:
        with suppress(ValueError):
            return ada_url.join_url(_scalar(base), link)
    try:
        return ada_url.normalize_url(link)
    except ValueError as error:
        if _SCHEME.match(link):
            raise UrlError("url", "not valid") from error
        raise UrlError("scheme", "none") from error


def _scalar(text: str) -> str:
    """`text` as Unicode scalar values: bytes that Python carried as surrogates are UTF-8, or else
    escaped; other lone surrogates become U+FFFD."""
    if text.isascii():
        return text
    raw = _SURROGATE.sub("\ufffd", text).encode("utf-8", "surrogateescape")
    decoded = raw.decode("utf-8", "surrogateescape")
    return _BYTE.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", decoded)
