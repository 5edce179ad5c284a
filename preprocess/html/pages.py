"""A page's bytes to candidate pairs: every picture with each text that captions it."""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from selectolax.lexbor import LexborHTMLParser, LexborNode

from septet.preprocess.text.clean import clean_caption
from septet.preprocess.urls import UrlError, image_url, resolve
from septet.schemas.reasons import Rejected

_CONTAINERS = "figure, .figure, .informalfigure, .mediaobject, .wp-caption, .thumb, .gallerybox"
_CAPTIONS = "figcaption, .caption, .wp-caption-text, .thumbcaption, .gallerytext, .title"
_LINK_SIGNS = "a.headerlink"  # the paragraph sign that Sphinx adds to captions
# Attributes that lazy-loading scripts copy into `src`, commonest first.
_LAZY_SOURCES = ("data-src", "data-original", "data-lazy-src", "data-srcset", "srcset")
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{2,40})""", re.I)


class Pair(NamedTuple):
    """An image URL, a cleaned caption, and where it stood: alt, figcaption or title."""

    image_url: str
    caption: str
    caption_from: str


@dataclass(frozen=True)
class Page:
    """What a page gave."""

    language: str | None
    """The language that it declares, as written."""
    pairs: list[Pair]
    bad_urls: list[Rejected]
    """Images that have a caption but no URL that could be fetched."""
    images: int
    """`<img>` elements in all."""
    without_caption: int
    """Of these, how many have no text at any of the places asked for."""


def decode_page(body: bytes, charset: str | None = None) -> str:
    """A page's text, whatever it claims.

    Tried in turn, as browsers do: byte-order mark, the transport's charset, `<meta charset>`, and
    detection. A declared encoding in which the bytes are not valid counts as not declared.
    """
    for bom, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"),
                      (b"\xfe\xff", "utf-16-be")):  # fmt: skip
        if body.startswith(bom):
            return body[len(bom) :].decode(encoding, "replace")
    meta = _CHARSET.search(body[:4096])
    for name in (charset, meta.group(1).decode("ascii") if meta else None):
        if name:
            try:
                return body.decode(name)
            except (LookupError, UnicodeDecodeError, ValueError):
                continue
    detected = detect_encoding(body) or "utf-8"
    return str(bytes_to_str(body, detected, fallback_encodings=("utf-8", "cp1252")))


def _base(url: str, href: str) -> str:
    """The address that links are relative to; a `<base>` that is no URL counts as absent."""
    try:
        return resolve(href, url)
    except UrlError:
        return url


def _source(img: LexborNode) -> str | None:
    """The link to an image's pixels, past the placeholders of lazy loading."""
    attributes = img.attributes
    src = (attributes.get("src") or "").strip()
    if src and not src.lower().startswith("data:"):
        return src
    for name in _LAZY_SOURCES:
        value = (attributes.get(name) or "").strip()
        if value:
            # A `srcset` lists candidates as "URL width, URL width": the first one will do.
            return value.split()[0].rstrip(",") if name.endswith("srcset") else value
    return src or None


def _figure_captions(tree: LexborHTMLParser) -> dict[int, str]:
    """Caption text by image node, for figures of HTML, DocBook and common publishing systems."""
    captions: dict[int, str] = {}
    for container in tree.css(_CONTAINERS):
        node = container.css_first(_CAPTIONS)
        if node is None:
            continue
        for sign in node.css(_LINK_SIGNS):
            sign.decompose()
        text = clean_caption(node.text(separator=" "))
        if text:
            # Inner containers come later in document order and overrule outer ones.
            captions.update({img.mem_id: text for img in container.css("img")})
    return captions


def parse_page(body: bytes, url: str, charset: str | None, places: list[str]) -> Page:
    """Extract the pairs of an HTML page.

    Args:
        body: The page as served, decoded from any content coding.
        url: Its address; a `<base href>` overrules it for links.
        charset: The transport's charset, if any.
        places: Which of alt, figcaption, title to take.
    """
    tree = LexborHTMLParser(decode_page(body, charset))
    root, base_node = tree.root, tree.css_first("base[href]")
    base = _base(url, base_node.attributes.get("href") or "") if base_node else url
    language = root.attributes.get("lang") or root.attributes.get("xml:lang") if root else None
    figures = _figure_captions(tree) if "figcaption" in places else {}
    pairs: dict[Pair, None] = {}
    bad: dict[Rejected, None] = {}
    images = without = 0
    for img in tree.css("img"):
        images += 1
        texts: dict[str, str] = {}
        for place in places:
            text = (
                figures.get(img.mem_id, "")
                if place == "figcaption"
                else clean_caption(img.attributes.get(place) or "")
            )
            if text:
                texts.setdefault(text, place)
        source = _source(img)
        if not texts or not source:
            without += 1
            continue
        absolute = image_url(base, source)
        for text, place in texts.items():
            if isinstance(absolute, Rejected):
                bad[replace(absolute, caption=text)] = None
            else:
                pairs[Pair(absolute, text, place)] = None
    return Page(language or None, list(pairs), list(bad), images, without)
