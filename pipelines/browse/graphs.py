"""A small graph drawn as SVG: nodes in layers from top to bottom, so that edges point down.

The layout is simple and always the same for the same graph: a node stands one layer below the
deepest one that points to it (edges that would close a circle do not count), and in a layer where
its neighbours above stand.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import combining, east_asian_width

MOST_NODES = 60
MOST_EDGES = 120
_SIGNS = 26
"""The most signs of a label; of a longer one its title has the whole."""
_SIGN, _PADDING, _GAP, _HEIGHT, _LINE = 7.4, 22, 30, 32, 15
_BETWEEN = 66
"""From the foot of a layer to the next one."""
_ROW = 620
"""The width at which nodes without an edge begin a new layer."""


@dataclass(frozen=True)
class Node:
    """A node's box, its label, and in small what is said of it; `faint` if it is not asserted."""

    x: float
    y: float
    width: float
    height: float
    text: str
    note: str
    faint: bool

    @property
    def middle(self) -> float:
        """The middle of the box from left to right."""
        return self.x + self.width / 2


@dataclass(frozen=True)
class Edge:
    """An edge's path and its head as SVG has them, its label, and where that stands."""

    path: str
    head: str
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Graph:
    """A graph with a place for all of it."""

    width: float
    height: float
    nodes: list[Node]
    edges: list[Edge]
    given: int
    """How many nodes there are; at most 60 of them are in `nodes`."""


def lay_out(
    things: Sequence[tuple[str, str, bool]], relations: Sequence[tuple[int, str, int]]
) -> Graph:
    """Lay out a graph.

    Args:
        things: Label, note and whether it is faint, of each node.
        relations: Edges: from, label, to; positions in `things`.
    """
    shown = [*things[:MOST_NODES]]
    edges = [one for one in relations if max(one[0], one[2]) < len(shown)][:MOST_EDGES]
    layers = _layers(len(shown), edges)
    widths = [
        max(_width(text), 0.85 * _width(note)) + _PADDING if note else _width(text) + _PADDING
        for text, note, _ in shown
    ]
    whole = max((_layer_width(layer, widths) for layer in layers), default=0.0)
    nodes: dict[int, Node] = {}
    y = 8.0
    for layer in layers:
        x = 8 + (whole - _layer_width(layer, widths)) / 2
        tall = max(_HEIGHT + _LINE * bool(shown[one][1]) for one in layer)
        for one in layer:
            text, note, faint = shown[one]
            height = _HEIGHT + _LINE * bool(note)
            nodes[one] = Node(x, y, widths[one], height, text, note, faint)
            x += widths[one] + _GAP
        y += tall + _BETWEEN
    seen: Counter[frozenset[int]] = Counter()
    drawn = []
    for start, text, end in edges:
        pair = frozenset((start, end))
        drawn.append(_edge(nodes[start], nodes[end], text, seen[pair]))
        seen[pair] += 1
    right = max((one.x + _width(one.text) / 2 for one in drawn), default=0.0)
    found = [nodes[number] for number in range(len(shown))]
    return Graph(max(whole + 16, right + 8), y - _BETWEEN + 8, found, drawn, len(things))


def _layers(count: int, edges: Sequence[tuple[int, str, int]]) -> list[list[int]]:
    """Nodes by layer, those without an edge last."""
    below: dict[int, list[int]] = {one: [] for one in range(count)}
    for start, _, end in edges:
        below[start].append(end)
    depth = dict.fromkeys(range(count), 0)
    done: set[int] = set()
    order: list[int] = []

    def visit(one: int, above: frozenset[int]) -> None:
        if one in done:
            return
        below[one] = [end for end in below[one] if end not in above | {one}]
        for end in below[one]:
            visit(end, above | {one})
        done.add(one)
        order.append(one)

    for one in range(count):
        visit(one, frozenset())
    for one in reversed(order):
        for end in below[one]:
            depth[end] = max(depth[end], depth[one] + 1)
    linked = {end for start, _, last in edges for end in (start, last)}
    layers: list[list[int]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for one in sorted(linked):
        layers[depth[one]].append(one)
    place = {one: number for layer in layers for number, one in enumerate(layer)}
    for layer in layers[1:]:
        above = {one: [place[s] for s, _, e in edges if e == one and s in place] for one in layer}
        layer.sort(key=lambda one: sum(above[one]) / len(above[one]) if above[one] else 0)
        place |= {one: number for number, one in enumerate(layer)}
    alone = [one for one in range(count) if one not in linked]
    per_row = max(1, _ROW // 140)
    rows = [alone[at : at + per_row] for at in range(0, len(alone), per_row)]
    return [layer for layer in [*layers, *rows] if layer]


def _edge(start: Node, end: Node, text: str, number: int) -> Edge:
    """An edge, beside the `number` others between the same nodes."""
    if end.y > start.y:
        x0, y0, x1, y1 = start.middle, start.y + start.height, end.middle, end.y
        aside = 34 * number + 0.12 * max(0.0, y1 - y0 - _BETWEEN - _LINE)
        half = (y1 - y0) / 2
        path = (
            f"M{x0:.1f} {y0:.1f}C{x0 + aside:.1f} {y0 + half:.1f} {x1 + aside:.1f} {y1 - half:.1f} "
            f"{x1:.1f} {y1 - 7:.1f}"
        )
        head = f"M{x1:.1f} {y1:.1f}l-4 -8h8z"
        return Edge(path, head, (x0 + x1) / 2 + 0.75 * aside, (y0 + y1) / 2 + 4, text)
    x0, y0 = start.x + start.width, start.y + start.height / 2 - 5
    x1, y1 = end.x + end.width, end.y + end.height / 2 + 5
    aside = max(x0, x1) + 44 + 20 * number
    path = f"M{x0:.1f} {y0:.1f}C{aside:.1f} {y0:.1f} {aside:.1f} {y1:.1f} {x1 + 7:.1f} {y1:.1f}"
    head = f"M{x1:.1f} {y1:.1f}l8 -4v8z"
    return Edge(path, head, (0.25 * (x0 + x1) + 1.5 * aside) / 2, (y0 + y1) / 2 + 4, text)


def short(text: str) -> str:
    """A label as it is drawn."""
    return text if len(text) <= _SIGNS else text[: _SIGNS - 1] + "…"


def _width(text: str) -> float:
    """About how wide a label is, without its fonts."""
    drawn = [one for one in short(text) if not combining(one)]
    wide = sum(east_asian_width(one) in "WF" for one in drawn)
    return _SIGN * max(3, len(drawn) + 0.9 * wide)


def _layer_width(layer: Sequence[int], widths: Sequence[float]) -> float:
    return sum(widths[one] for one in layer) + _GAP * (len(layer) - 1)
