"""What the store lacks, and where it has what a build asks for: two shuffles, at any size."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from septet.pipelines.runners import make_runner
from septet.pipelines.stages import located, missing
from septet.pipelines.stages.graphs import shuffle_tasks
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.located import Choose, LocateTask, ReadChosen, SplitStored
from septet.pipelines.stages.missing import (
    MISSING,
    WANTED,
    MissingTask,
    Most,
    Subtract,
    missing_of,
    most_slices,
    owner_of,
    store_key,
    store_keys,
)
from septet.pipelines.stages.stage import Parts
from septet.pipelines.store.store import Known, Retry
from septet.preprocess import files
from septet.schemas import tables
from septet.schemas.recipe import Fetch

FETCH = Fetch(contact="crawler@example.org")


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
    assert most_slices(per_host, workers) == (slices, workers or 4)


def test_what_is_known_is_not_wanted_again() -> None:
    wanted = rows_of(*({"image_url": f"http://{d}.org/{i}"} for d in "ab" for i in range(3)))
    known = b"".join(store_key(f"http://a.org/{i}", None) for i in (0, 2))
    parts = [b"K" + known, b"W" + to_ipc(wanted, WANTED), b"K" + store_key("http://b.org/9", None)]
    found: dict[int, set[str]] = {}
    for group, data in Subtract(1000).regroup(0, parts):
        found[group] = set(from_ipc(data, MISSING)["image_url"].to_pylist())
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
    task = MissingTask(Parts(str(tmp_path), "missing"), Most(3, 2), FETCH)
    asked = Subtract(1)
    halves = [b"W" + to_ipc(rows_of(*rows[at::2]), WANTED) for at in (1, 0)]
    counts = task.run(7, [piece for half in halves for _, piece in asked.regroup(0, [half])])
    assert (counts.rows_in, counts.rows_out, counts.other["slices"]) == (104, 104, 3)
    table = files.read_table(task.path(7)).to_pylist()
    of = {row["image_url"]: row["slice"] for row in table}
    many = [f"http://many.org/{i:03d}" for i in [*range(1, 35, 2), *range(0, 35, 2)]]
    assert [of[url] for url in many] == [0] * 12 + [1] * 12 + [2] * 11
    assert {of[row["image_url"]] for row in rows[35:]} == {0}
    assert counts.other["sharing"] == 3
    again = [row["image_url"] for part in missing_of(task.output, "7.1") for row in part]
    assert again == many[12:24]
    assert sum(len(part) for part in missing_of(task.output, "7.0")) == 104 - 23


def test_what_inputs_hold_is_work_for_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They ask no host, so a domain of the same group is asked by its one task alone."""
    monkeypatch.setattr(missing, "_HELD_A_SLICE", 10)
    rows = [
        *({"image_url": f"http://few.org/{i}"} for i in range(9)),
        *({"image_url": f"in/{i}", "input": "in", "name": str(i)} for i in range(12)),
        *({"image_url": f"x/{i}", "input": "a.tar", "offset": -i} for i in range(18)),
    ]
    task = MissingTask(Parts(str(tmp_path), "missing"), Most(8, 4), FETCH)
    part = b"W" + to_ipc(rows_of(*rows), WANTED)
    counts = task.run(7, [piece for _, piece in Subtract(1).regroup(0, [part])])
    assert (counts.other["slices"], counts.other["sharing"]) == (3, 1)
    found = [
        [row["image_url"] for part in missing_of(task.output, f"7.{n}") for row in part]
        for n in range(3)
    ]
    archived = [f"x/{i}" for i in reversed(range(18))]
    assert [[url for url in urls if url[0] == "x"] for urls in found] == [
        archived[:10], archived[10:], [],
    ]  # fmt: skip
    assert [sum(url[:3] == "in/" for url in urls) for urls in found] == [0, 2, 10]
    assert [sum(url[:4] == "http" for url in urls) for urls in found] == [9, 0, 0]


def test_a_group_of_nothing_has_no_slices(tmp_path: Path) -> None:
    task = MissingTask(Parts(str(tmp_path), "missing"), Most(3, 2), FETCH)
    assert task.run(0, []).other["slices"] == 0
    assert list(missing_of(task.output, "0.0")) == []
    assert np.array_equal(store_keys(rows_of()), np.empty((0, 2)))


@pytest.mark.parametrize(("workers", "slices"), [(None, 2), (1, 1), (2, 2), (8, 2)])
def test_one_task_asks_a_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None, slices: int
) -> None:
    urls = [f"http://img{n % 5}.one.org/{n}.jpg" for n in range(2500)]
    urls += [f"http://site{n}.org/{k}.jpg" for n in range(300) for k in range(3)]
    rows = [{"image_url": url} for url in urls]
    rows += [
        {"image_url": f"http://held.example/{n}", "input": "a.warc", "offset": n * 2**20}
        for n in range(200)
    ]
    table = pa.Table.from_pylist(rows, WANTED)
    groups: dict[int, list[bytes]] = defaultdict(list)
    for start in range(0, len(table), 500):
        part = b"W" + to_ipc(table.slice(start, 500), WANTED)
        for group, piece in Subtract(7).regroup(0, [part]):
            groups[group].append(piece)
    task = MissingTask(Parts(str(tmp_path), "missing"), most_slices(8, workers), FETCH)
    where: dict[str, set[tuple[int, int]]] = defaultdict(set)
    found = []
    for group in range(7):
        task.run(group, groups[group])
        for row in files.read_table(task.path(group)).to_pylist():
            owner = row["image_url"].split("/")[2].removeprefix("img")[1:]
            where[row["input"] or owner].add((group, row["slice"]))
            found.append(row["image_url"])
    assert sorted(found) == sorted(row["image_url"] for row in rows)
    assert len(groups) == 7
    sliced = where.pop(".one.org")
    assert {number for _, number in sliced} == {*range(slices)}
    assert len({group for group, _ in sliced}) == 1
    assert len({group for group, _ in where.pop("a.warc")}) > 1, "parts of an archive"
    assert len(where) == 300
    assert all(len(tasks) == 1 for tasks in where.values())

    monkeypatch.setattr(missing, "_URLS_AT_ONCE", 100)
    read = []
    for key in {f"{group}.{number}" for group in range(7) for number in range(slices)}:
        parts = list(missing.missing_of(task.output, key))
        assert all(0 < len(part) <= 100 for part in parts)
        rows = [row for part in parts for row in part]
        held = [(row["input"], row["offset"]) for row in rows if row["input"]]
        assert held == sorted(held)
        assert not any(row["input"] for row in rows[len(held) :]), "archives come first"
        read += [row["image_url"] for row in rows]
    assert sorted(read) == sorted(found)


class Pieces:
    """A domain's images in pieces that are made when they are asked for; notes the most memory
    that was held meanwhile."""

    def __init__(self, count: int, size: int):
        self.count, self.size, self.most = count, size, 0
        self.before = pa.total_allocated_bytes()

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.count):
            self.most = max(self.most, pa.total_allocated_bytes() - self.before)
            names = [f"http://one.org/{number}/{n}.jpg" for n in range(self.size)]
            columns = {
                "image_url": pa.array(names),
                "owner": pa.array([7] * self.size, pa.uint64()),
            }
            rows = pa.table(
                [columns.get(f.name, pa.nulls(self.size, f.type)) for f in MISSING], schema=MISSING
            )
            del columns, names
            piece = to_ipc(rows, MISSING)
            del rows
            yield piece


def test_a_domain_of_any_size_is_held_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "_URLS_AT_ONCE", 2000)
    task = MissingTask(Parts(str(tmp_path), "missing"), Most(4, 4), FETCH)
    few, many = Pieces(16, 500), Pieces(96, 500)
    task.run(0, few)
    counts = task.run(1, many)
    assert counts.rows_out == 48_000 and counts.other["slices"] == 4
    assert 0 < many.most < 1.5 * few.most  # six times as large, if its rows were held
    slices = files.read_table(task.path(1))["slice"].to_numpy()
    assert np.bincount(slices).tolist() == [12_000] * 4
    assert (np.diff(slices) >= 0).all()


def write_store(folder: Path, urls: list[str], generation: int, reason: str | None) -> str:
    """A table of the store; its rows say in which file and where they are."""
    name = f"store/x/{generation:06d}/{len(urls)}-{urls[0][-5:-4]}.parquet"
    rows = [
        {"image_url": url, "reason": reason, "file": None if reason else name, "offset": n}
        for n, url in enumerate(urls)
    ]
    files.write_table(str(folder / name), pa.Table.from_pylist(rows, tables.STORED))
    return name


@pytest.mark.parametrize("tables_a_group", [1, 2, 64])
def test_each_shard_gets_the_rows_that_count_and_no_others_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables_a_group: int
) -> None:
    monkeypatch.setattr(located, "_TABLES_A_GROUP", tables_a_group)
    urls = [f"http://a.org/{n}.jpg" for n in range(8)]
    stored = [
        write_store(tmp_path, urls[:3], 1, "timeout"),  # again, and then there
        write_store(tmp_path, urls[1:4], 2, None),
        write_store(tmp_path, urls[:2], 3, "http_status"),  # 0: the last failure; 1 is there
        write_store(tmp_path, urls[3:], 3, None),  # 3 is there since before; 6 and 7 are not wanted
    ]
    plans, output = Parts(str(tmp_path / "plans"), "p"), Parts(str(tmp_path / "out"), "o")
    wanted = {0: [0, 5, 2], 1: [3, 1], 2: [], 3: [4]}
    for shard, numbers in wanted.items():
        rows = [{"id": f"{n:032x}", "image_url": urls[n], "source": "s"} for n in numbers]
        files.write_table(plans.path(shard), pa.Table.from_pylist(rows, tables.PLANNED))
    known = Known(str(tmp_path), {"max_bytes": 10**6}, (Retry(("passing",), 2, is_outage=False),))
    sent = []

    class Watched(ReadChosen):
        def regroup(self, group: int, parts: list[bytes]) -> Iterator[tuple[int, bytes]]:
            for shard, piece in super().regroup(group, parts):
                sent.append(shard)
                yield shard, piece

    steps = (SplitStored(plans, known, {}, 3), Choose(), Watched(known))
    task = LocateTask(output, Parts(str(tmp_path / "rejects"), "r"), plans)
    graph = shuffle_tasks(steps, [*wanted, *enumerate(stored)], task, list(wanted))
    with make_runner("local", 1, [], str(tmp_path)) as runner:
        runner.run("located", graph)
    found = {
        shard: [
            (urls.index(row["image_url"]), row["reason"] or (row["file"], row["offset"]))
            for row in files.read_table(output.path(shard)).to_pylist()
        ]
        for shard in wanted
    }
    assert found == {
        0: [(0, "http_status"), (2, (stored[1], 1)), (5, (stored[3], 2))],
        1: [(1, (stored[1], 0)), (3, (stored[1], 2))],
        2: [],
        3: [(4, (stored[3], 1))],
    }
    assert set(sent) == {0, 1, 3}


def test_an_image_that_the_store_lost_ends_the_build(tmp_path: Path) -> None:
    plans = Parts(str(tmp_path / "plans"), "p")
    row = {"id": "0" * 32, "image_url": "http://a.org/0.jpg", "source": "s"}
    files.write_table(plans.path(0), pa.Table.from_pylist([row], tables.PLANNED))
    split = SplitStored(plans, Known(str(tmp_path), {}, ()), {}, 1)
    parts = [piece for _, piece in split.split(0)]
    with pytest.raises(RuntimeError, match="the fetch store lacks images"):
        list(Choose().regroup(0, parts))
