"""A parser of HTML pages that finds every image with each text that captions it.

All steps take time in proportion to the page: each image and each caption is looked at once, and
the way up from it is bounded. The parser itself is not linear (deep nesting, very many attributes),
so pages of more than 128 KiB are read in a process that can be stopped.
"""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from septet.preprocess.bounded import BoundedCall, MemoryLimitError, TimeLimitError
from septet.preprocess.html.charset import decode_page
from septet.preprocess.html.links import image_link
from septet.preprocess.html.text import TextBudget, inner_text
from septet.preprocess.text.clean import clean_caption
from septet.preprocess.urls import UrlError, image_url, resolve
from septet.schemas.reasons import Rejected, RejectedError

SMALL_PAGE = 2**17
"""Bytes of a page that are parsed in this process: the worst takes about five seconds."""
PAGE_SECONDS = 20.0
"""CPU time that a larger page may take; one of 8 MiB takes about one second."""
_PAGE_MEMORY = 2**31

_CONTAINERS = "figure, .figure, .informalfigure, .mediaobject, .wp-caption, .thumb, .gallerybox"
_CAPTIONS = "figcaption, .caption, .wp-caption-text, .thumbcaption, .gallerytext, .title"
_LINK_SIGNS = "a.headerlink"  # the paragraph sign that Sphinx adds to captions
_MAX_LEVELS = 40  # from an image or a caption up to its figure
_OPT_OUT = re.compile(r"\bno(?:ne|ai|ml|index|imageai|imageindex)\b", re.IGNORECASE)
_MAX_META = 300


class Pair(NamedTuple):
    """An image URL, a cleaned caption, and where it stood: alt, figcaption or title."""

    image_url: str
    caption: str
    caption_from: str


@dataclass(frozen=True)
class Page:
    """The result of parsing a page: its pairs, language and opt-outs."""

    language: str | None
    """The language that it declares, as written."""
    pairs: list[Pair]
    bad_urls: list[Rejected]
    """Images that have a caption but no URL that could be fetched."""
    images: int
    """The number of `<img>` elements."""
    without_caption: int
    """The number of these that have no text at any of the places asked for."""
    robots: list[str]
    """Directives of its `<meta name="robots">`, in the form of X-Robots-Tag values: "noindex",
    "somebot: noai". For `septet.preprocess.http.opt_out.find_opt_out`."""
    tdm: list[str]
    """Values of its `<meta name="tdm-reservation">`."""


def parse_page(body: bytes, url: str, charset: str | None, places: list[str]) -> Page:
    """Extract the pairs of an HTML page.

    Args:
        body: The page as served, decoded from any content coding.
        url: The page's address; a `<base href>` overrules it for links.
        charset: The transport's charset, if any.
        places: Those of alt, figcaption, title that are taken.

    Raises:
        RejectedError: `page_timeout`: a page of more than `SMALL_PAGE` bytes took more than
            `PAGE_SECONDS`, or more than 2 GiB.
    """
    if len(body) <= SMALL_PAGE:
        return read_page(body, url, charset, places)
    try:
        page: Page = _READER(body, url, charset, places)
    except TimeLimitError as error:
        raise RejectedError("page_timeout", f"{PAGE_SECONDS:g}") from error
    except MemoryLimitError as error:
        raise RejectedError("page_timeout", f"more than {_PAGE_MEMORY} bytes of memory") from error
    return page


_READER = BoundedCall("septet.preprocess.html.pages:read_page", PAGE_SECONDS, _PAGE_MEMORY)


def read_page(body: bytes, url: str, charset: str | None, places: list[str]) -> Page:
    """Extract the pairs of an HTML page in this process, without limits."""
    tree = LexborHTMLParser(decode_page(body, charset))
    root = tree.root
    language = root.attributes.get("lang") or root.attributes.get("xml:lang") if root else None
    base = _base(tree, url)
    figures = _figure_captions(tree) if "figcaption" in places else {}
    pairs: dict[Pair, None] = {}
    bad: dict[Rejected, None] = {}
    images = without = 0
    for img in tree.css("img"):
        images += 1
        attributes = img.attributes
        texts: dict[str, str] = {}
        for place in places:
            text = (
                figures.get(img.mem_id, "")
                if place == "figcaption"
                else clean_caption(attributes.get(place) or "")
            )
            if text:
                texts.setdefault(text, place)
        source = image_link(attributes)
        if not texts or source is None:
            without += 1
            continue
        absolute = image_url(base, source)
        for text, place in texts.items():
            if isinstance(absolute, Rejected):
                bad[replace(absolute, caption=text)] = None
            else:
                pairs[Pair(absolute, text, place)] = None
    robots, tdm = _opt_outs(tree)
    return Page(language or None, list(pairs), list(bad), images, without, robots, tdm)


def _base(tree: LexborHTMLParser, url: str) -> str:
    """Find the address that links are relative to; a `<base>` that is no URL counts as absent."""
    node = tree.css_first("base[href]")
    try:
        return resolve(node.attributes.get("href") or "", url) if node else url
    except UrlError:
        return url


def _figure_captions(tree: LexborHTMLParser) -> dict[int, str]:
    """Find caption text by image node, for figures of HTML, DocBook and common publishing systems:
    that of the nearest figure that has one."""
    containers = {node.mem_id for node in tree.css(_CONTAINERS)}
    if not containers:
        return {}
    for sign in tree.css(_LINK_SIGNS):
        sign.decompose()
    captions: dict[int, LexborNode] = {}
    for caption in tree.css(_CAPTIONS):
        for container in _figures_around(caption, containers):
            captions.setdefault(container, caption)
    texts: dict[int, str] = {}
    found: dict[int, str] = {}
    budget = TextBudget()
    for img in tree.css("img"):
        for container in _figures_around(img, containers):
            node = captions.get(container)
            if node is None:
                continue
            if node.mem_id not in texts:
                texts[node.mem_id] = clean_caption(inner_text(node, budget))
            if texts[node.mem_id]:
                found[img.mem_id] = texts[node.mem_id]
                break
    return found


def _figures_around(node: LexborNode, containers: set[int]) -> list[int]:
    """The figures that a node stands in, innermost first."""
    around: list[int] = []
    up = node.parent
    for _ in range(_MAX_LEVELS):
        if up is None:
            break
        if up.mem_id in containers:
            around.append(up.mem_id)
        up = up.parent
    return around


def _opt_outs(tree: LexborHTMLParser) -> tuple[list[str], list[str]]:
    """Find the directives of `<meta>` elements that may forbid the use of a page's images."""
    robots: list[str] = []
    tdm: list[str] = []
    for meta in tree.css("meta[name][content]"):
        name = (meta.attributes.get("name") or "").strip().lower()
        content = (meta.attributes.get("content") or "").strip()[:_MAX_META]
        if name == "tdm-reservation":
            tdm.append(content)
        elif name == "robots":
            robots.append(content)
        elif len(name) <= 40 and _OPT_OUT.search(content):
            robots.append(f"{name}: {content}")
    return robots, tdm
