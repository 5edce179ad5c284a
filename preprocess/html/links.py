"""The address of an `<img>` element's image, found among its attributes and those of the
`<source>` elements of its `<picture>`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from septet.preprocess.urls import is_placeholder, plain_image_urls
from septet.schemas.sources import ImageCandidate

# Attributes that lazy-loading scripts copy into `src`, commonest first.
_LAZY = (
    "data-src", "data-original", "data-lazy-src", "data-lazy", "data-url", "data-img",
    "data-original-src", "data-lazyload", "data-img-src", "data-image", "data-echo",
    "data-actualsrc", "data-cfsrc", "data-ezsrc", "data-delayed-url", "data-hi-res-src",
    "data-orig-file", "data-flickity-lazyload", "nitro-lazy-src", "lazy-src", "lazysrc",
)  # fmt: skip
_SETS = (
    "data-srcset", "data-lazy-srcset", "data-original-set", "data-flickity-lazyload-srcset",
    "nitro-lazy-srcset", "lazy-srcset", "srcset",
)  # fmt: skip
_BLANK_WORDS = (
    "blank", "spacer", "pixel", "trans", "clear", "empty", "placeholder", "loading", "loader",
    "lazy", "spinner", "dummy", "1x1", "grey", "gray",
)  # fmt: skip
_BLANK = re.compile(
    rf"(?:^|[/_.-])(?:{'|'.join(_BLANK_WORDS)})[^/]*"
    r"\.(?:gif|png|svg|jpe?g|webp)(?:[?#].*)?$",
    re.IGNORECASE,
)
_LAZY_CLASS = re.compile(r"(?:^|\s)(?:b-)?lazy(?:load(?:ed|ing)?|-load|-image)?(?:\s|$)", re.I)
# What builds do not decode unless they are asked to.
_RARE_TYPES = ("image/avif", "image/jxl", "image/heic", "image/heif", "image/svg+xml")

_MAX_SET = 100_000  # characters
_SPACE = " \t\n\f\r"
_CANDIDATE = re.compile(rf"[{_SPACE},]*+([^{_SPACE}]+)")
_DESCRIPTORS = re.compile(r"((?:[^,(]+|\([^)]*(?:\)|$))*),?")
_WIDTH = re.compile(r"[0-9]{1,9}")
_DENSITY = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NEXT_LINK = re.compile(r",(?=https?://|//)")

Attributes = Mapping[str, str | None]


class Candidate(NamedTuple):
    """An image of a `srcset`: its link, and its width in pixels or its density (1 where neither
    is said)."""

    link: str
    width: int | None = None
    density: float = 1.0


def image_link(
    attributes: Attributes,
    sources: Sequence[Attributes] = (),
    candidate: ImageCandidate = "src",
) -> str | None:
    """Find the link to an image's pixels, past the placeholders of lazy loading.

    `src` is taken unless it is a placeholder (absent, `data:`, "#", "undefined", a blank image by
    its name) or the element says by its class that a script will replace it; then the first
    attribute of lazy loading that holds an address; then the largest candidate of its sets, and of
    those of its sources. Where there is none, `src` as it is. With `largest` sets come first, and
    count where they offer more than one pixel of image for a pixel of `src`.

    Args:
        attributes: Those of the `<img>`.
        sources: Those of the `<source>` elements that stand before it in its `<picture>`.
        candidate: Which address is taken.

    Returns:
        The link as written; None for an element without any.
    """
    src = (attributes.get("src") or "").strip()
    if candidate == "largest":
        link = _largest_of_all(attributes, sources)
        if link:
            return link
    if src and not _is_no_address(src) and not _is_blank(src):
        classes = attributes.get("class")
        if not classes or not _LAZY_CLASS.search(classes):
            return src
    for name in _LAZY:
        link = (attributes.get(name) or "").strip()
        if link and not _is_no_address(link):
            return link
    return largest(_sets(attributes)) or _largest_source(sources) or src or None


def plain_links(images: Sequence[Attributes], base: str) -> list[str | None]:
    """The URLs of images whose `src` is plainly their address: most are. None for others."""
    links = [one.get("src") or "" for one in images]
    urls = plain_image_urls(base, links)
    together = "\n".join(links).lower()
    if any(word in together for word in _BLANK_WORDS):
        urls = [None if _is_blank(one) else url for one, url in zip(links, urls, strict=True)]
    classes = [one.get("class") for one in images]
    if any(one and "lazy" in one.lower() for one in classes):
        urls = [
            None if one and "lazy" in one.lower() else url
            for one, url in zip(classes, urls, strict=True)
        ]
    return urls


def _largest_of_all(attributes: Attributes, sources: Sequence[Attributes]) -> str | None:
    """The largest candidate of the sets of an image and of its sources, where one is larger than
    its `src` (density 1)."""
    own = list(_sets(attributes))
    theirs = [one for source in _of_usual_type(sources) for one in _sets(source)]
    return largest(
        one for one in [*own, *theirs] if one.width is not None or one.density > 1.0
    )  # fmt: skip


def _largest_source(sources: Sequence[Attributes]) -> str | None:
    for group in (_of_usual_type(sources), sources):
        if link := largest(one for source in group for one in _sets(source)):
            return link
    return None


def _of_usual_type(sources: Sequence[Attributes]) -> list[Attributes]:
    return [one for one in sources if (one.get("type") or "").strip().lower() not in _RARE_TYPES]


def _sets(attributes: Attributes) -> Iterator[Candidate]:
    for name in _SETS:
        yield from candidates(attributes.get(name) or "")


def largest(found: Iterator[Candidate]) -> str | None:
    """The link of the widest candidate, where widths are said, else of the densest one; of equals
    the first. Placeholders do not count."""
    best: Candidate | None = None
    for one in found:
        if not _is_no_address(one.link) and (best is None or _size(one) > _size(best)):
            best = one
    return best.link if best else None


def _size(candidate: Candidate) -> tuple[int, float]:
    return candidate.width or 0, candidate.density


def candidates(srcset: str) -> list[Candidate]:
    """The candidates of a `srcset`, in order, as the WHATWG's HTML standard parses them: links may
    hold commas, and a candidate with a descriptor that is not valid is dropped.

    Unlike there, "a.jpg,https://…" without a blank is two links and not one.
    """
    found: list[Candidate] = []
    at = 0
    while len(srcset) <= _MAX_SET and (link := _CANDIDATE.match(srcset, at)):
        at = link.end()
        url = link[1]
        if url.endswith(","):
            described: Candidate | None = Candidate(url.rstrip(","))
        else:
            descriptors = _DESCRIPTORS.match(srcset, at)
            assert descriptors is not None
            at = descriptors.end()
            described = _described(url, descriptors[1].split())
        if described is not None:
            first, *others = _NEXT_LINK.split(described.link)
            found += [Candidate(one) for one in (first, *others[:-1]) if others and one]
            found.append(described._replace(link=others[-1] if others else first))
    return found


def _described(link: str, descriptors: list[str]) -> Candidate | None:
    """A candidate with its descriptors; None where one of them is not valid."""
    width: int | None = None
    density: float | None = None
    height: int | None = None
    for one in descriptors:
        value, unit = one[:-1], one[-1]
        if unit in "wh" and _WIDTH.fullmatch(value) and int(value) > 0:
            if unit == "w" and width is None and density is None:
                width = int(value)
            elif unit == "h" and height is None and density is None:
                height = int(value)
            else:
                return None
        elif unit == "x" and _DENSITY.fullmatch(value) and float(value) >= 0:
            if density is not None or width is not None or height is not None:
                return None
            density = float(value)
        else:
            return None
    if height is not None and width is None:
        return None
    return Candidate(link, width, 1.0 if density is None else density)


def _is_blank(src: str) -> bool:
    """Whether an address names a blank image."""
    # Where the path ends; -1, that there is none, is the end of all.
    path_end = min(src.find("?") % (len(src) + 1), src.find("#") % (len(src) + 1))
    return _BLANK.search(src, max(0, src.rfind("/", 0, path_end))) is not None


def _is_no_address(link: str) -> bool:
    return link[:5].lower() == "data:" or is_placeholder(link)
