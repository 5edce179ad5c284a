"""Batches of a measure whose task joins rows in pairs."""

import pytest
import torch

from septet.trainers.measures.parts import Part, even
from septet.trainers.task import Batch


@pytest.mark.parametrize(("rows", "expected", "counts"), [
    (4, [0, 1, 2, 3], True), (5, [0, 1, 2, 3], True), (2, [0, 1], True), (1, [0, 0], False),
])  # fmt: skip
def test_an_odd_last_row_is_left_out_and_a_single_one_does_not_count(rows, expected, counts):
    data = {"row": torch.arange(rows), "pixels": torch.arange(rows)[:, None].expand(-1, 3)}
    found = even(Part(Batch("pairs", data), True))
    assert found.batch.data["row"].tolist() == expected == found.batch.data["pixels"][:, 2].tolist()
    assert (found.batch.kind, found.counts) == ("pairs", counts)
    assert not even(Part(Batch("pairs", data), False)).counts
