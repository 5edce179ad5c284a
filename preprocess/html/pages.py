"""A parser of HTML pages that finds every image with each text that captions it.

All steps take time in proportion to the page: each image and each caption is looked at once, and
the way up from it is bounded. The parser itself is not linear (deep nesting, very many attributes),
so pages of more than 128 KiB are read in a process that can be stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from septet.preprocess.html.apart import SMALL_PAGE, page_reader, read_apart
from septet.preprocess.html.charset import utf8_or_text
from septet.preprocess.html.context import Surroundings
from septet.preprocess.html.figures import figure_captions
from septet.preprocess.html.head import Head, base_of, language_of, read_head
from septet.preprocess.html.links import Attributes, image_link, plain_links
from septet.preprocess.text.clean import clean_caption, clean_captions
from septet.preprocess.urls import image_url
from septet.schemas.reasons import Rejected
from septet.schemas.sources import ImageCandidate

_MAX_SOURCES = 50
_QUICK = LexborDocumentOptions.WO_EVENTS


class Pair(NamedTuple):
    """An image URL, a cleaned caption, and where it stood: alt, figcaption, title, og:title …"""

    image_url: str
    caption: str
    caption_from: str


@dataclass(frozen=True)
class Wanted:
    """What is taken of a page beside captions, and what is known of it.

    Args:
        candidate: The address that is taken where an image has several.
        context_chars: The most characters of text taken before, and after, each image.
        language: The page's language where it does not say so itself.
    """

    candidate: ImageCandidate = "src"
    context_chars: int = 0
    language: str | None = None


class Page(NamedTuple):
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
    """Directives of its `<meta name="robots">`, as of `Head`."""
    tdm: list[str]
    """Values of its `<meta name="tdm-reservation">`."""
    context: dict[Pair, dict[str, str]]
    """The text around the image of a pair where it first stands, if asked for: `text_before` and
    `text_after`."""


_NOTHING_ELSE = Wanted()
_NO_TEXT: dict[str, str] = {}
_USUAL = {str, type(None)}
_new = tuple.__new__  # what a NamedTuple's own does, without a call of Python's


def parse_page(
    body: bytes,
    url: str,
    charset: str | None,
    places: Sequence[str],
    wanted: Wanted = _NOTHING_ELSE,
    apart: bool = False,
) -> Page:
    """Extract the pairs of an HTML page.

    Args:
        body: The page as served, decoded from any content coding.
        url: The page's address; a `<base href>` overrules it for links.
        charset: The transport's charset, if any.
        places: The places of captions that are taken.
        wanted: What else is taken.
        apart: Whether the page is read in another process, which may crash, however small it is.

    Raises:
        RejectedError: `page_timeout` or `page_crash` of `read_apart`, where the page is read so or
            has more than `SMALL_PAGE` bytes.
    """
    if len(body) <= SMALL_PAGE and not apart:
        return read_page(body, url, charset, places, wanted)
    page: Page = read_apart(_READER, body, url, charset, places, wanted)
    return page


_READER = page_reader("septet.preprocess.html.pages:read_page")


def read_page(
    body: bytes,
    url: str,
    charset: str | None,
    places: Sequence[str],
    wanted: Wanted = _NOTHING_ELSE,
) -> Page:
    """Extract the pairs of an HTML page in this process, without limits."""
    tree = LexborHTMLParser(utf8_or_text(body, charset), options=_QUICK)
    images = tree.tags("img")  # unlike selectors, that takes no parser of its own
    base = base_of(tree.tags("base"), url)
    head = read_head(meta.attributes for meta in tree.tags("meta"))
    figures = figure_captions(tree, images) if "figcaption" in places else {}
    around = Surroundings(tree, wanted.context_chars) if wanted.context_chars else None
    attributes: list[Attributes] = [img.attributes for img in images]
    texts = [
        [figures.get(img.mem_id, "") for img in images]
        if place == "figcaption"
        else clean_captions([one.get(place) or "" for one in attributes])
        for place in places
        if not place.startswith("og:")
    ]
    own_places = [place for place in places if not place.startswith("og:")]
    urls: list[str | None] = [None] * len(images)
    if wanted.candidate == "src":
        urls = plain_links(attributes, base)
    addresses: list[str | Rejected | None] = [*urls]
    for number, url_of_image in enumerate(urls):
        if url_of_image is None and any(said[number] for said in texts):
            image = images[number]
            link = image_link(attributes[number], _sources(image), wanted.candidate)
            addresses[number] = None if link is None else image_url(base, link)
    found = Found()
    around_image = (lambda number: around.around(images[number])) if around else None
    without = found.add_images(addresses, texts, own_places, around_image)
    found.add_open_graph(head, base, places)
    language = language_of(tree) or head.language or wanted.language
    return found.page(language, len(images), without, head)


class Found:
    """The pairs of a page with what stands around them, and the images that have a caption but no
    URL; each once."""

    def __init__(self) -> None:
        self._pairs: dict[Pair, dict[str, str]] = {}
        self._bad: dict[Rejected, None] = {}

    def add_images(
        self,
        addresses: Sequence[str | Rejected | None],
        texts: Sequence[Sequence[str]],
        places: Sequence[str],
        around: Callable[[int], dict[str, str]] | None = None,
    ) -> int:
        """Add images with their texts.

        Args:
            addresses: None for an image without one.
            texts: Those of each place, "" for an image that has none there.
            places: The places.
            around: Gives the context of an image by its number.

        Returns:
            The number of images without any text, or without an address.
        """
        if len(places) == 1 and around is None and {*map(type, addresses)} <= _USUAL:
            place, both = places[0], zip(addresses, texts[0], strict=True)
            pairs = [_new(Pair, (url, text, place)) for url, text in both if text and url]
            self._pairs.update(dict.fromkeys(pairs, _NO_TEXT))
            return len(addresses) - len(pairs)
        without = len(addresses)
        if places:
            for number, said in enumerate(zip(*texts, strict=True)):
                address = addresses[number]
                if address is not None and any(said):
                    without -= 1
                    self._add(address, said, places, around(number) if around else _NO_TEXT)
        return without

    def _add(
        self,
        url: str | Rejected,
        texts: Sequence[str],
        places: Sequence[str],
        around: dict[str, str],
    ) -> None:
        """Add an image with its texts, each with its place; empty ones and repeated ones do not
        count."""
        for number, text in enumerate(texts):
            if not text or texts.index(text) != number:
                continue
            if isinstance(url, str):
                self._pairs.setdefault(_new(Pair, (url, text, places[number])), around)
            else:
                self._bad[replace(url, caption=text)] = None

    def add_open_graph(self, head: Head, base: str, places: Sequence[str]) -> None:
        """Add the OpenGraph images with those of their texts whose places are asked for."""
        for image in head.images:
            texts = [clean_caption(image.texts.get(place, "")) for place in places]
            if any(texts):
                self._add(image_url(base, image.link), texts, places, _NO_TEXT)

    def page(self, language: str | None, images: int, without: int, head: Head) -> Page:
        """All that was found, as a page."""
        context = {}
        if any(self._pairs.values()):
            context = {pair: text for pair, text in self._pairs.items() if text}
        pairs, bad = list(self._pairs), list(self._bad)
        return Page(language, pairs, bad, images, without, head.robots, head.tdm, context)


def _sources(img: LexborNode) -> list[Attributes]:
    """The attributes of the `<source>` elements before an image in its `<picture>`."""
    if img.parent is None or img.parent.tag != "picture":
        return []
    found: list[Attributes] = []
    at = img.prev
    for _ in range(_MAX_SOURCES):
        if at is None:
            break
        if at.tag == "source":
            found.append(at.attributes)
        at = at.prev
    return found[::-1]
