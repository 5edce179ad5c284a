"""What the store lacks, and whose task it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from septet.pipelines.stages import missing
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.missing import (
    WANTED,
    MissingTask,
    Subtract,
    missing_of,
    most_slices,
    owner_of,
    store_key,
    store_keys,
)
from septet.pipelines.stages.stage import Parts
from septet.preprocess import files


def rows_of(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), WANTED)


def test_keys_of_a_table_are_those_of_its_rows() -> None:
    rows = rows_of({"image_url": "http://a/1"}, {"image_url": "x/1", "digest": "d"})
    keys = store_keys(rows)
    assert keys.shape == (2, 2)
    assert keys[0].tobytes() == store_key("http://a/1", None)
    assert keys[1].tobytes() == store_key("x/1", "d") != store_key("x/1", None)


@pytest.mark.parametrize(("location", "owner"), [
    (("http://img.a.example.org/1.jpg", None, None, None), "example.org"),
    (("http://A.EXAMPLE.co.uk:81/1", None, None, None), "example.co.uk"),
    (("x", "a.warc", None, 0), "a.warc#0"),
    (("x", "a.warc", None, 2**26 - 1), "a.warc#0"),
    (("x", "a.warc", None, 5 * 2**26), "a.warc#5"),
    (("x", "a.warc", None, None), "a.warc#0"),
])  # fmt: skip
def test_a_domain_or_a_part_of_an_archive_is_asked_by_one_task(
    location: tuple[str, str | None, str | None, int | None], owner: str
) -> None:
    assert owner_of(*location) == owner


def test_a_folder_is_the_work_of_64_tasks() -> None:
    owners = {owner_of("x", "in", f"{i}.jpg", None) for i in range(2000)}
    assert owners == {f"in#{i}" for i in range(64)}


@pytest.mark.parametrize(("per_host", "workers", "slices"), [
    (8, 2, 2), (1, 2, 1), (8, None, 4), (2, None, 2), (8, 16, 8),
])  # fmt: skip
def test_slices_are_as_many_as_can_ask_at_once(
    per_host: int, workers: int | None, slices: int
) -> None:
    assert most_slices(per_host, workers) == slices


def test_what_is_known_is_not_wanted_again() -> None:
    wanted = rows_of(*({"image_url": f"http://{d}.org/{i}"} for d in "ab" for i in range(3)))
    known = b"".join(store_key(f"http://a.org/{i}", None) for i in (0, 2))
    parts = [b"K" + known, b"W" + to_ipc(wanted, WANTED), b"K" + store_key("http://b.org/9", None)]
    found: dict[int, set[str]] = {}
    for group, data in Subtract(1000).regroup(0, parts):
        found[group] = set(from_ipc(data, WANTED)["image_url"].to_pylist())
    assert sorted(found.values(), key=len) == [
        {"http://a.org/1"}, {f"http://b.org/{i}" for i in range(3)},
    ]  # fmt: skip


def test_a_domain_of_many_urls_is_cut_into_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "_URLS_A_SLICE", 10)
    rows = [
        *({"image_url": f"http://many.org/{i:03d}"} for i in range(35)),
        *({"image_url": f"http://few.org/{i}"} for i in range(19)),
        *({"image_url": f"in/{i}", "input": "in", "name": str(i)} for i in range(50)),
    ]
    task = MissingTask(Parts(str(tmp_path), "missing"), 3)
    halves = [to_ipc(rows_of(*rows[at::2]), WANTED) for at in (1, 0)]
    counts = task.run(7, halves)
    assert (counts.rows_in, counts.rows_out, counts.other["slices"]) == (104, 104, 3)
    table = files.read_table(task.path(7)).to_pylist()
    of = {row["image_url"]: row["slice"] for row in table}
    assert [of[f"http://many.org/{i:03d}"] for i in range(35)] == [0] * 12 + [1] * 12 + [2] * 11
    assert {of[row["image_url"]] for row in rows[35:]} == {0}
    again = [row["image_url"] for part in missing_of(task.output, "7.1") for row in part]
    assert again == [f"http://many.org/{i:03d}" for i in range(12, 24)]
    assert sum(len(part) for part in missing_of(task.output, "7.0")) == 104 - 23


def test_a_group_of_nothing_has_no_slices(tmp_path: Path) -> None:
    task = MissingTask(Parts(str(tmp_path), "missing"), 3)
    assert task.run(0, []).other["slices"] == 0
    assert list(missing_of(task.output, "0.0")) == []
    assert np.array_equal(store_keys(rows_of()), np.empty((0, 2)))
