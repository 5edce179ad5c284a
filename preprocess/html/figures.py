"""Captions of figures: HTML's, DocBook's, MediaWiki's, and those of common publishing systems."""

from collections.abc import Iterable, Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from septet.preprocess.html.text import TextBudget, inner_text
from septet.preprocess.text.clean import clean_caption, clean_captions

_CONTAINERS = "figure, .figure, .informalfigure, .mediaobject, .wp-caption, .thumb, .gallerybox"
_CAPTIONS = "figcaption, .caption, .wp-caption-text, .thumbcaption, .gallerytext, .title"
_MAX_LEVELS = 40  # from an image or a caption up to its figure


def figure_captions(tree: LexborHTMLParser, images: Iterable[LexborNode]) -> dict[int, str]:
    """Find the cleaned caption of each image that stands in a figure, by the image node's
    `mem_id`.

    A caption is that of the nearest figure around it, and the first of those that a figure has
    counts. An image has the caption of the nearest figure around it that has one; where none has,
    the first that stands in one of them at any depth.
    """
    figures = _Figures({node.mem_id: node for node in tree.css(_CONTAINERS)})
    if not figures.nodes:
        return {}
    captions = tree.css(_CAPTIONS)
    own: dict[int, LexborNode] = {}
    for caption in captions:
        if figure := figures.nearest(caption):
            own.setdefault(figure, caption)
    below: dict[int, LexborNode] | None = None
    inside = [(img, figure) for img in images if (figure := figures.nearest(img))]
    texts = _Texts(own[figure] for _, figure in inside if figure in own)
    found: dict[int, str] = {}
    for img, figure in inside:
        text = texts.of(own.get(figure))
        if not text:
            around = list(figures.around(img))
            text = next(filter(None, (texts.of(own.get(one)) for one in around)), "")
            if not text and captions:
                if below is None:
                    below = _captions_below(figures, captions)
                text = next(filter(None, (texts.of(below.get(one)) for one in around)), "")
        if text:
            found[img.mem_id] = text
    return found


def _captions_below(figures: "_Figures", captions: list[LexborNode]) -> dict[int, LexborNode]:
    """The first caption that stands in each figure, at any depth."""
    below: dict[int, LexborNode] = {}
    for caption in captions:
        for figure in figures.around(caption):
            below.setdefault(figure, caption)
    return below


class _Texts:
    """The cleaned texts of captions, each read once.

    Args:
        captions: Those of most images, which are cleaned together.
    """

    def __init__(self, captions: Iterable[LexborNode]) -> None:
        self._budget = TextBudget()
        nodes = {caption.mem_id: caption for caption in captions}
        texts = clean_captions([inner_text(node, self._budget) for node in nodes.values()])
        self._texts = dict(zip(nodes, texts, strict=True))

    def of(self, caption: LexborNode | None) -> str:
        """The text of a caption; "" of None."""
        if caption is None:
            return ""
        text = self._texts.get(caption.mem_id)
        if text is None:
            text = clean_caption(inner_text(caption, self._budget))
            self._texts[caption.mem_id] = text
        return text


class _Figures:
    """The figures of a page, and which of them a node stands in.

    Args:
        nodes: The figures, by `mem_id`.
    """

    def __init__(self, nodes: dict[int, LexborNode]):
        self.nodes = nodes
        self._above: dict[int, tuple[int, int]] = {}

    def nearest(self, node: LexborNode) -> int:
        """The nearest figure within `_MAX_LEVELS` above a node; 0 where there is none."""
        up = node.parent
        if up is not None and up.mem_id in self.nodes:
            return int(up.mem_id)
        figure, levels = self._nearest(node, _MAX_LEVELS)
        return figure if levels <= _MAX_LEVELS else 0

    def around(self, node: LexborNode) -> Iterator[int]:
        """The figures within `_MAX_LEVELS` above a node, innermost first."""
        left = _MAX_LEVELS
        while True:
            figure, levels = self._nearest(node, left)
            left -= levels
            if not figure or left < 0:
                return
            yield figure
            node = self.nodes[figure]

    def _nearest(self, node: LexborNode, most: int) -> tuple[int, int]:
        """The nearest figure above a node (0: none so near) and the levels up to it.

        What is above a node is remembered: figures stand beside each other in the same parents.
        """
        passed: list[int] = []
        figure, levels = 0, most + 1
        up = node.parent
        for level in range(1, most + 1):
            if up is None:
                break
            id_ = up.mem_id
            if id_ in self.nodes:
                figure, levels = id_, level
                break
            known = self._above.get(id_)
            if known is not None:
                figure, levels = known[0], level + known[1]
                break
            passed.append(id_)
            up = up.parent
        else:
            return 0, most + 1
        for level, id_ in enumerate(passed, 1):
            self._above[id_] = figure, levels - level
        return figure, levels
