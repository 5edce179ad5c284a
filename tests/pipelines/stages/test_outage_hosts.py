"""Hosts of a store, as the judgement over outages counts them."""

from collections import defaultdict
from pathlib import Path

import pytest

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.outage import CountHosts, SplitHosts, outage
from septet.pipelines.stages.stage import Parts
from septet.pipelines.store import writer
from septet.pipelines.store.writer import StoreWriter
from septet.preprocess import files
from septet.preprocess.http.client import Fetched
from septet.schemas.recipe import Image
from tests.preprocess.images.photos import photo, saved

PNG = saved(photo(), "png")


def stored(
    folder: Path, generation: str, hosts: dict[str, tuple[str | None, ...] | list[str]]
) -> None:
    """A generation with a URL for each of the hosts' reasons, None for an image."""
    with StoreWriter(str(folder), generation, "task", {}, Image(resize_mode="no")) as store:
        for host, reasons in hosts.items():
            for number, reason in enumerate(reasons):
                url = f"http://{host}/{number}"
                store.put(Fetched(url, None if reason else PNG, reason, "503"))
        store.put(Fetched("http://of.an.input/0", PNG), "in")


def counted(folder: Path, buckets: int) -> tuple[int, int, int]:
    split = SplitHosts(str(folder), 2, buckets)
    task = CountHosts(Parts(str(folder / f"hosts-{buckets}"), "id"))
    parts = defaultdict(list)
    for table in sorted(folder.glob("store/x/*/*/*/*.parquet")):
        for bucket, data in split.split(str(table.relative_to(folder))):
            parts[bucket].append(data)
    total = Counts()
    for bucket in range(buckets):
        task.run(bucket, parts[bucket])
        total.add(Counts.from_metadata(files.read_table_metadata(task.path(bucket))[1]))
    return total.rows_in, total.other["hosts"], total.other["silent"]


@pytest.mark.parametrize("buckets", [1, 7])
def test_hosts_that_are_known_to_fail_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buckets: int
) -> None:
    monkeypatch.setattr(writer, "IMAGES_A_BLOCK", 2)  # a host's rows are in many tables
    stored(tmp_path, "store/x/000002", {
        "a": ("timeout", "connect", "timeout", "http_status"), "b": ["host_down"] * 9,
        "u:p@B": ("dns",), "c:80": ("connect",), "c:81": ("truncated",), "d": ("tls",), "e": (None,),
    })  # fmt: skip
    assert counted(tmp_path, buckets) == (6, 6, 2)  # b and c:80
    stored(tmp_path, "store/x/000001", {
        "b": ("connect",), "c:80": ("connect", None), "a": ("http_status",), "other": ("dns",),
    })  # fmt: skip
    assert counted(tmp_path, buckets) == (6, 4, 1)  # without b and a


@pytest.mark.parametrize(("asked", "arrived", "passing", "unanswered", "hosts", "silent", "told"), [
    (5, 0, 5, 0, 1, 0, "none of 5 images arrived, and 5 failed"),
    (5, 0, 5, 5, 0, 0, None),
    (4, 0, 4, 4, 4, 4, None),
    (20, 0, 18, 0, 1, 0, None),
    (20, 0, 19, 0, 1, 0, "none of 20"),
    (20, 1, 19, 11, 5, 3, "11 of 20 images got no answer, and 3 of 5 hosts gave none"),
    (20, 1, 19, 10, 5, 3, None),
    (20, 1, 19, 11, 4, 4, None),
    (20, 1, 19, 11, 6, 3, None),
])  # fmt: skip
def test_what_counts_as_an_outage(
    asked: int, arrived: int, passing: int, unanswered: int, hosts: int, silent: int,
    told: str | None,
) -> None:  # fmt: skip
    counts = Counts(rows_in=asked, rows_out=arrived)
    counts.other.update(asked=asked, passing=passing, unanswered=unanswered)
    figures = Counts()
    figures.other.update(hosts=hosts, silent=silent)
    found = outage(counts, figures)
    assert found is None if told is None else found is not None and found.startswith(told)
