"""Thresholds of curate, at their bounds."""

from typing import Any

import pyarrow as pa
import pytest

from septet.pipelines.stages.curate import judge
from septet.preprocess.rules.tally import Tally
from septet.schemas.recipe import Curate

SCHEMA = pa.schema(
    [("original_bytes", pa.int64()), ("original_width", pa.int32()), ("original_height", pa.int32()),
     ("format", pa.string())]
)  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "image", "expected"),
    [
        ({}, (0, 30, 10), (None, None)),
        ({}, (0, 10, 30), (None, None)),
        ({}, (0, 31, 10), ("aspect_ratio", "3.1")),
        ({}, (0, 10, 31), ("aspect_ratio", "3.1")),
        ({"max_aspect_ratio": 1}, (9, 8, 8), (None, None)),
        ({"max_aspect_ratio": 1}, (9, 3, 4), ("aspect_ratio", "1.333")),
        ({"min_bytes": 100}, (100, 8, 8), (None, None)),
        ({"min_bytes": 100}, (99, 8, 8), ("too_few_bytes", "99")),
        ({"min_side": 8}, (1, 8, 9), (None, None)),
        ({"min_side": 8}, (1, 9, 7), ("too_small", "7")),
        ({"min_side": 8}, (1, 7, 9), ("too_small", "7")),
        ({"min_side": 8, "min_bytes": 5}, (4, 2, 9), ("too_few_bytes", "4")),
        ({"min_side": 8}, (4, 2, 9), ("too_small", "2")),
        ({"min_side": 8, "min_bytes": 5, "min_pixels": 9}, (None, None, None), (None, None)),
        ({"min_pixels": 72}, (1, 9, 8), (None, None)),
        ({"min_pixels": 73}, (1, 9, 8), ("too_few_pixels", "72")),
        ({"max_aspect_ratio": None}, (1, 900, 1), (None, None)),
        ({"formats": ["jpeg"]}, (1, 9, 8, "jpeg"), (None, None)),
        ({"formats": ["jpeg", "webp"]}, (1, 9, 8, "png"), ("other_format", "png")),
        ({"formats": ["jpeg"]}, (None, None, None), (None, None)),
    ],
)
def test_thresholds(settings: dict[str, Any], image: tuple, expected: tuple) -> None:
    row = dict(zip(SCHEMA.names, image, strict=False))
    rows = pa.Table.from_pylist([row, row], SCHEMA)
    found = judge(rows, Curate(**settings), Tally()).to_pylist()
    assert [(one["reason"], one["value"]) for one in found] == [expected] * 2
