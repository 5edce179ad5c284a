import json
from pathlib import Path

import numpy as np
import pytest

from septet.preprocess.annotators.objects import Objects
from septet.preprocess.columns.base import Item, NoValue, Value
from septet.preprocess.columns.members import check_member, pack_arrays, pack_json


def made(**settings: object) -> Objects:
    column = Objects(Objects.Settings(**settings))
    column.setup()
    return column


def value(column: Objects, data: bytes) -> dict:
    (found,) = column.annotate([Item("k", {}, {}, {column.settings.source: data})])
    assert isinstance(found, Value), found
    check_member(found.data, column.member)
    column.check(found.data)
    assert found.facts["objects"] == json.loads(found.data)["objects"]
    return json.loads(found.data)


def test_words_of_regions(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Person,man\ndog\n\ncar\n")
    column = made(labels=str(names), min_score=0.3)
    assert set(column.models()) == {"labels"} and column.columns() == ("regions",)
    regions = pack_arrays({"labels": np.int32([3, 0, 3, 1, 2, 9]),
                           "scores": np.float32([0.9, 0.8, 0.95, 0.1, 0.5, 0.4])})  # fmt: skip
    assert value(column, regions) == {
        "objects": ["car", "person", "2", "9"], "counts": [2, 1, 1, 1],
        "scores": [0.95, 0.8, 0.5, 0.4],
    }  # fmt: skip
    few = made(labels=str(names), max_objects=1)
    assert value(few, regions)["objects"] == ["car"]
    assert column.drawing(value_bytes(column, regions)).lines[0] == "2 x car"


def value_bytes(column: Objects, data: bytes) -> bytes:
    (found,) = column.annotate([Item("k", {}, {}, {column.settings.source: data})])
    assert isinstance(found, Value)
    return found.data


def test_words_of_boxes() -> None:
    column = made(source="boxes", form="boxes")
    data = pack_json({"boxes": [], "labels": ["Red  Circle", "", "red circle", "star"]})
    assert value(column, data) == {
        "objects": ["red circle", "star"], "counts": [2, 1], "scores": [1.0, 1.0]
    }  # fmt: skip


def test_reasons(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("dog\n")
    column = made(labels=str(names), min_score=0.5)
    low = pack_arrays({"labels": np.int32([0]), "scores": np.float32([0.4])})
    bare = pack_arrays({"boxes": np.zeros((1, 4), np.float32)})
    for columns, reason in [({}, "no_source"), ({"regions": b""}, "no_source"),
                            ({"regions": low}, "no_object"), ({"regions": bare}, "labels_missing")]:  # fmt: skip
        (found,) = column.annotate([Item("k", {}, {}, columns)])
        assert isinstance(found, NoValue) and found.reason == reason
    with pytest.raises(ValueError, match="no such file"):
        Objects(Objects.Settings()).models()
    for bad in ({}, {"objects": ["a", "a"], "counts": [1, 1], "scores": [1, 1]},
                {"objects": ["a"], "counts": [0], "scores": [1]}):  # fmt: skip
        with pytest.raises(ValueError, match="objects"):
            column.check(json.dumps(bad).encode())
