"""Places of each shard plan's images in the fetch store: found by a shuffle of their keys.

Each row of the store sends 32 bytes to the bucket of its hash, whether a plan wants it or not.
There the row that counts is chosen for each image that is wanted; the chosen rows are then read
from their tables, and go to the shards that want them. Images' bytes stay where they are.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Regroup, Split
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.missing import binary_keys, store_keys, wanted_images
from septet.pipelines.stages.stage import Parts
from septet.pipelines.stages.tasks import Task
from septet.pipelines.store.store import Known, generation_of
from septet.preprocess import files
from septet.preprocess.text.ids import bucket_of, by_bucket
from septet.schemas import tables

_WANTED, _STORED, _NAME = b"W", b"S", b"N"
_WANTED_ROW = np.dtype([("k0", "<u8"), ("k1", "<u8"), ("shard", "<i8")])
_STORED_ROW = np.dtype(
    [("k0", "<u8"), ("k1", "<u8"), ("order", "<i8"), ("table", "<u4"), ("row", "<u4")]
)
"""A row of the store; of the rows of one key the one of the least `order` counts, then of the first
table. `row` is its number in `Known.rows`."""
_CHOSEN_ROW = np.dtype([("shard", "<i8"), ("table", "<u4"), ("row", "<u4")])
_FAILED = 2**40
HASHES = ("md5", "sha1", "sha256")
_TABLES_A_GROUP = 64
"""The number of tables of the store that one task reads, so that a shard gets few pieces."""


class SplitStored(Split):
    """The step that sends keys of a plan's images, or of the rows of a table of the store, to the
    buckets of their hashes.

    Args: as of `missing.SplitWanted`.
    """

    stage = "stored"

    def __init__(self, plans: Parts, known: Known, roots: dict[str, str], buckets: int):
        self.plans, self.known, self.roots, self.buckets = plans, known, roots, buckets

    def split(self, task: int | tuple[int, str]) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, kind and records); the task is a shard, or number and path of a table."""
        if isinstance(task, int):
            keys = store_keys(wanted_images(self.plans, task, self.roots))
            wanted = np.zeros(len(keys), _WANTED_ROW)
            wanted["k0"], wanted["k1"], wanted["shard"] = keys[:, 0], keys[:, 1], task
            yield from self._by_bucket(_WANTED, wanted)
            return
        number, path = task
        yield number % self.buckets, _NAME + f"{number} {path}".encode()
        columns = ["image_url", "digest", "reason", "value", "original_bytes"]
        rows = self.known.rows(path, columns)
        keys, generation = store_keys(rows), generation_of(path)
        stored = np.zeros(len(keys), _STORED_ROW)
        stored["k0"], stored["k1"] = keys[:, 0], keys[:, 1]
        failed = rows["reason"].is_valid().to_numpy()
        stored["order"] = np.where(failed, _FAILED - generation, generation)
        stored["table"], stored["row"] = number, np.arange(len(keys))
        yield from self._by_bucket(_STORED, stored)

    def _by_bucket(self, kind: bytes, records: np.ndarray) -> Iterator[tuple[int, bytes]]:
        for bucket, rows in by_bucket(bucket_of(records["k0"], self.buckets)):
            yield bucket, kind + records[rows].tobytes()


class Choose(Regroup):
    """The step that chooses the row of the store that counts of each image that is wanted, and
    sends it to its group of tables."""

    stage = "chosen"

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (group of tables, kind and records or a table's name)."""
        for part in parts:
            if part[:1] == _NAME:
                yield int(part[1:].split(b" ")[0]) // _TABLES_A_GROUP, part
        stored = _records(parts, _STORED, _STORED_ROW)
        stored = stored[
            np.lexsort([stored[name] for name in ("row", "table", "order", "k1", "k0")])
        ]
        first = np.ones(len(stored), bool)
        first[1:] = (stored["k0"][1:] != stored["k0"][:-1]) | (
            stored["k1"][1:] != stored["k1"][:-1]
        )
        stored = stored[first]
        wanted = _records(parts, _WANTED, _WANTED_ROW)
        at = pc.index_in(_keys(wanted), _keys(stored))
        if at.null_count:
            raise RuntimeError(
                "the fetch store lacks images that were there or were fetched a moment ago: its "
                "files were removed during the build; build again"
            )
        chosen = np.zeros(len(wanted), _CHOSEN_ROW)
        chosen["shard"] = wanted["shard"]
        for name in ("table", "row"):
            chosen[name] = stored[name][at.to_numpy()]
        for group, rows in by_bucket(chosen["table"].astype(np.int64) // _TABLES_A_GROUP):
            yield group, _STORED + chosen[rows].tobytes()


class ReadChosen(Regroup):
    """The step that reads the chosen rows of some tables of the store, and sends them to the shards
    that want them.

    Args:
        known: The store.
    """

    stage = "located"

    def __init__(self, known: Known):
        self.known = known

    def regroup(self, group: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard, rows of `tables.FETCHED`)."""
        names = dict(part[1:].decode().split(" ", 1) for part in parts if part[:1] == _NAME)
        chosen = _records(parts, _STORED, _CHOSEN_ROW)
        found, shards = [tables.FETCHED.empty_table()], []
        for table, mine in by_bucket(chosen["table"].astype(np.int64)):
            rows = self.known.rows(names[str(table)], tables.FETCHED.names)
            found.append(rows.take(chosen["row"][mine]).cast(tables.FETCHED))
            shards.append(chosen["shard"][mine])
        located = pa.concat_tables(found).combine_chunks()  # `take` is slow over many chunks
        for shard, mine in by_bucket(np.concatenate([np.empty(0, np.int64), *shards])):
            yield shard, to_ipc(located.take(mine), tables.FETCHED)


def _records(parts: list[bytes], kind: bytes, dtype: np.dtype) -> np.ndarray:
    """The records of all parts of one kind."""
    return np.frombuffer(b"".join(part[1:] for part in parts if part[:1] == kind), dtype)


def _keys(records: np.ndarray) -> pa.Array:
    return binary_keys(np.stack([records["k0"], records["k1"]], axis=1))


def with_images(rows: pa.Table, images: pa.Table, columns: list[str]) -> pa.Table:
    """The rows of a plan with columns of their images.

    An image that has not the digest that a row's list names is no image of that row: its `reason`
    and `value` there say so.

    Args:
        rows: With `image_url` and `image_hash`.
        images: Rows of `tables.FETCHED` for all images of the rows.
        columns: Columns of the images to append, null where a row has none; `reason`, `value` and
            `HASHES` among them.
    """
    at = pc.index_in(rows["image_url"], value_set=images["image_url"].combine_chunks())
    at = pc.if_else(pc.is_null(rows["image_url"]), pa.scalar(None, at.type), at)
    found = images.select(columns).take(at)
    wanted = rows["image_hash"]
    if wanted.null_count < len(rows):
        reasons, values = found["reason"].to_pylist(), found["value"].to_pylist()
        hashes = {name: found[name].to_pylist() for name in HASHES}
        for number, text in enumerate(wanted.to_pylist()):
            if text is None or reasons[number] is not None or at[number].as_py() is None:
                continue
            kind, _, expected = text.partition(":")
            digest = hashes[kind][number]
            if digest != expected:
                reasons[number] = "hash_mismatch"
                values[number] = f"found {kind} {digest}, expected {expected}"
        for name, new in (("reason", reasons), ("value", values)):
            found = found.set_column(columns.index(name), name, pa.array(new, pa.string()))
    for name in columns:
        rows = rows.append_column(name, found[name])
    return rows


class LocateTask(Task):
    """The task that writes the table of one shard's images, and the rejects of those that
    failed."""

    stage = "fetch"

    def __init__(self, output: Parts, rejects: Parts, plans: Parts):
        self.output, self.rejects, self.plans = output, rejects, plans

    def run(self, shard: int, parts: list[bytes]) -> Counts:
        """Write the rows, sorted by URL."""
        plan = files.read_table(self.plans.path(shard))
        found = [from_ipc(part, tables.FETCHED) for part in parts]
        images = pa.concat_tables([tables.FETCHED.empty_table(), *found]).sort_by("image_url")
        rows = with_images(plan, images, ["reason", "value", *HASHES])
        lost = rows.filter(pc.is_valid(rows["reason"])).drop_columns([*HASHES])
        with self.results(shard, tables.FETCHED) as results:
            results.keep(images)
            results.reject(lost)
            results.counts.rows_in = len(plan)
            results.counts.rows_out = len(plan) - len(lost)
            there = images.filter(pc.is_null(images["reason"]))
            results.counts.other["images"] = len(there)
            results.counts.other["bytes"] = pc.sum(there["original_bytes"]).as_py() or 0
        return results.counts
