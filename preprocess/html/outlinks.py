"""The links of an HTML page that a crawler may follow, and what the page says of that."""

import re
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser

from septet.preprocess.html.apart import page_reader, read_apart
from septet.preprocess.html.charset import decode_page
from septet.preprocess.html.head import base_of
from septet.preprocess.html.pages import read_page
from septet.preprocess.urls import UrlError, is_placeholder, resolve

_MAX_LINKS = 10_000
_PLACES = ("alt", "figcaption", "title")
_DIRECTIVES = re.compile(r"[\s,]+")


@dataclass(frozen=True)
class Outlinks:
    """The addresses that a page names, each once, in its order: absolute http(s) URLs."""

    pages: list[str]
    """Of `<a>` and `<area>`; none where the page forbids following, and without those that are
    marked `rel=nofollow` (or `ugc`, `sponsored`)."""
    images: list[str]
    """Those that a source of archives takes: with a caption."""
    canonical: str | None
    """Where the page says that it really stands."""
    robots: frozenset[str]
    """Directives of its `<meta name=robots>` and of that for `agent`."""


NOTHING = Outlinks([], [], None, frozenset())


def outlinks(
    body: bytes, url: str, charset: str | None, agent: str, with_images: bool = False
) -> Outlinks:
    """Read a page's links in a process of its own, always: a crawl waits for servers most of the
    time, and a page that crashes the parser must not end it.

    Args:
        body: The page, decoded from any content coding.
        url: Its address; a `<base href>` overrules it.
        charset: The transport's charset, if any.
        agent: Our token in lower case, which a `<meta>` may address.
        with_images: Whether its images are wanted, too.

    Raises:
        RejectedError: `page_timeout` or `page_crash` of `read_apart`.
    """
    found: Outlinks = read_apart(_READER, body, url, charset, agent, with_images)
    return found


_READER = page_reader("septet.preprocess.html.outlinks:read_outlinks")


def read_outlinks(
    body: bytes, url: str, charset: str | None, agent: str, with_images: bool = False
) -> Outlinks:
    """Read a page's links in this process, without limits."""
    tree = LexborHTMLParser(decode_page(body, charset))
    base = base_of(tree.css("base[href]"), url)
    robots: set[str] = set()
    for meta in tree.css("meta[name][content]"):
        if (meta.attributes.get("name") or "").strip().lower() in ("robots", agent):
            robots.update(_DIRECTIVES.split((meta.attributes.get("content") or "")[:300].lower()))
    if "none" in robots:
        robots |= {"nofollow", "noindex"}
    pages: dict[str, None] = {}
    for link in tree.css("a[href], area[href]") if "nofollow" not in robots else []:
        rel = (link.attributes.get("rel") or "").lower().split()
        if {"nofollow", "ugc", "sponsored"}.isdisjoint(rel):
            _note(pages, link.attributes.get("href"), base)
    images: dict[str, None] = {}
    if with_images:
        images |= dict.fromkeys(
            pair.image_url for pair in read_page(body, url, charset, _PLACES).pairs
        )
    canonical = None
    for link in tree.css("link[rel][href]"):
        if "canonical" in (link.attributes.get("rel") or "").lower().split():
            canonical = _absolute(link.attributes.get("href"), base)
            break
    return Outlinks(list(pages), list(images), canonical, frozenset(robots - {""}))


def _note(found: dict[str, None], link: str | None, base: str) -> None:
    if len(found) < _MAX_LINKS and (url := _absolute(link, base)):
        found[url] = None


def _absolute(link: str | None, base: str) -> str | None:
    """The address that a link names; None for a placeholder, another scheme or no URL."""
    link = (link or "").strip()
    if is_placeholder(link) or len(link) > 2048:
        return None
    try:
        return resolve(link, base)
    except UrlError:
        return None
