"""What is hidden from the model: words, nodes of the scene graph, regions (paper, section 3.2).
All of it is drawn from a generator that is a pure function of (seed, stream, key, epoch)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.scene_graphs.graph import Attribute, Node, Number, SceneGraph, Span
from septet.preprocess.scene_graphs.tokens import token_spans

NONE, WORD, OBJECT, ATTRIBUTE, RELATION = -1, 0, 1, 2, 3
"""Kinds of tokens; `model.KINDS` has the names of those that are predicted."""


@dataclass(frozen=True)
class Part:
    """A node of the graph as pieces of the text."""

    kind: int
    pieces: frozenset[int]
    """Where it is said."""
    objects: tuple[int, ...]
    """Places in `Parts.objects` of what must stay visible where this one is masked."""


@dataclass(frozen=True)
class Parts:
    """The nodes of a caption that can be masked, in the order of the graph."""

    objects: tuple[Part | None, ...] = ()
    """None for an object that the text does not hold whole."""
    attributes: tuple[Part, ...] = ()
    """With numbers, which the paper's parser gives as attributes."""
    relations: tuple[Part, ...] = ()
    cut: int = 0
    """Nodes that are left out, because the text ends before they do."""


def parts_of(graph: SceneGraph, offsets: Sequence[Span], most: int) -> Parts:
    """Nodes as pieces of a text. The graph says which characters a node is, which holds for every
    tokenizer.

    A node that no piece says is left out; one that the length limit cuts is, too, and counted.

    Args:
        graph: The caption's.
        offsets: Characters of each of its pieces, all of them.
        most: How many pieces the model sees.
    """
    cut = 0

    def part(kind: int, node: Node, objects: tuple[int, ...]) -> Part | None:
        nonlocal cut
        spans = token_spans(node.spans, offsets)
        pieces = frozenset(i for start, end in spans for i in range(start, end))
        if pieces and max(pieces) >= most:
            cut += 1
            return None
        return Part(kind, pieces, objects) if pieces else None

    objects = tuple(part(OBJECT, o, ()) for o in graph.objects)
    descriptions: list[Attribute | Number] = [*graph.attributes, *graph.numbers]
    described = [part(ATTRIBUTE, a, (a.object,)) for a in descriptions]
    relations = [part(RELATION, r, (r.subject, r.object)) for r in graph.relations]
    return Parts(
        objects,
        tuple(a for a in described if a is not None),
        tuple(r for r in relations if r is not None),
        cut,
    )


@dataclass(frozen=True)
class Hidden:
    """What became of a text's pieces."""

    kinds: NDArray[np.int8]
    """[n]: what a piece is predicted as; NONE where it is not."""
    dice: NDArray[np.float64]
    """[n]: what replaces it, see `replaced`; equal for all pieces of a node."""


def hide(draw: np.random.Generator, parts: Parts, count: int, nodes: float, words: float) -> Hidden:
    """Choose the pieces to predict.

    First relations, then attributes, each with probability `nodes`; the objects that they belong to
    then stay visible. Then objects among those that are free, with a probability that makes `nodes`
    of all objects in the mean, where enough are free. Last, single pieces that belong to no
    masked node and to no protected object, each with probability `words`. A node is hidden with
    all its pieces, wherever they stand, by one die; a piece of two masked nodes is predicted once:
    as object's before attribute's before relation's.

    A node is passed over where hiding it would hide what another masked one needs to stay visible.

    Args:
        draw: Source of randomness.
        parts: The text's nodes.
        count: Pieces of the text, special ones left out.
        nodes: Share of nodes of each kind.
        words: Share of single pieces.
    """
    kinds = np.full(count, NONE, np.int8)
    dice = draw.random(count)
    protected: set[int] = set()
    masked: set[int] = set()

    def mask(part: Part) -> None:
        pieces = sorted(part.pieces)
        shared = [i for i in pieces if i in masked]
        # Nodes that share a piece share their fate, so that none of them is half visible.
        dice[pieces] = dice[shared[0]] if shared else dice[pieces[0]]
        kinds[pieces] = part.kind
        masked.update(pieces)

    for group in (parts.relations, parts.attributes):
        chosen = draw.random(len(group)) < nodes
        for part in (part for part, yes in zip(group, chosen, strict=True) if yes):
            near = {i for o in part.objects if (found := parts.objects[o]) for i in found.pieces}
            if part.pieces & (protected | near) or near & masked:
                continue
            protected |= near
            mask(part)
    objects = [part for part in parts.objects if part is not None]
    free = [part for part in objects if not part.pieces & protected]
    chance = min(1.0, nodes * len(objects) / len(free)) if free else 0.0
    for part, die in zip(free, draw.random(len(free)), strict=True):
        if die < chance:
            mask(part)
    single = draw.random(count) < words
    for i in range(count):
        if single[i] and i not in masked and i not in protected:
            kinds[i] = WORD
    return Hidden(kinds, dice)


def replaced(
    draw: np.random.Generator,
    ids: NDArray[np.int64],
    hidden: Hidden,
    mask: int,
    words: int,
    shown: float,
) -> NDArray[np.int64]:
    """Ids [n] with those to predict masked, but for a share `shown`, half of which are swapped for
    any of `words` ids and half kept (BERT, section 3.1)."""
    anything = draw.integers(words, size=len(ids))
    other = np.where(hidden.dice < 1 - shown / 2, anything, ids)
    new = np.where(hidden.dice < 1 - shown, mask, other)
    return np.where(hidden.kinds != NONE, new, ids)


def hide_regions(
    draw: np.random.Generator, count: int, share: float, kept: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Regions to predict, and which of them lose their feature: bool [count] each (ViLBERT,
    section 3.1).

    Args:
        draw: Source of randomness.
        count: Regions.
        share: Probability of each.
        kept: Share of those that keep their feature.
    """
    chosen = draw.random(count) < share
    return chosen, chosen & (draw.random(count) >= kept)
