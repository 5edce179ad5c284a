"""Annotations as published sets have them, defects and all: each with the value it is to give."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from septet.preprocess import files
from septet.preprocess.annotators.boxes import Boxes
from septet.preprocess.annotators.phrases import Phrases
from septet.preprocess.annotators.questions import Questions
from septet.preprocess.columns.base import Item, NoValue, Value
from septet.preprocess.ocr.lines import Line, sound_lines
from septet.preprocess.regions.sources.records import RecordError, record
from septet.preprocess.regions.sources.tsv import TsvSource

GOOD = [[10, 10, 20, 20], [30, 10, 40, 40], [50, 20, 10, 10]]  # x, y, width, height
SHARES = [[0.1, 0.1, 0.3, 0.3], [0.3, 0.1, 0.7, 0.5], [0.5, 0.2, 0.6, 0.3]]


@pytest.mark.parametrize(
    ("odd", "clipped_to", "fault"),
    [
        ([200, 10, 20, 20], None, "outside"),
        ([-50, 10, 20, 20], None, "outside"),
        ([10, 150, 20, 20], None, "outside"),
        ([10, -90, 20, 20], None, "outside"),
        ([95, 95, 40, 40], None, "outside"),  # a sixty-fourth of it lies in the image
        ([80, 10, 60, 20], None, "outside"),  # a third
        ([60, 20, 50, 20], [0.6, 0.2, 1, 0.4], ""),
        ([90, 10, 12, 20], [0.9, 0.1, 1, 0.3], ""),
        ([90, 90, 11, 11], [0.9, 0.9, 1, 1], ""),
        ([-1, 10, 20, 20], [0, 0.1, 0.19, 0.3], ""),
        ([-2, -2, 104, 104], [0, 0, 1, 1], ""),
        ([10, -4, 20, 10], [0.1, 0, 0.3, 0.06], ""),
        ([10, 10, 20, 0], None, "no area"),
        ([10, 10, 0, 0], None, "no area"),
        ([100, 10, 0, 20], None, "no area"),
        ([30, 10, -10, 20], None, "wrong way"),
        ([30, 30, 10, -20], None, "wrong way"),
        ([10, 10, 20], None, "cannot be read"),
        ([10, 10, 20, None], None, "nan"),
        ("10 10 20 20", None, "cannot be read"),
        ([10, 10, 20, 1e308], None, "outside"),
        ([10, 10, 20, float("inf")], None, "inf"),
    ],
)
def test_an_odd_box_among_good_ones(odd: Any, clipped_to: list[float] | None, fault: str) -> None:
    made = Boxes(Boxes.Settings(format="xywh", unit="pixel"))
    for place in range(4):
        boxes: list[Any] = [*GOOD[:place], odd, *GOOD[place:]]
        extra = {"boxes": boxes, "width": 100, "height": 100}
        (found,) = made.annotate([Item("k", {}, {"extra": json.dumps(extra)})])
        assert isinstance(found, Value), found
        made.check(found.data)
        wanted = [*SHARES[:place], *([clipped_to] if clipped_to else []), *SHARES[place:]]
        assert np.allclose(json.loads(found.data)["boxes"], wanted, atol=1e-12)
        assert found.facts["dropped"] == (clipped_to is None)
        assert found.facts["clipped"] == (clipped_to is not None)
        assert all(fault in told for told in found.facts["faults"])


@pytest.mark.parametrize(
    ("boxes", "settings"),
    [
        ([[10, 20, 60, 80], [5, 5, 50, 50]], {}),  # pixels read as shares
        ([[0, 0, 1, 1], [5, 5, 50, 50], [7, 7, 9, 9]], {}),  # one is right by chance
        ([[50, 50, 90, 90], [60, 10, 95, 40]], {"format": "xywh", "unit": "pixel"}),  # corners
        ([[60, 60, 20, 20], [70, 10, 10, 50]], {"unit": "pixel"}),  # sides read as corners
        ([[0, 0, 300, 300], [200, 100, 400, 200]], {"unit": "pixel"}),  # of a larger image
    ],
)
def test_boxes_of_which_most_do_not_fit_are_malformed(boxes: Any, settings: Any) -> None:
    extra = {"boxes": boxes, "width": 100, "height": 100}
    (found,) = Boxes(Boxes.Settings(**settings)).annotate([Item("k", {}, {"extra": extra})])
    assert isinstance(found, NoValue) and found.reason == "boxes_malformed"


@pytest.mark.parametrize(
    ("box", "kept"),
    [([0.5, 0.5, 0.6, 1.1], [0.5, 0.5, 0.6, 1]), ([2, 2, 3, 3], None), ([0.5, 0, 0.5, 1], None),
     ([0.9, 0.1, 0.2, 0.3], None), (None, None)],
)  # fmt: skip
def test_an_odd_box_of_a_phrase(box: Any, kept: Any) -> None:
    good = {"phrase": "the dog", "box": [0.1, 0.1, 0.4, 0.4]}
    extra = {"phrases": [good, {"phrase": "the cat", "box": box}]}
    made = Phrases(Phrases.Settings())
    (found,) = made.annotate([Item("k", {}, {"extra": extra})])
    assert isinstance(found, Value)
    made.check(found.data)
    told = json.loads(found.data)
    assert told["boxes"] == [good["box"], *([kept] if kept else [])]
    assert (found.facts["dropped"], found.facts["clipped"]) == (kept is None, kept is not None)


def features(n: int) -> np.ndarray:
    return np.arange(n * 2048, dtype=np.float32).reshape(n, 2048) / 10_000


def region_boxes(odd: Any) -> np.ndarray:
    return np.array([[0, 0, 50, 50], odd, [10, 10, 60, 40]], np.float32)


@pytest.mark.parametrize(
    ("odd", "clipped_to"),
    [
        ([300, 10, 320, 20], None), ([50, 50, 49, 80], None), ([5, 5, 5, 5], None),
        ([5, 5, np.nan, 9], None), ([5, 5, np.inf, 9], None), ([60, 10, 190, 20], None),
        ([60, 10, 105, 20], [0.6, 0.1, 1, 0.2]), ([-3, -3, 50, 100.5], [0, 0, 0.5, 1]),
    ],
)  # fmt: skip
def test_an_odd_region_among_good_ones(odd: Any, clipped_to: Any) -> None:
    found = record(features(3), region_boxes(odd), 100, 100)
    rows = [0, 1, 2] if clipped_to else [0, 2]
    assert np.array_equal(found.detections.features, features(3)[rows])
    wanted = [[0, 0, 0.5, 0.5], *([clipped_to] if clipped_to else []), [0.1, 0.1, 0.6, 0.4]]
    assert np.allclose(found.detections.boxes, wanted)
    assert (len(found.faults), found.clipped) == (3 - len(rows), len(rows) - 2)


def test_regions_of_another_image_are_a_malformed_record() -> None:
    with pytest.raises(RecordError, match="outside of an image of 40 x 30"):
        record(features(3), region_boxes([70, 70, 90, 90]), 40, 30)


def row(key: str, n: int, seed: int) -> bytes:
    boxes = np.array([[seed, 0, seed + 9, 9]] * n, np.float32)
    fields = (key, "100", "100", str(n), base64.b64encode(boxes).decode(),
              base64.b64encode(features(n)).decode())  # fmt: skip
    return "\t".join(fields).encode()


@pytest.mark.parametrize(
    ("lines", "left", "unused"),
    [
        ([row("7", 2, 1), row("7", 2, 5)], 5, {"repeated": 1}),  # twice: the last one
        ([row("7", 2, 5), row("7", 2, 1)[:-40]], 5, {"cut": 1}),  # the last one is cut
        ([row("7", 2, 5), row("7", 2, 1)[:60]], 5, {"cut": 1}),  # within its boxes
        ([row("7", 2, 5), b"7\t100"], 5, {"cut": 1}),
        ([row("7", 2, 1)[:-8], row("7", 2, 5)], 5, {"cut": 1}),
        ([row("7", 2, 1)[:-8] + row("8", 2, 2), row("7", 2, 5)], 5, {"cut": 1}),  # joined
        ([row("7", 2, 5), row("7", 2, 1).replace(b"\t2\t", b"\t3\t")], 5, {"cut": 1}),
        ([row("7", 2, 5), row("7", 2, 1).replace(b"\t2\t", b"\tx\t")], 5, {"cut": 1}),
        ([row("7", 2, 1), row("7", 2, 5), row("7", 2, 1)[:-8], row("7", 2, 1)[:60]], 5,
         {"repeated": 1, "cut": 2}),
        ([row("7", 2, 5), b"", b"\t\t\t\t\tx", row("9", 1, 1)], 5, {"no_key": 1}),
        ([row("7", 2, 1)[:-40]], None, {"cut": 1}),
    ],
)  # fmt: skip
def test_rows_of_a_tsv_that_was_written_twice_or_cut(
    tmp_path: Path, lines: list[bytes], left: int | None, unused: dict[str, int]
) -> None:
    path = str(tmp_path / "resnet101.tsv")
    files.write_bytes(path, b"\n".join([*lines, row("1", 1, 1)]) + b"\n")
    source = TsvSource(path, "bottom-up")
    given = 1 + sum(map(bool, lines))
    used = given - sum(unused.values())
    assert source.rows == {"source": {"given": given, "used": used, **unused}}
    assert source.get("404") is None
    if left is None:
        with pytest.raises(RecordError):
            source.get("7")
        return
    kept = source.get("7")
    assert kept is not None
    assert np.allclose(kept.detections.boxes[:, 0], left / 100)


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"question": "", "answer": "so"}, "ValueError"), ({"question": "Why?"}, "KeyError"),
        ({"question": "Why?", "answer": None}, "ValueError"), ([], ""), ("Why?", ""),
        ({"question": "Why?", "answer": float("nan")}, ""), (None, ""),
    ],
)  # fmt: skip
def test_an_odd_question_among_good_ones(odd: Any, told: str) -> None:
    good = {"question": "What is it?", "answer": "a dog", "kind": "", "language": "en"}
    extra = {"questions": [odd, good]}
    made = Questions(Questions.Settings(source="extra"))
    (found,) = made.annotate([Item("k", {}, {"extra": extra})])
    assert isinstance(found, Value), found
    made.check(found.data)
    (pair,) = json.loads(found.data)["pairs"]
    assert (pair["question"], pair["answer"]) == ("What is it?", "a dog")
    assert found.facts["dropped"] == 1 and told in found.facts["faults"][0]


def quad(x0: float, y0: float, x1: float, y1: float) -> Any:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (Line(" ", quad(0, 0, 1, 1), 0.9), "no text"),
        (Line("a", quad(0, 0, 1, 1), float("nan")), "confidence"),
        (Line("a", quad(0, 0, 1, 1), 1.5), "confidence"),
        (Line("a", quad(0, 0.5, 1, 0.5), 0.9), "no area"),
        (Line("a", quad(0, float("nan"), 1, 1), 0.9), "no area"),
        (Line("a", quad(1, 0, 1, 1), 0.9), "no area"),
    ],
)
def test_an_odd_line_of_text(line: Line, told: str) -> None:
    good = Line("Gate 27", quad(0.1, 0.1, 0.4, 0.2), 0.9)
    sound, (fault,) = sound_lines([good, line])
    assert sound == [good] and told in fault and "line 1" in fault
