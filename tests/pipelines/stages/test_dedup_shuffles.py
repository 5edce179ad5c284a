"""What dedup sends through its shuffles: small pieces, from memory that no input's size decides."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from septet.pipelines.stages import dedup
from septet.pipelines.stages.dedup import (
    SplitHashes,
    SplitRows,
    _first_locations,
    _received,
    shards_a_range,
)
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.stage import Parts
from septet.preprocess import files
from septet.preprocess.text.ids import bucket_of, sample_id, split_ids
from septet.schemas import tables


def filtered(count: int) -> pa.Table:
    rows = []
    for i in range(count):
        url = f"https://images.example.com/photos/picture-{i}-640x480.jpg"
        caption = f"A caption of a usual length, some forty characters, {i}"
        rows.append(
            {"id": sample_id(url, caption), "image_url": url, "caption": caption,
             "caption_from": "list", "source": "part-00000.parquet", "language": "en",
             "language_score": 0.9, "language_from": "model"}
        )  # fmt: skip
    return pa.Table.from_pylist(rows, tables.FILTERED)


def written(folder: Path, count: int) -> tuple[Parts, Parts]:
    samples, locations = Parts(str(folder / "filtered"), "x"), Parts(str(folder / "locations"), "x")
    Path(samples.path("part")).parent.mkdir(parents=True)
    pq.write_table(filtered(count), samples.path("part"), row_group_size=3000)
    files.write_table(locations.path("part"), tables.IMAGE_LOCATIONS.empty_table())
    return samples, locations


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_a_piece_of_few_rows_is_hardly_larger_than_its_text(count: int) -> None:
    table = filtered(count)
    piece = to_ipc(table, tables.FILTERED)
    assert from_ipc(piece, tables.FILTERED).equals(table)
    text = sum(len(str(v)) for row in table.to_pylist() for v in row.values() if v is not None)
    assert len(piece) < 2_000 + text


@pytest.mark.parametrize("split", ["rows", "hashes"])
def test_memory_does_not_grow_with_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    monkeypatch.setattr(dedup, "_ROWS_READ", 200)
    monkeypatch.setattr(dedup, "_ROWS_GATHERED", 1000)

    def peak(count: int) -> int:
        samples, locations = written(tmp_path / str(count), count)
        step = (
            SplitRows(samples, locations, 4, 1)
            if split == "rows"
            else SplitHashes(samples, 4, most=10)
        )
        before, most = pa.total_allocated_bytes(), 0
        tracemalloc.start()
        for _ in step.split(("part", "part") if split == "rows" else "part"):
            most = max(most, pa.total_allocated_bytes() - before)
        most += tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)  # what is imported and cached at the first call
    assert peak(24_000) < 2 * peak(6_000)  # four times as large, if any rows were held


@pytest.mark.parametrize(
    ("rows", "shards", "width"),
    [
        (0, 1, 1),
        (10_000, 1, 1),
        (640_000, 64, 1),
        (1_280_000, 128, 2),
        (1_000_000_000, 100_000, 50),
        (10_000_000_000, 1_000_000, 50),
        (2_000_000_000, 100_000, 25),
    ],
)
def test_ranges_of_shards_are_work_for_many_and_fit_into_memory(
    rows: int, shards: int, width: int
) -> None:
    assert shards_a_range(rows, shards) == width


def test_pieces_do_not_grow_with_the_shards(tmp_path: Path) -> None:
    samples, locations = written(tmp_path, 3000)
    for shards in (10, 1000, 50_000):
        width = shards_a_range(3000, shards)
        pieces = list(SplitRows(samples, locations, shards, width).split(("part", "part")))
        assert len(pieces) <= 2 * 64
        ids = [
            (number, id_)
            for number, piece in pieces
            for id_ in _received([piece], b"R", tables.FILTERED)["id"].to_pylist()
        ]
        anchors = split_ids(pa.chunked_array([[id_ for _, id_ in ids]]))[0]
        assert [n for n, _ in ids] == list(bucket_of(anchors, shards) // width)
        assert sorted(id_ for _, id_ in ids) == sorted(filtered(3000)["id"].to_pylist())


def test_of_several_locations_the_first_by_name_serves() -> None:
    rows = [("u", "b", 1), ("v", "c", 3), ("u", "a", 9), ("v", "c", 2), ("u", "a", 10)]
    table = pa.Table.from_pylist(
        [{"image_url": u, "input": i, "offset": o} for u, i, o in rows], tables.IMAGE_LOCATIONS
    )
    found = _first_locations(table)
    assert {(r["image_url"], r["input"], r["offset"]) for r in found.to_pylist()} == {
        ("u", "a", 9), ("v", "c", 2),
    }  # fmt: skip
    assert len(_first_locations(table.slice(0, 0))) == 0
    assert np.unique(found["image_url"].to_pylist()).size == len(found)
