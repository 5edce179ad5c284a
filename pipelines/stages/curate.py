"""curate: thresholds on images, and identical images across all shards; shuffles ids and hashes."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.base import (
    Pass,
    Stage,
    Work,
    from_ipc,
    numbered,
    to_ipc,
)
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.fetch import FetchStage
from septet.pipelines.stages.graphs import shuffle_tasks
from septet.preprocess import files
from septet.preprocess.dedup import identical_images
from septet.preprocess.text.ids import bucket_of
from septet.schemas.recipe import Curate

_IMAGES_A_BUCKET = 500_000
_ROWS_A_PIECE = 8192

_KEPT = pa.schema([("id", pa.string())])


class CurateStage(Stage):
    """See the module."""

    name = "curate"
    version = 1
    sections = ("curate",)

    @property
    def output(self) -> str:
        """The ids that each shard keeps."""
        return files.join(self.folder, "kept")

    def passes(self) -> Iterator[Pass]:
        """One pass with two shuffles: by image digest, and back by shard."""
        fetch = self.previous
        assert isinstance(fetch, FetchStage)
        numbers = fetch.numbers()
        images = (fetch.done() or fetch.finish()).given
        buckets = max(1, -(-images // _IMAGES_A_BUCKET))
        work = CurateWork(self.folder, self.output, fetch.plans, fetch.output, self.recipe.curate)

        shuffles = (SplitDigests(work, buckets), FindIdentical(self.recipe.curate))
        graph = shuffle_tasks(shuffles, numbers, work, numbers)
        yield Pass("curate", self.output, len(numbers), graph)


class CurateWork(Work):
    """Decides what one shard keeps."""

    stage = "curate"

    def __init__(self, folder: str, output: str, plans: str, fetched: str, settings: Curate):
        self.folder, self.output = folder, output
        self.plans, self.fetched, self.settings = plans, fetched, settings

    def judged(self, number: int) -> pa.Table:
        """The shard's samples whose image was had, with a `reason` (null: passed) and `value`."""
        plan = files.read_table(
            numbered(self.plans, number),
            ["id", "image_url", "caption", "page_url", "source"],
        )
        images = files.read_table(
            numbered(self.fetched, number),
            ["image_url", "reason", "sha256", "original_bytes", "original_width",
             "original_height"],
        )  # fmt: skip
        images = images.filter(pc.is_null(images["reason"])).drop_columns(["reason"])
        rows = plan.join(images, "image_url", join_type="inner").sort_by("id")
        return judge(rows, self.settings)

    def run(self, number: int, parts: list[bytes]) -> Counts:
        """Write the ids that stay and the rejects."""
        rows = self.judged(number)
        with self.results(number, _KEPT) as results:
            results.counts.taken = len(rows)
            results.reject(rows.filter(pc.is_valid(rows["reason"])))
            rows = rows.filter(pc.is_null(rows["reason"]))
            if parts:
                same = pa.concat_tables([from_ipc(part) for part in parts])
                rows = rows.drop_columns(["reason", "value"]).join(
                    same, "id", join_type="left outer"
                )
                rows = rows.sort_by("id").rename_columns({"kept": "value"})
                lost = rows.filter(pc.is_valid(rows["value"]))
                results.reject(
                    lost.append_column("reason", pa.repeat("duplicate_image", len(lost)))
                )
                rows = rows.filter(pc.is_null(rows["value"]))
            results.keep(rows)
        return results.counts


def judge(rows: pa.Table, settings: Curate) -> pa.Table:
    """Add `reason` and `value` by the thresholds; both are null where a row passes them all.

    Args:
        rows: With `original_bytes`, `original_width` and `original_height`.
        settings: The recipe's `curate` section.
    """
    short = pc.min_element_wise(rows["original_width"], rows["original_height"])
    long = pc.max_element_wise(rows["original_width"], rows["original_height"])
    ratio = pc.divide(pc.cast(long, pa.float64()), pc.cast(short, pa.float64()))
    reason = value = pa.chunked_array([pa.nulls(len(rows), pa.string())])
    for name, failed, measured in (
        ("too_few_bytes", pc.less(rows["original_bytes"], settings.min_bytes),
         rows["original_bytes"]),
        ("too_small", pc.less(short, settings.min_side), short),
        ("aspect_ratio", pc.greater(ratio, settings.max_aspect_ratio), pc.round(ratio, 3)),
    ):  # fmt: skip
        fresh = pc.and_(failed, pc.is_null(reason))
        value = pc.if_else(fresh, pc.cast(measured, pa.string()), value)
        reason = pc.if_else(fresh, pa.scalar(name), reason)
    return rows.append_column("reason", reason).append_column("value", value)


class SplitDigests:
    """The digests of a shard's images that passed, by range of the digest."""

    stage = "digests"

    def __init__(self, work: CurateWork, buckets: int):
        self.work, self.buckets = work, buckets

    def setup(self) -> None:
        """Nothing is loaded."""

    def split(self, number: int) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, Arrow stream of id, sha256, shard)."""
        rows = self.work.judged(number)
        rows = rows.filter(pc.is_null(rows["reason"])).select(["id", "sha256"])
        if not len(rows) or self.work.settings.identical_images == "keep_all":
            return
        rows = rows.append_column("shard", pa.repeat(pa.scalar(number, pa.int64()), len(rows)))
        heads = np.array([int(d[:16], 16) for d in rows["sha256"].to_pylist()], np.uint64)
        buckets = bucket_of(heads, self.buckets)
        for bucket in np.unique(buckets):
            mine = rows.filter(pa.array(buckets == bucket))
            for start in range(0, len(mine), _ROWS_A_PIECE):
                yield int(bucket), to_ipc(mine.slice(start, _ROWS_A_PIECE))


class FindIdentical:
    """Which samples of a bucket of digests to drop, sent back to their shards."""

    stage = "identical"

    def __init__(self, settings: Curate):
        self.settings = settings

    def setup(self) -> None:
        """Nothing is loaded."""

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard, Arrow stream of id, kept)."""
        rows = pa.concat_tables([from_ipc(part) for part in parts])
        dropped = identical_images(rows, self.settings.identical_images == "keep_distinct_captions")
        shards = dict(zip(rows["id"].to_pylist(), rows["shard"].to_pylist(), strict=True))
        where = np.array([shards[this] for this in dropped["id"].to_pylist()], np.int64)
        for shard in np.unique(where):
            mine = dropped.filter(pa.array(where == shard))
            for start in range(0, len(mine), _ROWS_A_PIECE):
                yield int(shard), to_ipc(mine.slice(start, _ROWS_A_PIECE))
