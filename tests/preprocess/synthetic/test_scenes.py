import json
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from septet.preprocess import files
from septet.preprocess.synthetic import languages
from septet.preprocess.synthetic.scenes import (
    COLOURS,
    RELATIONS,
    SHAPES,
    SIGN_BOX,
    SIGN_WORDS,
    SIZES,
    Scene,
    captions,
    make_scene,
    render,
)
from septet.preprocess.synthetic.sets import write_scenes

GOLDEN_TRUTH = json.dumps(
    {
        "relations": [[0, "right of", 1], [0, "above", 1], [1, "left of", 0], [1, "below", 0]],
        "scene": {"ground": [128, 128, 128], "index": 0, "seed": 0},
        "things": [
            {
                "box": [0.449, 0.4018, 0.649, 0.6018],
                "colour": "green",
                "shape": "star",
                "size": "small",
            },
            {
                "box": [0.0252, 0.5189, 0.4052, 0.8989],
                "colour": "purple",
                "shape": "cross",
                "size": "large",
            },
        ],
    },
    sort_keys=True,
)
GOLDEN_CAPTIONS = [
    "a small green star right of a large purple cross",
    "the purple cross is below the green star",
    "a picture of a large purple cross and a small green star",
    "there are two shapes, one of them a large purple cross",
]

MANY = [make_scene(3, i) for i in range(300)]


def test_a_scene_depends_on_seed_and_index_alone():
    assert make_scene(3, 17) == MANY[17]
    assert make_scene(4, 17) != MANY[17]
    assert len({captions(scene)[0] for scene in MANY}) > 290
    assert np.array_equal(render(make_scene(3, 17)), render(MANY[17]))


def test_golden_scene():
    # Corpora of scenes must stay the same bytes: a change here breaks every one of them.
    scene = make_scene(0, 0)
    assert json.dumps(scene.truth(), sort_keys=True) == GOLDEN_TRUTH
    assert captions(scene) == GOLDEN_CAPTIONS


def test_all_kinds_occur_about_equally_often():
    things = [thing for scene in MANY for thing in scene.things]
    for of, names in (("colour", COLOURS), ("shape", SHAPES), ("size", SIZES)):
        seen = Counter(getattr(thing, of) for thing in things)
        assert set(seen) == set(names)
        expected = len(things) / len(names)
        assert all(abs(n - expected) < 6 * expected**0.5 for n in seen.values())


@pytest.mark.parametrize("size", [64, 224])
def test_pixels_bear_out_colours_and_boxes(size):
    for scene in MANY[:40]:
        image = render(scene, size)
        assert image.shape == (size, size, 3) and image.dtype == np.uint8
        rest = np.ones((size, size), bool)
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            assert 0 < x0 < x1 < 1 and 0 < y0 < y1 < 1
            cx, cy = (int(c * size) for c in thing.centre)
            assert tuple(image[cy, cx]) == COLOURS[thing.colour]
            rest[int(y0 * size) : int(y1 * size) + 2, int(x0 * size) : int(x1 * size) + 2] = False
        assert (image[rest] == scene.ground).all()


def test_shapes_can_be_told_apart():
    from septet.preprocess.synthetic.scenes import Scene, Thing

    drawn = {
        shape: render(
            Scene(0, 0, (128,) * 3, (Thing(shape, "red", "large", (0.1, 0.1, 0.9, 0.9)),))
        )
        for shape in SHAPES
    }
    for a in SHAPES:
        for b in SHAPES:
            if a != b:
                assert (drawn[a] != drawn[b]).any(2).mean() > 0.04, (a, b)


def _place(scene, words):
    (found,) = [t for t in scene.things if all(w in words.split() for w in (t.colour, t.shape))]
    return found.centre


def test_every_statement_of_every_caption_is_true():
    for scene in MANY:
        told = captions(scene)
        names = {thing.name for thing in scene.things}
        kinds = {f"{thing.colour} {thing.shape}" for thing in scene.things}
        assert len(set(told)) == len(told)
        for caption in told:
            mentioned = [
                f"{c} {s}" for c in COLOURS for s in SHAPES if f"{c} {s}" in caption
            ]  # fmt: skip
            assert mentioned and set(mentioned) <= kinds
            for size in SIZES:
                for kind in mentioned:
                    assert f"{size} {kind}" not in caption or f"{size} {kind}" in names
            said = [relation for relation in RELATIONS if relation in caption]
            for relation in said:
                left, right = caption.split(relation)
                (x0, y0), (x1, y1) = _place(scene, left), _place(scene, right.split(",")[0])
                truth = {
                    "left of": x0 < x1,
                    "right of": x0 > x1,
                    "above": y0 < y1,
                    "below": y0 > y1,
                }
                assert truth[relation], caption


def test_relations_are_complete_and_mirrored():
    mirror = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for scene in MANY:
        found = set(scene.relations())
        assert {(j, mirror[r], i) for i, r, j in found} == found


def test_a_scene_is_told_whole_by_its_truth():
    for scene in (MANY[0], make_scene(3, 1, signs=True)):
        assert Scene.from_truth(json.loads(json.dumps(scene.truth()))) == scene
    with pytest.raises(ValueError, match="no scene: KeyError"):
        Scene.from_truth({"things": []})


def test_write_scenes(tmp_path):
    where = write_scenes(str(tmp_path), seed=5, count=4, first=100, size=48)
    rows = [json.loads(line) for line in files.read_bytes(where).decode().splitlines()]
    assert len(rows) == 4
    for i, row in enumerate(rows):
        scene = make_scene(5, 100 + i)
        assert row["extra"] == scene.truth() and row["caption"] == captions(scene)[0]
        image = cv2.imread(str(tmp_path / row["path"]))[:, :, ::-1]
        assert np.array_equal(image, render(scene, 48))


def test_a_scene_with_a_sign_is_the_same_for_its_word_and_its_things_lie_above():
    signed = [make_scene(3, i, signs=True) for i in range(200)]
    assert {scene.sign for scene in signed} == set(SIGN_WORDS)
    assert max(thing.box[3] for scene in signed for thing in scene.things) <= SIGN_BOX[1]
    scene, other = signed[0], replace(signed[0], sign=signed[1].sign)
    assert scene.sign != other.sign
    drawn, written = render(scene), render(other)
    rows, columns = np.nonzero((drawn != written).any(2))
    assert SIGN_BOX[1] * 64 <= rows.min() and SIGN_BOX[0] * 64 <= columns.min()
    assert scene.truth()["sign"] == {"text": scene.sign, "box": list(SIGN_BOX)}
    bare = render(replace(scene, sign=""))
    assert np.array_equal(bare[: int(SIGN_BOX[1] * 64)], drawn[: int(SIGN_BOX[1] * 64)])


def test_a_set_in_several_languages(tmp_path):
    where = write_scenes(str(tmp_path), 5, 4, languages=("de", "zh"), signs=True)
    rows = [json.loads(line) for line in files.read_bytes(where).decode().splitlines()]
    assert [row["language"] for row in rows] == ["de", "zh", "de", "zh"]
    assert [row["caption"] for row in rows] == [
        languages.caption(make_scene(5, i, signs=True), ("de", "zh")[i % 2]) for i in range(4)
    ]


def test_out_of_range_is_an_error():
    for seed, index, things in ((-1, 0, (1, 2)), (0, 2**56, (1, 2)), (0, 0, (0, 2))):
        with pytest.raises(ValueError, match="a scene needs"):
            make_scene(seed, index, things)
    with pytest.raises(ValueError, match="one to three things"):
        make_scene(0, 0, (1, 4), signs=True)
