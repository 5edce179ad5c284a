"""URLs of images as browsers read them (the WHATWG's URL standard, by the library Ada).

One form for one address, so that one image has one identity: default ports, fragments and the dot
behind a host's name are dropped, host names go to IDNA (2008, UTS 46), numeric hosts to the usual
form, backslashes to slashes; what may not stand in a component is escaped as UTF-8. Escapes that
are there already stay as they are: signed URLs break when they are rewritten.
"""

import re
from contextlib import suppress

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
