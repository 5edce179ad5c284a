"""The text of HTML elements as it is read: words are parted where blocks and breaks part them, not
where a word changes its type face."""

from dataclasses import dataclass

from selectolax.lexbor import LexborNode

_INLINE_TAGS = """a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark q
ruby s samp small span strike strong sub sup time tt u var wbr -text"""
_SILENT_TAGS = """script style noscript template textarea select rt rp svg math -comment"""
_INLINE = frozenset(_INLINE_TAGS.split())
_SILENT = frozenset(_SILENT_TAGS.split())


@dataclass
class TextBudget:
    """The budget of one page's texts: nodes that may still be visited, and characters of one
    text."""

    nodes: int = 500_000
    characters: int = 10_000


def inner_text(node: LexborNode, budget: TextBudget) -> str:
    """The text below a node, in order; "" when the budget is spent. White space is left as it
    is."""
    first: LexborNode | None = node.first_child
    if first is not None and first.tag == "-text" and first.next is None and budget.nodes > 0:
        budget.nodes -= 1
        return first.text_content or ""
    return "".join(text_parts(node, budget))


def text_parts(
    node: LexborNode, budget: TextBudget, images: dict[int, int] | None = None
) -> list[str]:
    """The pieces of the text below a node, in order; none when the budget is spent.

    Args:
        node: An element.
        budget: What may be visited; what was is taken off.
        images: Gets for each `<img>`, by its `mem_id`, the number of pieces before it.
    """
    parts: list[str] = []
    size = 0
    at: LexborNode | None = node.first_child
    while at is not None and budget.nodes > 0 and size < budget.characters:
        budget.nodes -= 1
        tag = at.tag or ""
        below = None
        if tag == "-text":
            text = at.text_content or ""
            parts.append(text)
            size += len(text)
        elif tag not in _SILENT and not (tag == "a" and _is_link_sign(at)):
            below = at.first_child
            if tag not in _INLINE:
                parts.append(" ")
            if images is not None and tag == "img":
                images[at.mem_id] = len(parts)
        if below is not None:
            at = below
            continue
        at = _next(at, node, parts)
    return parts if budget.nodes > 0 else []


def _is_link_sign(node: LexborNode) -> bool:
    """Whether a link is the paragraph sign that Sphinx adds to headings and captions."""
    return "headerlink" in (node.attributes.get("class") or "").split()


def _next(at: LexborNode, top: LexborNode, parts: list[str]) -> LexborNode | None:
    """The node that follows in document order, not below `at`."""
    while at.next is None:
        up = at.parent
        if up is None or up.mem_id == top.mem_id:
            return None
        if (up.tag or "") not in _INLINE:
            parts.append(" ")
        at = up
    following: LexborNode = at.next
    return following
