"""fetch: the images of a shard plan, decoded, resized and encoded; one task a plan.

The final bytes of every image go into one file a plan, in the order in which they come; where
they lie is in the table. So memory is bounded by what is in flight, thresholds can be changed
without fetching again, and pixels are decoded once.
"""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import fsspec
import numpy as np
import pyarrow as pa

from septet.pipelines.sources.warc import read_body_from
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.source import IN_PLAIN_FILE
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.http.client import Fetched, fetch_many
from septet.preprocess.images.process import process_image
from septet.schemas import tables
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.recipe import Fetch, Image

_DECODE_THREADS = 2


class FetchStage(Stage):
    """Fetches the images of the shard plans."""

    name = "fetch"
    version = 2
    sections = ("fetch", "image")
    reads = ("plans",)
    gives = ("fetched",)

    def settings(self) -> dict[str, Any]:
        """All but what only decides the speed."""
        settings = super().settings()
        for name in ("concurrency", "per_host"):
            del settings["fetch"][name]
        return settings

    def keys(self) -> Sequence[Key]:
        """Numbers of the shards."""
        return self.givers["plans"].keys()

    def passes(self) -> Iterator[Pass]:
        """One pass over the plans."""
        task = FetchTask(
            self.parts("fetched"),
            self.rejects,
            self.parts("images"),
            self.input("plans"),
            self.recipe.fetch,
            self.recipe.image,
        )
        yield Pass("fetch", task.outputs(self.keys()), lambda todo: map_tasks(task, todo))

    def current_files(self) -> Iterator[str]:
        """The images' bytes besides."""
        yield from super().current_files()
        images = self.parts("images")
        yield from (_bytes_of(images, key) for key in self.keys())


def _bytes_of(images: Parts, key: Key) -> str:
    """The file of a plan's image bytes."""
    return images.path(key).removesuffix("parquet") + "bin"


class FetchTask(Task):
    """Fetches the images of one plan."""

    stage = "fetch"

    def __init__(
        self,
        output: Parts,
        rejects: Parts,
        images: Parts,
        plans: Parts,
        fetch: Fetch,
        image: Image,
    ):
        self.output, self.rejects, self.images, self.plans = output, rejects, images, plans
        self.fetch, self.image = fetch, image

    def run(self, key: Key) -> Counts:
        """Write the plan's images, then the table that makes them count."""
        plan = files.read_table(self.plans.path(key))
        places = _distinct_places(plan)
        with (
            self.results(key, tables.FETCHED) as results,
            files.open_atomic(_bytes_of(self.images, key)) as out,
        ):
            store = _Store(out, self.image)
            for got in _read_places(places, self.fetch.max_bytes):
                store.put(got)
            away = [url for url, (path, _) in places.items() if path is None]
            if away:
                fetch_many(away, self.fetch, store.put, threads=_DECODE_THREADS)
            rows = sorted(store.rows, key=lambda row: str(row["image_url"]))
            results.keep(pa.Table.from_pylist(rows, tables.FETCHED))
            results.reject(_rejects(plan, rows))
            results.counts.rows_in = len(plan)
            results.counts.rows_out = len(plan) - results.counts.rejected.total()
            results.counts.other["images"] = sum(not row["reason"] for row in rows)
            results.counts.other["images_from_inputs"] = len(places) - len(away)
            results.counts.other["bytes"] = sum(row.get("original_bytes") or 0 for row in rows)
        return results.counts


class _Store:
    """Takes images in any order and from several threads; decodes them and keeps their bytes."""

    def __init__(self, out: BinaryIO, settings: Image):
        self.rows: list[dict[str, Any]] = []
        self._out, self._settings = out, settings
        self._end = 0
        self._lock = threading.Lock()

    def put(self, got: Fetched) -> None:
        """Process what was fetched, whatever became of it."""
        row: dict[str, Any] = {"image_url": got.url, "reason": got.reason, "value": got.value}
        if got.body is None:
            self._append(row)
            return
        row["original_bytes"] = len(got.body)
        row["sha256"] = hashlib.sha256(got.body).hexdigest()
        image = process_image(got.body, self._settings)
        if isinstance(image, Rejected):
            self._append({**row, "reason": image.reason, "value": image.value})
            return
        described = (
            "format", "ext", "width", "height", "original_width", "original_height", "reencoded",
        )  # fmt: skip
        self._append({**row, **{name: getattr(image, name) for name in described}}, image.data)

    def _append(self, row: dict[str, Any], data: bytes = b"") -> None:
        with self._lock:
            if row["reason"] is None:
                self._out.write(data)
                row |= {"offset": self._end, "size": len(data)}
                self._end += len(data)
            self.rows.append(row)


def _distinct_places(plan: pa.Table) -> dict[str, tuple[str | None, int]]:
    """Each image URL once, with the file and offset that hold it if an input does."""
    columns = (plan[name].to_pylist() for name in ("image_url", "image_path", "image_offset"))
    return {url: (path, offset) for url, path, offset in zip(*columns, strict=True)}


def _read_places(places: dict[str, tuple[str | None, int]], max_bytes: int) -> Iterator[Fetched]:
    """Read the images that inputs hold, file by file in the order of their offsets."""
    by_path: dict[str, list[tuple[int, str]]] = {}
    for url, (path, offset) in places.items():
        if path is not None:
            by_path.setdefault(path, []).append((offset, url))
    for path, wanted in sorted(by_path.items()):
        try:
            with fsspec.open(path, "rb") as file:
                for offset, url in sorted(wanted):
                    yield _read_place(file, offset, url, max_bytes)
        except FileNotFoundError:
            for _, url in wanted:
                yield Fetched(url, None, "missing_file", path.rsplit("/", 1)[-1])


def _read_place(file: BinaryIO, offset: int, url: str, max_bytes: int) -> Fetched:
    if offset == IN_PLAIN_FILE:
        data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            return Fetched(url, None, "too_large", f"more than {max_bytes}")
        return Fetched(url, data)
    try:
        return Fetched(url, read_body_from(file, offset, max_bytes))
    except RejectedError as error:
        return Fetched(url, None, error.reason, error.value)


def _rejects(plan: pa.Table, rows: list[dict[str, Any]]) -> pa.Table:
    """The rows of a plan whose image could not be had, with the image's reason and value."""
    lost = {row["image_url"]: row for row in rows if row["reason"]}
    urls = plan["image_url"].to_pylist()
    gone = plan.filter(pa.array(np.array([url in lost for url in urls], bool)))
    why = [lost[url] for url in gone["image_url"].to_pylist()]
    for name in ("reason", "value"):
        gone = gone.append_column(name, pa.array([row[name] for row in why], pa.string()))
    return gone
