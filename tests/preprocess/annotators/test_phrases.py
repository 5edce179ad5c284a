import json
from pathlib import Path
from typing import Any

import pytest

from septet.preprocess.annotators.phrases import Phrases
from septet.preprocess.columns.base import Item, NoValue, Value
from septet.preprocess.columns.members import check_member
from septet.preprocess.synthetic.languages import WORDINGS, phrases
from septet.preprocess.synthetic.scenes import make_scene


def item(extra: Any = None, **metadata: Any) -> Item:
    return Item("k", {}, {"extra": extra, **metadata})


def column(**settings: Any) -> Phrases:
    made = Phrases(Phrases.Settings(**settings))
    made.setup()
    return made


def value(made: Phrases, one: Item) -> dict:
    (found,) = made.annotate([one])
    assert isinstance(found, Value), found
    check_member(found.data, made.member)
    made.check(found.data)
    return json.loads(found.data)


def written(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("language", WORDINGS)
def test_scenes_are_named_in_the_language_of_their_caption(language: str) -> None:
    for index in range(20):
        scene = make_scene(3, index)
        found = value(column(), item(scene.truth(), language=language))
        told = list(zip(found["phrases"], map(tuple, found["boxes"]), strict=True))
        assert told == [(phrase, scene.things[k].box) for phrase, k in phrases(scene, language)]
        assert found["language"] == language


def test_phrases_that_the_list_carried_along() -> None:
    made = column(unit="pixel", format="xywh", ofa_size=512)
    extra = {"phrases": [{"phrase": " the dog ", "box": [64, 48, 320, 240]},
                         {"phrase": "nothing", "box": [64, 48, 0, 240]},
                         {"phrase": "", "box": [0, 0, 1, 1]}]}  # fmt: skip
    one = item(extra, original_width=640, original_height=480, width=320, height=240)
    found = value(made, one)
    assert found["phrases"] == ["the dog"] and found["boxes"] == [[0.1, 0.1, 0.6, 0.6]]
    assert found["tokens"] == {"ofa": [[100, 100, 599, 599]], "pali": [[100, 100, 600, 600]]}
    (full,) = made.annotate([one])
    assert isinstance(full, Value) and full.facts == {
        "phrases": 1, "dropped": 2, "faults": ["'nothing': box 0 has no area"],
        "clipped": 0,
    }  # fmt: skip
    assert [mark.label for mark in made.drawing(full.data).marks] == ["the dog"]


NAMED = {"phrase": "x", "box": [0.1, 0.1, 0.2, 0.2]}


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (None, "no_phrase"), ({}, "no_phrase"), ({"phrases": []}, "no_phrase"),
        ({"phrases": [{**NAMED, "phrase": "  "}]}, "no_phrase"),
        ({"phrases": [{**NAMED, "box": [0.1, 0.1, 0.1, 0.3]}]}, "no_phrase"),
        ({"phrases": [{"phrase": "x"}]}, "phrases_malformed"),
        ({"phrases": [{**NAMED, "phrase": 3}]}, "phrases_malformed"),
        ({"phrases": [{**NAMED, "box": [1, 2, 3]}]}, "phrases_malformed"),
        ({"phrases": [{**NAMED, "box": "abc"}]}, "phrases_malformed"),
        ({"phrases": [{**NAMED, "box": [0.5, 0.5, 0.2, 0.2]}]}, "phrases_malformed"),
        ({"phrases": [{**NAMED, "box": [10, 10, 20, 20]}]}, "phrases_malformed"),
        ({"phrases": [{**NAMED, "box": [0.1, 0.1, float("nan"), 0.2]}]}, "phrases_malformed"),
        ({"phrases": ["x"]}, "phrases_malformed"), ({"phrases": 7}, "phrases_malformed"),
    ],
)  # fmt: skip
def test_samples_without_phrases(extra: Any, reason: str) -> None:
    (found,) = column().annotate([item(extra)])
    assert isinstance(found, NoValue) and found.reason == reason


def test_phrases_as_json_text() -> None:
    found = value(column(), item({"phrases": json.dumps([NAMED])}))
    assert found["phrases"] == ["x"] and found["boxes"] == [NAMED["box"]]


@pytest.mark.parametrize(
    "other",
    [{"phrase": "x"}, {**NAMED, "phrase": 3}, {**NAMED, "box": [1, 2, 3]}, "x", None,
     {**NAMED, "box": [0.5, 0.5, 0.2, 0.2]}, {**NAMED, "box": [0.1, 0.1, float("nan"), 0.2]},
     {**NAMED, "box": [10, 10, 20, 20]}, {**NAMED, "box": [0.1, 0.1, 0.1, 0.3]}],
)  # fmt: skip
def test_a_malformed_phrase_costs_no_other(other: Any) -> None:
    last = {"phrase": "y", "box": [0.2, 0.2, 0.4, 0.4]}
    (found,) = column().annotate([item({"phrases": [NAMED, other, last]})])
    assert isinstance(found, Value) and found.facts["phrases"] == 2
    assert found.facts["dropped"] == len(found.facts["faults"]) == 1
    told = json.loads(found.data)
    assert told["phrases"] == ["x", "y"] and told["boxes"] == [NAMED["box"], last["box"]]


SCENE = make_scene(3, 0).truth()
HEXAGON = {**SCENE, "things": [{**SCENE["things"][0], "shape": "hexagon"}]}


@pytest.mark.parametrize(
    ("extra", "language", "reason"),
    [
        ({"things": SCENE["things"]}, "en", "no_phrase"),
        ({"things": ["a dog"], "scene": "a beach"}, "en", "no_phrase"),
        (HEXAGON, "de", "phrases_malformed"), (HEXAGON, "zh", "phrases_malformed"),
        ({**SCENE, "things": [{}]}, "en", "phrases_malformed"),
        (SCENE, "fi", "language_not_supported"),
    ],
)  # fmt: skip
def test_scenes_without_phrases(extra: Any, language: str, reason: str) -> None:
    (found,) = column().annotate([item(extra, language=language)])
    assert isinstance(found, NoValue) and found.reason == reason


def test_boxes_of_another_image_than_the_shards() -> None:
    pixels, extra = column(unit="pixel"), {"phrases": [{"phrase": "x", "box": [1, 1, 9, 9]}]}
    (unknown,) = pixels.annotate([item(extra)])
    assert isinstance(unknown, NoValue) and unknown.reason == "phrases_size"
    size = {"original_width": 640, "original_height": 480, "width": 256, "height": 256}
    for made in (pixels, column()):
        (cut,) = made.annotate([item({"phrases": [NAMED]}, **size)])
        assert isinstance(cut, NoValue) and cut.reason == "phrases_size" and "640" in cut.found


REFERENCES = [
    {"image_id": 7, "ann_id": 70, "sentences": [{"sent": "left dog"}, {"raw": "A dog"}]},
    {"image_id": 8, "ann_id": 80, "sentences": [{"sent": "a cat"}]},
    {"image_id": 9, "ann_id": 99, "sentences": [{"sent": "its instance is missing"}]},
]
INSTANCES = {
    "annotations": [{"id": 70, "bbox": [64, 48, 320, 240]}, {"id": 80, "bbox": [0, 0, 50, 50]}],
    "images": [{"id": 7, "width": 640, "height": 480}, {"id": 8, "width": 100, "height": 50}],
}


def test_refcoco(tmp_path: Path) -> None:
    references = written(tmp_path / "refs.json", REFERENCES)
    instances = written(tmp_path / "instances.json", INSTANCES)
    made = column(source="set", phrases=references, instances=instances)
    found = value(made, item({"image_id": 7}))
    assert found["phrases"] == ["left dog", "A dog"]
    assert found["boxes"] == [[0.1, 0.1, 0.6, 0.6]] * 2
    assert value(made, item({"image_id": "8"}))["boxes"] == [[0, 0, 0.5, 1]]
    assert made.annotate([item({"image_id": 9}), item({})]) == [
        NoValue("no_phrase", ""), NoValue("no_image_id", "no field 'image_id' of extra"),
    ]  # fmt: skip
    assert set(made.models()) == {"phrases", "instances"}
    with pytest.raises(ValueError, match="need COCO's instances"):
        column(source="set", phrases=references)
    other = written(tmp_path / "other.json", {"annotations": [], "images": []})
    with pytest.raises(ValueError, match="no reference has its instance"):
        column(source="set", phrases=references, instances=other)


def test_visual_genome_and_plain_lists_by_a_map(tmp_path: Path) -> None:
    region = {"image_id": 3, "phrase": "a red car", "x": 10, "y": 20, "width": 30, "height": 40}
    genome = written(tmp_path / "regions.json", [{"id": 3, "regions": [region]}])
    image_map = written(tmp_path / "map.json", {"k": 3})
    made = column(source="set", phrases=genome, image_map=image_map)
    found = value(made, item(original_width=100, original_height=200, width=100, height=200))
    assert found["boxes"] == [[0.1, 0.1, 0.4, 0.3]] and found["phrases"] == ["a red car"]
    plain = written(tmp_path / "plain.json", [{"image_id": 3, **NAMED}])
    found = value(column(source="set", phrases=plain, image_map=image_map), item())
    assert found["boxes"] == [NAMED["box"]]


@pytest.mark.parametrize(
    "content",
    [{"a": 1}, [3], [{"image_id": 3}], "text",
     [{"image_id": 3, "phrase": "x", "box": ["a", 0, 1, 1]}],
     [{"regions": [{"image_id": 3, "phrase": "x", "x": "a", "y": 0, "width": 1, "height": 1}]}]],
)  # fmt: skip
def test_files_of_another_form(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match=r"odd\.json: neither RefCOCO's form"):
        column(source="set", phrases=written(tmp_path / "odd.json", content))


def test_a_malformed_row_of_a_set_costs_itself(tmp_path: Path) -> None:
    instances = {
        "annotations": [*INSTANCES["annotations"], {"id": 81, "bbox": [1, None, 2, 3]}, "x"],
        "images": [*INSTANCES["images"], {"id": 9}, None],
    }
    references = [
        *REFERENCES, "x", {"image_id": 8, "ann_id": 80},
        {"image_id": 8, "ann_id": 81, "sentences": [{"sent": "no corner"}]},
        {"image_id": 7, "ann_id": 70, "sentences": [{"sent": 5}, {}, {"sent": "its dog"}]},
    ]  # fmt: skip
    made = column(
        source="set",
        phrases=written(tmp_path / "refs.json", references),
        instances=written(tmp_path / "instances.json", instances),
    )
    for image, told, dropped in (
        (7, ["left dog", "A dog", "its dog"], 2),
        (8, ["a cat"], 2),
    ):
        (found,) = made.annotate([item({"image_id": image})])
        assert isinstance(found, Value)
        assert json.loads(found.data)["phrases"] == told
        assert found.facts["dropped"] == len(found.facts["faults"]) == dropped, found.facts
    genome = [
        {"id": 3, "regions": [{"image_id": 3, "phrase": "a car", "x": 0.1, "y": 0, "width": 0.5,
                               "height": 1}, {"image_id": 3, "phrase": "a bus", "x": 1}, None]},
        {"id": 4}, 5,
        {"id": 4, "regions": [{"image_id": 4, "phrase": "a bus", "x": "a"}]},
    ]  # fmt: skip
    made = column(source="set", phrases=written(tmp_path / "g.json", genome))
    size = {"original_width": 1, "original_height": 1}
    (found, lost) = made.annotate([item({"image_id": 3}, **size), item({"image_id": 4}, **size)])
    assert isinstance(found, Value) and found.facts["phrases"] == found.facts["dropped"] == 1
    assert isinstance(lost, NoValue) and lost.reason == "phrases_malformed"


HUGE = 10**400
GOOD = {"image_id": 7, "ann_id": 70, "sentences": [{"sent": "its dog"}]}
REGION = {"image_id": 7, "phrase": "its dog", "x": 64, "y": 48, "width": 320, "height": 240}
PLAIN = {"image_id": 7, "phrase": "its dog", "box": [64, 48, 384, 288]}


@pytest.mark.parametrize(
    ("good", "bad", "instances", "dropped"),
    [  # The malformed rows stand first: neither the set's form nor a good row hangs on them.
        (GOOD, [None, {}, {**GOOD, "sentences": [{"sent": text} for text in (None, 3, [], "", " ")]}],
         {}, 5),
        (GOOD, [{**GOOD, "ann_id": odd} for odd in ([], {}, None)], {"id": {}, "bbox": []}, 3),
        (GOOD, [{**GOOD, "ann_id": 71}], {"id": 71, "bbox": [HUGE, 0, 1, 1]}, 1),
        (GOOD, [{**GOOD, "image_id": odd} for odd in ([], {}, None)], {}, 0),
        (REGION, [None, {"id": 4}, *[{**REGION, "phrase": text} for text in (None, 3, {}, "")]],
         None, 4),
        (REGION, [{**REGION, "x": HUGE}, {**REGION, "width": "1" * 400}], None, 2),
        (PLAIN, [None, {"image_id": 7}, {**PLAIN, "phrase": None}, {**PLAIN, "phrase": " "},
                 {**PLAIN, "box": [HUGE, 0, 1, 1]}, {**PLAIN, "box": None}], None, 5),
    ],
)  # fmt: skip
def test_of_the_rows_of_a_set_each_is_a_phrase_or_counted(
    tmp_path: Path, good: Any, bad: list[Any], instances: Any, dropped: int
) -> None:
    rows = [*bad, good]
    if good is REGION:
        rows = [*bad[:2], {"id": 7, "regions": rows[2:]}] if bad[0] is None else [{"regions": rows}]
    files = {"phrases": written(tmp_path / "rows.json", rows)}
    if instances is not None:
        boxes = [instances, *INSTANCES["annotations"]]
        drawn = {**INSTANCES, "annotations": boxes, "images": [{"id": []}, *INSTANCES["images"]]}
        files["instances"] = written(tmp_path / "instances.json", drawn)
    size = {"original_width": 640, "original_height": 480}
    made = column(source="set", unit="pixel", **files)
    (found,) = made.annotate([item({"image_id": 7}, **size)])
    assert isinstance(found, Value) and json.loads(found.data)["phrases"] == ["its dog"]
    assert json.loads(found.data)["boxes"] == [[0.1, 0.1, 0.6, 0.6]]
    assert found.facts["dropped"] == dropped, found.facts


@pytest.mark.parametrize("side", [0, -1, None, "x", HUGE, float("nan"), float("inf")])
def test_sides_that_no_image_has(tmp_path: Path, side: Any) -> None:
    """A set's own size costs the image's phrases; a sample's is passed over for the next."""
    drawn = {
        **INSTANCES,
        "images": [{"id": 7, "width": 640, "height": side}, {"id": 8, "width": 9, "height": 9}],
    }
    instances = written(tmp_path / "instances.json", drawn)
    made = column(
        source="set",
        phrases=written(tmp_path / "r.json", [GOOD, REFERENCES[1]]),
        instances=instances,
    )
    (found,) = made.annotate([item({"image_id": 7}, width=64, height=48)])
    assert isinstance(found, NoValue) and found.reason == "phrases_malformed"
    extra = {"phrases": [PLAIN], "width": 640, "height": side}
    told = value(column(unit="pixel"), item(extra, original_width=640, original_height=480))
    assert told["boxes"] == [[0.1, 0.1, 0.6, 0.6]]


def test_no_more_phrases_than_asked_for_and_those_beyond_are_counted() -> None:
    extra = {"phrases": [{**NAMED, "box": [1, 2]}, NAMED, {**NAMED, "phrase": "y"}, NAMED]}
    (found,) = column(max_phrases=2).annotate([item(extra)])
    assert isinstance(found, Value) and json.loads(found.data)["phrases"] == ["x", "y"]
    assert found.facts["dropped"] == 2 and len(found.facts["faults"]) == 1


def test_check_notices() -> None:
    made = column()
    good = value(made, item({"phrases": [NAMED]}))
    for change in ({"phrases": []}, {"phrases": [" "]}, {"phrases": ["a", "b"]},
                   {"boxes": [[0.1, 0.1, 0.2, 1.2]]}, {"tokens": {"pali": good["tokens"]["pali"]}},
                   {"tokens": {**good["tokens"], "ofa": [[1, 2, 3, 4]]}}):  # fmt: skip
        with pytest.raises(ValueError):
            made.check(json.dumps({**good, **change}).encode())
