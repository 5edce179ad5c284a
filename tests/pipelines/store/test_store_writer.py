"""Blocks of the store: when one is closed, and what its table says."""

from pathlib import Path

import pytest

from septet.pipelines.store import writer
from septet.pipelines.store.reader import StoreReader
from septet.pipelines.store.writer import StoreWriter
from septet.preprocess import files
from septet.preprocess.http.client import Fetched
from septet.schemas.recipe import Image
from tests.preprocess.images.photos import photo, saved

PNG = saved(photo(), "png")


@pytest.mark.parametrize(("bound", "value", "blocks"), [
    ("_SECONDS_A_BLOCK", 1000, [5]),
    ("_SECONDS_A_BLOCK", 0, [1, 1, 1, 1, 1]),
    ("IMAGES_A_BLOCK", 2, [2, 2, 1]),
    ("IMAGES_A_BLOCK", 5, [5]),
    ("_BYTES_A_BLOCK", 2 * len(PNG), [3, 2]),
    ("_BYTES_A_BLOCK", 2 * len(PNG) + 1, [4, 1]),
])  # fmt: skip
def test_a_block_is_closed_when_it_has_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, blocks: list[int]
) -> None:
    monkeypatch.setattr(writer, bound, value)
    with StoreWriter(str(tmp_path), "store", "task", {}, Image(resize_mode="no")) as store:
        for number in range(5):
            if number == 1:
                store.put(Fetched("http://e.org/1", None, "http_status", "503"))
            else:
                store.put(Fetched(f"http://e.org/{number}", PNG), "in" if number == 4 else None)
    tables = sorted((tmp_path / "store").rglob("*.parquet"))
    rows = [files.read_table(str(path)).to_pylist() for path in tables]
    assert [len(table) for table in rows] == blocks
    flat = [row for table in rows for row in table]
    assert [row["image_url"][-1] for row in flat] == list("01234")
    counts = store.counts
    assert (counts.rows_in, counts.rows_out, counts.rejected) == (5, 4, {"http_status": 1})
    assert counts.other == {
        "bytes": 4 * len(PNG), "asked": 4, "passing": 1, "unanswered": 0,
    }  # fmt: skip
    stored = [row for row in flat if row["reason"] is None]
    with StoreReader(str(tmp_path)) as reader:
        assert list(reader.images(stored)) == [PNG] * 4


def test_a_block_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        StoreWriter(str(tmp_path), "store", "task", {}, Image(resize_mode="no")) as store,
    ):
        store.put(Fetched("http://e.org/0", PNG))
        raise ZeroDivisionError
    assert not [*files.walk(str(tmp_path / "store"))]
