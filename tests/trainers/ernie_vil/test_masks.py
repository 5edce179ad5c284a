from collections import Counter

import numpy as np
import pytest

from septet.preprocess.scene_graphs.graph import Attribute, Object, Relation, SceneGraph
from septet.trainers.draws import generator
from septet.trainers.ernie_vil.masks import (
    ATTRIBUTE,
    NONE,
    OBJECT,
    RELATION,
    WORD,
    Parts,
    hide,
    hide_regions,
    parts_of,
    replaced,
)
from septet.trainers.inputs.wordpieces import tokenizer
from tests.trainers.ernie_vil.small import CAPTION, graph, spans

PIECES = tokenizer("scenes", 256)
OFFSETS = PIECES.offsets(CAPTION)
N = len(OFFSETS)
PARTS = parts_of(graph(), OFFSETS, N)


def drawn(i, parts=PARTS, count=N, nodes=0.3, words=0.15):
    return hide(generator("draw", "masks", i), parts, count, nodes, words)


def said(part):
    return PIECES.decode([PIECES.encode(CAPTION).ids[i] for i in sorted(part.pieces)])


def test_nodes_are_all_the_pieces_that_say_them():
    assert [said(p) for p in PARTS.objects] == ["circle", "squares", "dog"]
    assert [said(p) for p in PARTS.attributes] == ["small", "red", "large", "blue", "two"]
    assert [said(p) for p in PARTS.relations] == ["standing in front of"]
    (relation,) = PARTS.relations
    pieces = sorted(relation.pieces)
    assert pieces[-1] - pieces[0] >= len(pieces)  # "right" lies between.
    assert len(PARTS.objects[2].pieces) > 1  # Several word pieces.
    assert relation.objects == (0, 1) and PARTS.attributes[3].objects == (1,) and not PARTS.cut


def test_masks_are_a_pure_function_and_differ():
    one, two = drawn(3), drawn(3)
    assert np.array_equal(one.kinds, two.kinds) and np.array_equal(one.dice, two.dice)
    assert len({drawn(i).kinds.tobytes() for i in range(50)}) > 40


def test_nodes_are_hidden_whole_and_their_neighbours_are_not():
    seen = Counter()
    for i in range(3000):
        found = drawn(i)
        kinds = found.kinds
        groups = (
            (RELATION, PARTS.relations),
            (ATTRIBUTE, PARTS.attributes),
            (OBJECT, PARTS.objects),
        )
        for kind, group in groups:
            for part in group:
                pieces = sorted(part.pieces)
                hidden = kinds[pieces] == kind
                assert hidden.all() or not hidden.any()
                if not hidden.any():
                    continue
                seen[kind, part.pieces] += 1
                assert len(set(found.dice[pieces])) == 1  # One fate for the whole node.
                for place in part.objects:
                    assert (kinds[sorted(PARTS.objects[place].pieces)] == NONE).all()
    # 30 % of each kind in the mean; objects give way to what they are needed for.
    for part in (*PARTS.relations, *PARTS.attributes):
        kind = RELATION if part in PARTS.relations else ATTRIBUTE
        assert seen[kind, part.pieces] / 3000 == pytest.approx(0.3, abs=0.03)
    objects = sum(n for (kind, _), n in seen.items() if kind == OBJECT)
    assert objects / 3000 / 3 == pytest.approx(0.3, abs=0.03)


def test_single_pieces_are_drawn_from_the_rest():
    hits, open_ = 0, 0
    nowhere = set(range(N))
    for part in (*PARTS.objects, *PARTS.attributes, *PARTS.relations):
        nowhere -= part.pieces
    for i in range(2000):
        kinds = drawn(i).kinds
        hits += (kinds[sorted(nowhere)] == WORD).sum()
        open_ += len(nowhere)
    assert hits / open_ == pytest.approx(0.15, abs=0.01)
    alone = np.stack([drawn(i, Parts()).kinds for i in range(2000)])
    assert set(np.unique(alone)) == {NONE, WORD}
    assert (alone == WORD).mean() == pytest.approx(0.15, abs=0.01)
    assert (drawn(0, words=0.0, nodes=0.0).kinds == NONE).all()


def test_objects_make_up_for_those_that_are_protected():
    """All relations and attributes are hidden: only the third object is free, and it is taken as
    often as it takes to come to the share, which is always."""
    for i in range(50):
        kinds = drawn(i, nodes=0.99, words=0.0).kinds
        if (kinds[sorted(PARTS.relations[0].pieces)] == RELATION).all():
            assert (kinds[sorted(PARTS.objects[2].pieces)] == OBJECT).all()


def test_a_piece_of_two_nodes_is_predicted_once():
    caption = "a parked on dog and a cat"
    c = caption
    both = SceneGraph(
        objects=(Object("dog", spans(c, "dog"), "dog"), Object("cat", spans(c, "cat"), "cat"),
                 Object("parked", spans(c, "parked"), "parked")),
        attributes=(Attribute("parked", spans(c, "parked"), 0),),
        relations=(Relation("park on", spans(c, "parked on"), 1, 0),),
    )  # fmt: skip
    offsets = PIECES.offsets(c)
    parts = parts_of(both, offsets, len(offsets))
    shared, last = sorted(parts.attributes[0].pieces), max(parts.relations[0].pieces)
    cases = set()
    for i in range(400):
        found = hide(generator("draw", "two", i), parts, len(offsets), 0.25, 0.0)
        kinds = {*found.kinds[shared].tolist()}
        assert len(kinds) == 1
        if found.kinds[last] == RELATION:
            # What the relation shares is hidden too, by the same die, under the first of the names.
            assert kinds <= {OBJECT, ATTRIBUTE, RELATION}
            assert len(set(found.dice[[*shared, last]])) == 1
            cases |= kinds
    assert cases == {OBJECT, ATTRIBUTE, RELATION}


def test_what_must_stay_visible_is_never_hidden_by_another_node():
    """The object of one relation is part of another relation's words."""
    c = "dog on top of box under lid"
    crossed = SceneGraph(
        objects=tuple(Object(w, spans(c, w), w) for w in ("dog", "box", "lid", "top")),
        relations=(
            Relation("on top of", spans(c, "on top of"), 0, 1),
            Relation("under", spans(c, "under"), 3, 2),
        ),
    )
    offsets = PIECES.offsets(c)
    parts = parts_of(crossed, offsets, len(offsets))
    first, second = (sorted(p.pieces) for p in parts.relations)
    top = sorted(parts.objects[3].pieces)
    alone = 0
    for i in range(200):
        kinds = hide(generator("draw", "crossed", i), parts, len(offsets), 0.8, 0.0).kinds
        assert not ((kinds[first] == RELATION).any() and (kinds[second] == RELATION).any())
        if (kinds[second] == RELATION).any():
            assert (kinds[top] == NONE).all()
            alone += 1
    assert alone


def test_a_node_that_the_length_limit_cuts_is_left_out():
    (relation,) = PARTS.relations
    inside = max(relation.pieces)  # One piece too few for the relation.
    cut = parts_of(graph(), OFFSETS, inside)
    assert (
        not cut.relations and cut.objects[0] and cut.objects[1] is None and cut.objects[2] is None
    )
    assert [said(p) for p in cut.attributes] == ["small", "red"]
    assert cut.cut == 6  # The relation, two objects, three descriptions.
    for i in range(300):
        kinds = hide(generator("draw", "cut", i), cut, inside, 0.3, 0.0).kinds
        assert not (kinds == RELATION).any()
    assert parts_of(graph(), OFFSETS, N).cut == 0


def test_replacements_are_bert_s():
    ids = np.full(N, 7, np.int64)
    at, whole = Counter(), Counter()
    for i in range(4000):
        found = drawn(i, nodes=0.5)
        new = replaced(generator("draw", "ids", i), ids, found, mask=4, words=256, shown=0.2)
        hidden = found.kinds != NONE
        assert (new[~hidden] == 7).all()
        at["masked"] += (new[hidden] == 4).sum()
        at["all"] += hidden.sum()
        pieces = sorted(PARTS.relations[0].pieces)
        if found.kinds[pieces[0]] == RELATION:
            masked = (new[pieces] == 4).sum()
            whole["masked" if masked == len(pieces) else "other"] += 1
            if (new[pieces] == 7).all():
                whole["kept"] += 1
    assert at["masked"] / at["all"] == pytest.approx(0.8, abs=0.02)
    relations = whole["masked"] + whole["other"]
    assert whole["masked"] / relations == pytest.approx(0.8, abs=0.03)
    assert whole["kept"] / relations == pytest.approx(0.1, abs=0.02)


def test_for_measures_all_that_is_hidden_is_masked():
    ids = np.full(N, 7, np.int64)
    for i in range(200):
        found = drawn(i)
        new = replaced(generator("draw", "ids", i), ids, found, mask=4, words=256, shown=0.0)
        assert np.array_equal(new == 4, found.kinds != NONE)


def test_regions_are_hidden_or_kept():
    found = [hide_regions(generator("draw", "r", i), 36, 0.15, 0.1) for i in range(500)]
    chosen, gone = (np.stack(x) for x in zip(*found, strict=True))
    assert not (gone & ~chosen).any()
    assert chosen.mean() == pytest.approx(0.15, abs=0.01)
    assert gone.sum() / chosen.sum() == pytest.approx(0.9, abs=0.02)
