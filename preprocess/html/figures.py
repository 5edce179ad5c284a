"""Captions of figures: HTML's, DocBook's, MediaWiki's, and those of common publishing systems."""

from selectolax.lexbor import LexborHTMLParser, LexborNode

from septet.preprocess.html.text import TextBudget, inner_text
from septet.preprocess.text.clean import clean_caption

_CONTAINERS = "figure, .figure, .informalfigure, .mediaobject, .wp-caption, .thumb, .gallerybox"
_CAPTIONS = "figcaption, .caption, .wp-caption-text, .thumbcaption, .gallerytext, .title"
_WORDS = (b"figure", b"mediaobject", b"wp-caption", b"thumb", b"gallerybox")
_LINK_SIGNS = "a.headerlink"  # the paragraph sign that Sphinx adds to captions
_MAX_LEVELS = 40  # from an image or a caption up to its figure


def has_figures(page: bytes) -> bool:
    """Whether a page, as UTF-8, may have figures: a quick look that errs on the side of yes."""
    return any(word in page for word in _WORDS)


def figure_captions(tree: LexborHTMLParser, images: list[LexborNode]) -> dict[int, str]:
    """Find the cleaned caption of each image that stands in a figure, by the image node's
    `mem_id`: that of the nearest figure that has one."""
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
    for img in images:
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
