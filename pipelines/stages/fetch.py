"""fetch: the images of a shard plan, decoded, resized and encoded; one task a plan.

The final bytes of every image go into one file a plan, in the order in which they come; where
they lie is in the table. So memory is bounded by what is in flight, thresholds can be changed
without fetching again, and pixels are decoded once.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa

from pipelines.sources.warc import BodyError, read_body_from
from pipelines.stages.base import Pass, Stage, Work, map_tasks, numbered
from pipelines.stages.source import IN_PLAIN_FILE
from preprocess import files
from preprocess.images.fetch import Fetched, fetch_many
from preprocess.images.process import ImageReject, process_image
from schemas import tables
from schemas.recipe import Fetch, Image

_DECODE_THREADS = 2
_WAITING = 32
"""Images that may wait for a decoder: bounds memory."""


class FetchStage(Stage):
    """See the module."""

    name = "fetch"
    version = 1
    sections = ("fetch", "image")

    def settings(self) -> dict[str, Any]:
        """All but what only decides the speed."""
        settings = super().settings()
        for name in ("concurrency", "per_host"):
            del settings["fetch"][name]
        return settings

    @property
    def output(self) -> str:
        """A row for each image URL of a plan."""
        return files.join(self.folder, "fetched")

    @property
    def images(self) -> str:
        """The images' bytes."""
        return files.join(self.folder, "images")

    @property
    def plans(self) -> str:
        """The shard plans that were fetched."""
        assert self.previous is not None
        return self.previous.output

    def passes(self) -> Iterator[Pass]:
        """One pass over the plans."""
        assert self.previous is not None
        numbers = self.previous.numbers()
        work = FetchWork(
            self.folder, self.output, self.images, self.plans, self.recipe.fetch, self.recipe.image
        )
        yield Pass("fetch", self.output, len(numbers), map_tasks(work, numbers))


class FetchWork(Work):
    """Fetches one plan."""

    stage = "fetch"

    def __init__(
        self, folder: str, output: str, images: str, plans: str, fetch: Fetch, image: Image
    ):
        self.folder, self.output, self.images, self.plans = folder, output, images, plans
        self.fetch, self.image = fetch, image

    def run(self, number: int) -> None:
        """Write the plan's images, then the table that makes them count."""
        plan = files.read_table(numbered(self.plans, number))
        with (
            self.results(number, tables.FETCHED) as results,
            files.open_atomic(numbered(self.images, number, "bin")) as out,
        ):
            results.counts.taken = len(plan)
            store = _Store(out, self.image)
            places = _distinct_places(plan)
            with store:
                for url, data in _read_places(places, self.fetch.max_bytes):
                    store.put(url, data)
                fetch_many(
                    [url for url, (path, _) in places.items() if path is None],
                    self.fetch,
                    lambda got: store.put(got.url, got),
                )
            rows = pa.Table.from_pylist(
                sorted(store.rows, key=lambda row: row["image_url"]), tables.FETCHED
            )
            results.keep(rows)
            lost = {row["image_url"]: row for row in store.rows if row["reason"]}
            results.reject(_rejects(plan, lost))
            results.counts.given = len(plan) - results.counts.rejected.total()
            results.counts.other["images"] = sum(not row["reason"] for row in store.rows)
            results.counts.other["from_inputs"] = sum(p is not None for p, _ in places.values())
