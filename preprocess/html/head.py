"""The statements of a page about itself: base address, language, opt-outs, OpenGraph images."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from septet.preprocess.urls import UrlError, resolve

_OPT_OUT = re.compile(r"\bno(?:ne|ai|ml|index|imageai|imageindex)\b", re.IGNORECASE)
_MAX_META = 300
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
_MAX_OPEN_GRAPH = 100
_OF_PAGE = ("og:title", "og:description")
_IMAGE = ("og:image", "og:image:url", "og:image:secure_url")


@dataclass
class OpenGraphImage:
    """An image that a page names as its own: the link, and texts by their property."""

    link: str
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class Head:
    """The statements of a page's `<meta>` elements."""

    robots: list[str] = field(default_factory=list)
    """Directives of `<meta name="robots">`, in the form of X-Robots-Tag values: "noindex",
    "somebot: noai". For `septet.preprocess.http.opt_out.find_opt_out`."""
    tdm: list[str] = field(default_factory=list)
    """Values of `<meta name="tdm-reservation">`."""
    language: str | None = None
    """The one language of `<meta http-equiv="content-language">`."""
    images: list[OpenGraphImage] = field(default_factory=list)
    """The OpenGraph images: the first one with the page's title and description, each with its own
    `og:image:alt`."""


def read_head(metas: Iterable[Mapping[str, str | None]]) -> Head:
    """Read the `<meta>` elements of a page, given as their attributes, wherever they stand."""
    head = Head()
    of_page: dict[str, str] = {}
    for attributes in metas:
        content = attributes.get("content")
        if content is None:
            continue
        content = content.strip()
        name = attributes.get("name")
        if name is not None:
            _read_opt_out(head, name.strip().lower(), content[:_MAX_META])
        equivalent = attributes.get("http-equiv")
        if equivalent and equivalent.strip().lower() == "content-language":
            head.language = head.language or one_language(content)
        stated = (attributes.get("property") or name or "").strip().lower()
        if stated.startswith("og:"):
            _read_open_graph(head, of_page, stated, content)
    if head.images:
        head.images[0].texts.update(of_page)
    return head


def _read_opt_out(head: Head, name: str, content: str) -> None:
    if name == "tdm-reservation":
        head.tdm.append(content)
    elif name == "robots":
        head.robots.append(content)
    elif len(name) <= 40 and "no" in content.lower() and _OPT_OUT.search(content):
        head.robots.append(f"{name}: {content}")


def _read_open_graph(head: Head, of_page: dict[str, str], name: str, content: str) -> None:
    images = head.images
    if name in _OF_PAGE:
        of_page.setdefault(name, content)
    elif name in _IMAGE and content and len(images) < _MAX_OPEN_GRAPH:
        if name == "og:image" or not images:
            images.append(OpenGraphImage(content))
    elif name == "og:image:alt" and images:
        images[-1].texts.setdefault(name, content)


def one_language(declared: str) -> str | None:
    """The language of a header or meta value that names one; None where it names several or
    none."""
    declared = declared.strip()
    return declared if _LANGUAGE_TAG.fullmatch(declared) else None


def language_of(tree: LexborHTMLParser) -> str | None:
    """The language that the `<html>` element declares, as written."""
    root = tree.root
    if root is None:
        return None
    attributes = root.attributes
    return attributes.get("lang") or attributes.get("xml:lang") or None


def base_of(bases: Sequence[LexborNode], url: str) -> str:
    """Find the address that links are relative to, by the first `<base href>`; one that is no URL
    counts as absent."""
    for base in bases:
        attributes = base.attributes
        if "href" in attributes:
            try:
                return resolve(attributes["href"] or "", url)
            except UrlError:
                break
    return url
