import json
from typing import Any

import numpy as np
import pytest

from septet.preprocess.annotators.boxes import Boxes
from septet.preprocess.boxes.tokens import SCHEMES
from septet.preprocess.columns.base import Item, NoValue, Value
from septet.preprocess.columns.members import check_member, pack_arrays
from septet.preprocess.synthetic.scenes import make_scene


def item(extra: Any, **metadata: Any) -> Item:
    if not isinstance(extra, str):
        extra = json.dumps(extra)
    return Item("k", {}, {"extra": extra, **metadata})


def column(**settings: Any) -> Boxes:
    made = Boxes(Boxes.Settings(**settings))
    made.setup()
    return made


def value(made: Boxes, one: Item) -> dict:
    (found,) = made.annotate([one])
    assert isinstance(found, Value), found
    check_member(found.data, made.member)
    made.check(found.data)
    return json.loads(found.data)


def reason(made: Boxes, one: Item) -> tuple[str, str]:
    (found,) = made.annotate([one])
    assert isinstance(found, NoValue)
    return found.reason, found.found


@pytest.mark.parametrize("nested", [False, True], ids=["extra itself", "a list's column extra"])
def test_the_truth_of_scenes_is_recovered_exactly(nested: bool) -> None:
    made = column(schemes=list(SCHEMES))
    for index in range(60):
        scene = make_scene(3, index)
        truth = {"extra": scene.truth()} if nested else scene.truth()
        found = value(made, item(truth, width=64, height=64))
        assert [tuple(box) for box in found["boxes"]] == [thing.box for thing in scene.things]
        assert found["labels"] == [thing.name for thing in scene.things]
        assert not {*found["absent"]} & {*found["labels"]}
        pairs = {(thing.size, thing.shape) for thing in scene.things}
        assert len(found["absent"]) == 8 * len(pairs) - len(scene.things)
        for name, tokens in found["tokens"].items():
            scheme = SCHEMES[name]()
            error = abs(scheme.decode(tokens) - np.array(found["boxes"])).max()
            assert error <= scheme.max_error * (1 + 1e-9)


def test_pixels_with_width_and_height_of_the_image_as_it_was_fetched() -> None:
    made = column(unit="pixel", format="xywh")
    extra = {"boxes": [[64, 48, 320, 240]], "labels": ["dog"], "absent": ["cat"]}
    found = value(made, item(extra, original_width=640, original_height=480, width=320, height=240))
    assert found["boxes"] == [[0.1, 0.1, 0.6, 0.6]] and found["labels"] == ["dog"]
    assert found["absent"] == ["cat"]
    told = value(made, item({**extra, "width": 1280, "height": 960}, original_width=640,
                            original_height=480, width=320, height=240))  # fmt: skip
    assert told["boxes"] == [[0.05, 0.05, 0.3, 0.3]]
    assert reason(made, item(extra))[0] == "boxes_size"


def test_an_image_that_was_cut_since_has_no_boxes() -> None:
    extra = {"boxes": [[0.1, 0.1, 0.5, 0.5]], "labels": ["dog"]}
    size = {"original_width": 640, "original_height": 480}
    why, told = reason(column(), item(extra, **size, width=256, height=256))
    assert why == "boxes_size" and "640 x 480" in told and "256 x 256" in told
    value(column(), item(extra, **size, width=341, height=256))


def test_lists_as_text_and_missing_labels() -> None:
    found = value(column(), item({"boxes": "[[0, 0, 0.5, 1]]", "labels": '["x"]'}))
    assert found["labels"] == ["x"]
    assert value(column(), item({"boxes": [[0, 0, 0.5, 1]]}))["labels"] == [""]
    assert value(column(), item({"boxes": [[0, 0, 0.5, 1]], "labels": [17]}))["labels"] == ["17"]


def test_none_is_another_thing_than_nothing_said() -> None:
    found = value(column(), item({"boxes": [], "labels": []}))
    assert found["boxes"] == [] and found["tokens"] == {"ofa": [], "pix2seq": [], "pali": []}
    for extra in ({}, {"boxes": None}, "", "no json", "[1]", {"other": 1}):
        assert reason(column(), item(extra))[0] == "no_boxes"
    assert reason(column(), Item("k", {}, {}))[0] == "no_boxes"


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"boxes": [[0, 0, 1]]}, r"[n, 4]"),
        ({"boxes": [[]]}, "box 0 is empty"),
        ({"boxes": [0, 0, 1, 1]}, r"box 0 cannot be read"),
        ({"boxes": "[[0, 0"}, "no JSON"),
        ({"boxes": 7}, "int"),
        ({"boxes": [["a", 0, 1, 1]]}, "could not convert"),
        ({"boxes": [[0, 0, None, 1]]}, "box 0"),
        ({"boxes": [[0, 0, 0, 1], [0.5, 0.5, 0.2, 0.9]]}, "box 0 has no area"),
        ({"boxes": [[10, 20, 300, 200]]}, "outside"),
        ({"boxes": [[0, 0, 1, 1]], "labels": ["a", "b"]}, "1 boxes, 2 labels"),
        ({"things": [{"box": [0, 0, 1, 1]}]}, "size"),
        ({"things": [None]}, "things"),
        ({"boxes": ["0, 0, 1, 1"]}, "could not convert"),
        ('{"boxes": [[0, 0, NaN, 1]]}', "nan"),
        ('{"boxes": [[0, 0, 1e999, 1]]}', "inf"),
    ],
)
def test_malformed(extra: Any, told: str) -> None:
    why, found = reason(column(), item(extra))
    assert why == "boxes_malformed" and told in found


def test_small_overhangs_are_clipped_and_empty_boxes_left_out() -> None:
    made = column()
    extra = {"boxes": [[-0.004, 0, 1.009, 0.5], [0.2, 0.2, 0.2, 0.6]], "labels": ["a", "b"]}
    found = value(made, item(extra))
    assert found["boxes"] == [[0, 0, 1, 0.5]] and found["labels"] == ["a"]
    (again,) = made.annotate([item(extra)])
    assert isinstance(again, Value) and again.facts == {
        "boxes": 1, "labels": ["a"], "dropped": 1, "faults": ["box 1 has no area"],
        "clipped": 1,
    }  # fmt: skip


@pytest.mark.parametrize("unit", ["normalised", "pixel"])
@pytest.mark.parametrize(
    "bad",
    [[0, 0, 1], [], 7, None, "x", [0, 0, None, 1], [0, 0, "a", 1], [0.9, 0, 0.1, 1], [0, 0, 9, 9],
     [0, 0, float("nan"), 1], [0, 0, float("inf"), 1], [[0, 0, 1, 1]] * 2, {"x": 0}, [0, 0, 0, 1]],
)  # fmt: skip
def test_a_malformed_box_costs_itself(bad: Any, unit: str) -> None:
    boxes = [[0, 0, 0.5, 0.5], bad, [0.25, 0.25, 1, 1]]
    extra = {"boxes": boxes, "labels": ["a", "b", "c"], "width": 1, "height": 1}
    (found,) = column(unit=unit).annotate([item(extra)])
    assert isinstance(found, Value)
    told = json.loads(found.data)
    assert told["boxes"] == [boxes[0], boxes[2]] and told["labels"] == ["a", "c"]
    assert found.facts["boxes"] + found.facts["dropped"] == 3
    (fault,) = found.facts["faults"]
    assert fault.startswith("box 1 ")


def test_a_malformed_thing_of_a_scene_costs_itself() -> None:
    good = make_scene(3, 0).truth()["things"]
    for bad in ({}, None, {**good[0], "box": [1]}, {"box": [0, 0, 1, 1], "size": "small"},
                {**good[0], "colour": None}):  # fmt: skip
        (found,) = column().annotate([item({"things": [bad, *good]})])
        assert isinstance(found, Value)
        assert found.facts["boxes"] == len(good) and found.facts["dropped"] == 1


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("extra", "kept", "dropped"),
    [
        ({"labels": ["a", True]}, ["a"], 1), ({"labels": [["a"], "b"]}, ["b"], 1),
        ({"labels": [None, 7]}, ["", "7"], 0), ({"labels": [{}, float("nan")]}, None, 2),
        ({"absent": ["c", None, [], 7]}, ["", ""], 2), ({"labels": DEEP}, None, 0),
        ({"boxes": DEEP}, None, 0), ({"boxes": [[10**400, 0, 1, 1], [0, 0, 1, 1]]}, [""], 1),
    ],
)  # fmt: skip
def test_labels_are_texts_or_numbers_and_what_is_not_costs_itself(
    extra: Any, kept: Any, dropped: int
) -> None:
    (found,) = column().annotate([item({"boxes": [[0, 0, 0.5, 1], [0, 0, 1, 1]], **extra})])
    if kept is None:
        assert isinstance(found, NoValue) and found.reason == "boxes_malformed"
        return
    assert isinstance(found, Value) and found.facts["dropped"] == dropped
    told = json.loads(found.data)
    assert told["labels"] == kept and told["absent"] == (["c", "7"] if "absent" in extra else [])


def test_extra_that_is_nested_too_deeply_says_nothing() -> None:
    for extra in (DEEP, {"extra": DEEP}):
        assert reason(column(), item(extra))[0] == "no_boxes"


def test_the_largest_first() -> None:
    extra = {"boxes": [[0, 0, 0.1, 0.1], [0, 0, 0.9, 0.9], [0, 0, 0.3, 0.3]], "labels": "abc"}
    assert reason(column(), item(extra))[0] == "boxes_malformed"
    extra["labels"] = ["a", "b", "c"]
    assert value(column(order="area"), item(extra))["labels"] == ["b", "c", "a"]


def test_from_regions(tmp_path: Any) -> None:
    names = tmp_path / "names.txt"
    names.write_text("yolk\ngoal,goals\nbathroom\n")
    regions = pack_arrays({
        "boxes": np.float32([[0, 0, 0.5, 0.5], [0.25, 0.25, 1, 1]]),
        "labels": np.int32([1, 7]), "scores": np.float32([0.9, 0.3]),
    })  # fmt: skip
    made = column(source="r36", labels=str(names), min_score=0.2, schemes=["pali"])
    assert made.columns() == ("r36",) and set(made.models()) == {"labels"}
    one = Item("k", {}, {}, {"r36": regions})
    found = value(made, one)
    assert found["boxes"] == [[0, 0, 0.5, 0.5], [0.25, 0.25, 1, 1]]
    assert found["labels"] == ["goal", "7"] and found["tokens"]["pali"][1] == [250, 250, 999, 999]
    few = column(source="r36", labels=str(names), min_score=0.5)
    assert value(few, one)["labels"] == ["goal"]
    assert reason(made, Item("k", {}, {}, {"r36": b""}))[0] == "no_region"
    assert Boxes(Boxes.Settings()).columns() == ()
    with pytest.raises(ValueError, match="no such file"):
        Boxes(Boxes.Settings(source="r", labels="none.txt")).models()


def test_a_check_finds_what_is_wrong() -> None:
    made = column(schemes=["ofa"])
    good = value(made, item({"boxes": [[0.1, 0.2, 0.3, 0.4]], "labels": ["a"]}))
    for change, told in [
        ({"tokens": {"ofa": [[100, 200, 300, 401]]}}, "off"),
        ({"tokens": {}}, "no tokens"),
        ({"labels": []}, "0 names"),
        ({"boxes": [[0.3, 0.2, 0.1, 0.4]]}, "corners"),
    ]:
        with pytest.raises(ValueError, match=told):
            made.check(json.dumps({**good, **change}).encode())
    with pytest.raises(ValueError, match="holds"):
        made.check(b"{}")


def test_settings_say_what_is_unknown_and_values_are_drawn() -> None:
    with pytest.raises(ValueError, match="no box tokens"):
        Boxes.Settings(schemes=["nobody"])
    made = column(ofa_size=384)
    (found,) = made.annotate([item({"boxes": [[0, 0, 1, 1]], "labels": ["sky"]})])
    assert isinstance(found, Value)
    assert json.loads(found.data)["tokens"]["ofa"] == [[0, 0, 749, 749]]
    (mark,) = made.drawing(found.data).marks
    assert mark.box == (0, 0, 1, 1) and mark.label == "sky"
    assert made.member.notes["tokens"]["ofa"]["size"] == 384
