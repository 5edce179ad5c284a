"""curate: thresholds on images, and identical images across all shards; shuffles ids and hashes."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Regroup, Split, shuffle_tasks
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.dedup import identical_images
from septet.preprocess.text.ids import bucket_of
from septet.schemas.recipe import Curate

_IMAGES_A_BUCKET = 500_000
_ROWS_A_PIECE = 8192

_KEPT = pa.schema([("id", pa.string())])


class CurateStage(Stage):
    """Drops images that fail a threshold, and images that are there already."""

    name = "curate"
    version = 2
    sections = ("curate",)
    reads = ("plans", "fetched")
    gives = ("kept",)

    def keys(self) -> Sequence[Key]:
        """Numbers of the shards."""
        return self.givers["plans"].keys()

    def passes(self) -> Iterator[Pass]:
        """One pass with two shuffles: by image digest, and back by shard."""
        shards = self.keys()
        images = self.givers["fetched"].require_done().counts.rows_out
        buckets = max(1, -(-images // _IMAGES_A_BUCKET))
        task = CurateTask(
            self.parts("kept"),
            self.rejects,
            self.input("plans"),
            self.input("fetched"),
            self.recipe.curate,
        )

        steps = (SplitDigests(task, buckets), FindIdentical(task.settings))
        yield Pass(
            "curate",
            task.outputs(shards),
            lambda todo: shuffle_tasks(steps, shards, task, todo),
        )


class CurateTask(Task):
    """Decides what one shard keeps."""

    stage = "curate"

    def __init__(
        self, output: Parts, rejects: Parts, plans: Parts, fetched: Parts, settings: Curate
    ):
        self.output, self.rejects = output, rejects
        self.plans, self.fetched, self.settings = plans, fetched, settings

    def judged(self, shard: int) -> pa.Table:
        """The shard's samples whose image was fetched, with `reason` (null: passed) and `value`."""
        plan = files.read_table(
            self.plans.path(shard),
            ["id", "image_url", "caption", "page_url", "source"],
        )
        images = files.read_table(
            self.fetched.path(shard),
            ["image_url", "reason", "sha256", "original_bytes", "original_width",
             "original_height"],
        )  # fmt: skip
        images = images.filter(pc.is_null(images["reason"])).drop_columns(["reason"])
        rows = plan.join(images, "image_url", join_type="inner").sort_by("id")
        return judge(rows, self.settings)

    def run(self, shard: int, parts: list[bytes]) -> Counts:
        """Write the ids that stay and the rejects."""
        rows = self.judged(shard)
        with self.results(shard, _KEPT) as results:
            results.counts.rows_in = len(rows)
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


class SplitDigests(Split):
    """The digests of a shard's images that passed, by range of the digest."""

    stage = "digests"

    def __init__(self, task: CurateTask, buckets: int):
        self.task, self.buckets = task, buckets

    def split(self, shard: int) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, Arrow stream of id, sha256, shard)."""
        rows = self.task.judged(shard)
        rows = rows.filter(pc.is_null(rows["reason"])).select(["id", "sha256"])
        if not len(rows) or self.task.settings.identical_images == "keep_all":
            return
        rows = rows.append_column("shard", pa.repeat(pa.scalar(shard, pa.int64()), len(rows)))
        heads = np.array([int(d[:16], 16) for d in rows["sha256"].to_pylist()], np.uint64)
        buckets = bucket_of(heads, self.buckets)
        for bucket in np.unique(buckets):
            mine = rows.filter(pa.array(buckets == bucket))
            for start in range(0, len(mine), _ROWS_A_PIECE):
                yield int(bucket), to_ipc(mine.slice(start, _ROWS_A_PIECE))


class FindIdentical(Regroup):
    """Which samples of a bucket of digests to drop, sent back to their shards."""

    stage = "identical"

    def __init__(self, settings: Curate):
        self.settings = settings

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
