"""The scene graph of a caption: objects, attributes, numbers and relations.

Every node knows the characters that say it, so that a trainer can mask exactly these (ERNIE-ViL,
Yu et al. 2021, section 3.2: scene graph prediction). A span is a pair [start, end) of character
offsets into the caption; a node has a list of them, because a relation may be discontiguous
("holds the cup up"). Token spans are the same over the word pieces of a tokenizer, without start
token.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

Span = tuple[int, int]
Spans = tuple[Span, ...]


@dataclass(frozen=True)
class Node:
    """The base of all nodes: the words of the caption that say them."""

    lemma: str
    """Lower-cased dictionary form; of several words, with single spaces."""
    spans: Spans
    """Characters, in order, disjoint, none empty."""
    tokens: Spans = field(default=(), kw_only=True)
    """Word pieces, likewise; empty unless a tokenizer was named."""


@dataclass(frozen=True)
class Object(Node):
    """A thing that the caption names. `lemma` is its head's ("hydrant"), the spans hold the
    compound ("fire hydrant"), neither determiner nor adjectives."""

    text: str
    """What the spans say, pieces joined by a space."""


@dataclass(frozen=True)
class Attribute(Node):
    """A property of an object ("red", "wooden", "parked"), or what it does by itself ("sleep")."""

    object: int
    """Position in `SceneGraph.objects`."""
    kind: Literal["property", "action"] = "property"


@dataclass(frozen=True)
class Number(Node):
    """A number of objects: how many of one there are."""

    object: int
    value: int


@dataclass(frozen=True)
class Relation(Node):
    """A relation between two objects: "on", "ride", "stand in front of"."""

    subject: int
    object: int


Doubt = Literal["denied", "supposed", "asked"]
"""Why something that is said is not said to be so: "no dog", "if a dog", "a dog?"."""


@dataclass(frozen=True)
class Unasserted(Node):
    """A thing that the caption names without saying that it is there."""

    text: str
    why: Doubt


@dataclass(frozen=True)
class SceneGraph:
    """A caption's graph. Nodes are in the order of the caption. All but `unasserted` is what the
    caption says to be so."""

    objects: tuple[Object, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    numbers: tuple[Number, ...] = ()
    relations: tuple[Relation, ...] = ()
    unasserted: tuple[Unasserted, ...] = ()

    def nodes(self) -> Iterator[Node]:
        """The nodes of what is asserted: objects, attributes, numbers, relations."""
        yield from self.objects
        yield from self.attributes
        yield from self.numbers
        yield from self.relations

    def to_json(self) -> dict[str, Any]:
        """The graph as JSON takes it; `from_json` is its inverse. `tokens` is left out of nodes
        that have none, `unasserted` where there is nothing of it."""
        unasserted = [{**_node(o), "text": o.text, "why": o.why} for o in self.unasserted]
        asserted = {
            "objects": [{**_node(o), "text": o.text} for o in self.objects],
            "attributes": [
                {**_node(a), "object": a.object, "kind": a.kind} for a in self.attributes
            ],
            "numbers": [{**_node(n), "object": n.object, "value": n.value} for n in self.numbers],
            "relations": [
                {**_node(r), "subject": r.subject, "object": r.object} for r in self.relations
            ],
        }
        return asserted | ({"unasserted": unasserted} if unasserted else {})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "SceneGraph":
        """The graph of a column's value.

        Raises:
            ValueError: it does not have a graph's form, or a node points to no object.
        """
        try:
            graph = cls(
                tuple(Object(**_parsed(o)) for o in data["objects"]),
                tuple(Attribute(**_parsed(a)) for a in data["attributes"]),
                tuple(Number(**_parsed(n)) for n in data["numbers"]),
                tuple(Relation(**_parsed(r)) for r in data["relations"]),
                tuple(Unasserted(**_parsed(o)) for o in data.get("unasserted", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no scene graph: {type(error).__name__}: {error}") from error
        graph.check()
        return graph

    def check(self) -> None:
        """Check what the form cannot say.

        Raises:
            ValueError: a link to an object that is not there, or spans that are empty, overlap
                or are out of order.
        """
        count = len(self.objects)
        for thing in self.unasserted:
            if thing.why not in get_args(Doubt):
                raise ValueError(f"{thing.lemma!r} is unasserted for no known reason: {thing.why}")
        owned = [(a.lemma, a.object) for a in self.attributes]
        owned += [(n.lemma, n.object) for n in self.numbers]
        for lemma, position in owned:
            if not 0 <= position < count:
                raise ValueError(f"{lemma!r} belongs to object {position} of {count}")
        for relation in self.relations:
            if not (0 <= relation.subject < count and 0 <= relation.object < count):
                raise ValueError(f"relation {relation.lemma!r} points outside of {count} objects")
        for node in (*self.nodes(), *self.unasserted):
            for spans in (node.spans, node.tokens):
                bounds = [0, *(bound for span in spans for bound in span)]
                ordered = all(a <= b for a, b in pairwise(bounds))
                if not ordered or any(start == end for start, end in spans):
                    raise ValueError(f"{node.lemma!r} has bad spans {spans}")


def _node(node: Node) -> dict[str, Any]:
    spans: dict[str, Any] = {"lemma": node.lemma, "spans": [list(span) for span in node.spans]}
    return spans | ({"tokens": [list(span) for span in node.tokens]} if node.tokens else {})


def _parsed(node: dict[str, Any]) -> dict[str, Any]:
    spans = {
        name: tuple((int(start), int(end)) for start, end in node.get(name, ()))
        for name in ("spans", "tokens")
    }
    return {**node, **spans}
