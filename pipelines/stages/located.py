"""Where the store has the images of each shard plan; shuffles rows of tables, never bytes."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Regroup, Split
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.missing import store_keys, wanted_images
from septet.pipelines.stages.stage import Parts
from septet.pipelines.stages.tasks import Task
from septet.pipelines.store.store import Known, generation_of
from septet.preprocess import files
from septet.preprocess.text.ids import bucket_of, by_bucket
from septet.schemas import tables

_WANTED, _STORED = b"W", b"S"
_SENT = pa.schema([*tables.FETCHED, ("key", pa.string()), ("order", pa.int64())])
"""A row of the store; of the rows of one key the one of the least `order` counts."""
_ASKED = np.dtype([("k0", ">u8"), ("k1", ">u8"), ("shard", "<i8")])
_FAILED = 2**40


class SplitStored(Split):
    """Images of a plan, or rows of a table of the store, by range of their hash.

    Args: as of `missing.SplitWanted`.
    """

    stage = "stored"

    def __init__(self, plans: Parts, known: Known, roots: dict[str, str], buckets: int):
        self.plans, self.known, self.roots, self.buckets = plans, known, roots, buckets

    def split(self, task: int | str) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, kind and records); the task is a shard or a path of a table."""
        if isinstance(task, int):
            keys = store_keys(wanted_images(self.plans, task, self.roots))
            asked = np.zeros(len(keys), _ASKED)
            asked["k0"], asked["k1"], asked["shard"] = keys[:, 0], keys[:, 1], task
            for bucket, rows in self._by_bucket(keys):
                yield bucket, _WANTED + asked[rows].tobytes()
            return
        rows = self.known.rows(task, tables.STORED.names)
        keys = store_keys(rows)
        generation = generation_of(task)
        failed = rows["reason"].is_valid().to_numpy()
        order = np.where(failed, _FAILED - generation, generation)
        rows = rows.drop_columns(["digest"])
        rows = rows.append_column("key", pa.array([key.tobytes().hex() for key in keys]))
        rows = rows.append_column("order", pa.array(order, pa.int64())).cast(_SENT)
        for bucket, mine in self._by_bucket(keys):
            yield bucket, _STORED + to_ipc(rows.take(mine), _SENT)

    def _by_bucket(self, keys: np.ndarray) -> list[tuple[int, np.ndarray]]:
        return by_bucket(bucket_of(keys[:, 0].astype(np.uint64), self.buckets))


class Choose(Regroup):
    """The row that counts of each image, sent to the shards that want it."""

    stage = "located"

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard, rows of `tables.FETCHED`)."""
        stored = pa.concat_tables(
            [_SENT.empty_table()]
            + [from_ipc(part[1:], _SENT) for part in parts if part[:1] == _STORED]
        )
        stored = stored.sort_by(
            [(name, "ascending") for name in ("key", "order", "file", "reason", "value")]
        ).combine_chunks()
        keys = np.array(stored["key"].to_pylist(), object)
        first = np.ones(len(keys), bool)
        first[1:] = keys[1:] != keys[:-1]
        stored = stored.filter(pa.array(first))
        asked = np.frombuffer(b"".join(p[1:] for p in parts if p[:1] == _WANTED), _ASKED)
        wanted = pa.array([f"{one['k0']:016x}{one['k1']:016x}" for one in asked], pa.string())
        at = pc.index_in(wanted, value_set=stored["key"].combine_chunks())
        if at.null_count:
            raise RuntimeError(
                "the fetch store lacks images that were there or were fetched a moment ago: its "
                "files were removed during the build; build again"
            )
        rows = stored.select(tables.FETCHED.names)
        for shard, mine in by_bucket(asked["shard"].astype(np.int64)):
            yield shard, to_ipc(rows.take(at.take(mine)), tables.FETCHED)


class LocateTask(Task):
    """Writes the table of one shard's images, and the rejects of those that failed."""

    stage = "fetch"

    def __init__(self, output: Parts, rejects: Parts, plans: Parts):
        self.output, self.rejects, self.plans = output, rejects, plans

    def run(self, shard: int, parts: list[bytes]) -> Counts:
        """Write the rows by URL."""
        plan = files.read_table(self.plans.path(shard))
        found = [from_ipc(part, tables.FETCHED) for part in parts]
        images = pa.concat_tables([tables.FETCHED.empty_table(), *found]).sort_by("image_url")
        failed = images.filter(pc.is_valid(images["reason"]))
        at = pc.index_in(plan["image_url"], value_set=failed["image_url"].combine_chunks())
        at = pc.if_else(pc.is_null(plan["image_url"]), pa.scalar(None, at.type), at)
        lost = plan.filter(pc.is_valid(at))
        why = failed.take(at.filter(pc.is_valid(at)))
        for name in ("reason", "value"):
            lost = lost.append_column(name, why[name])
        with self.results(shard, tables.FETCHED) as results:
            results.keep(images)
            results.reject(lost)
            results.counts.rows_in = len(plan)
            results.counts.rows_out = len(plan) - len(lost)
            there = images.filter(pc.is_null(images["reason"]))
            results.counts.other["images"] = len(there)
            results.counts.other["bytes"] = pc.sum(there["original_bytes"]).as_py() or 0
        return results.counts
