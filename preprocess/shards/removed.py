"""The samples that were removed from a corpus, which no reader gives.

Shards keep a row of each, so that no row's number changes: with its members while they are there,
without any once the shard was compacted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from septet.preprocess import files
from septet.preprocess.shards.lists import list_numbers, open_list, write_list
from septet.preprocess.shards.numbers import to_int64
from septet.preprocess.shards.sidecar import open_sidecar, read_sidecar
from septet.schemas.layout import MANIFEST, REMOVED, removed_list
from septet.schemas.manifest import REMOVED_LIST, ListFile, Manifest, RemovedSample, Shard
from septet.schemas.versioned import ManifestError

NO_ROWS = np.empty(0, np.int64)
KEPT = ("key", "language", "reason")
"""Columns of a sidecar, the base's or a column's, that a removed sample's row keeps: what orders of
samples depend on."""
_LIST = re.compile(r"(\d{4,})\.parquet")


class RemovedError(ValueError):
    """Raised when a sample is asked for that was removed."""


@dataclass(frozen=True)
class Removed:
    """The rows of removed samples in a corpus's shards."""

    rows: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    """Rising row numbers, by the shard's place in the list."""
    origins: Mapping[int, str] = field(default_factory=dict)
    """Digests of those shards' tars before a sample was taken out of them."""
    list_sha256: str = ""
    """Digest of the list; empty where nothing was ever removed."""

    def of(self, shard: int) -> NDArray[np.int64]:
        """The rows of a shard."""
        return self.rows.get(shard, NO_ROWS)

    @classmethod
    def read(cls, corpus: str, head: Manifest, counts: NDArray[np.int64]) -> Self:
        """Read those of a corpus.

        Args:
            corpus: Its folder.
            head: Its head.
            counts: Rows of each shard.

        Raises:
            ManifestError: the list cannot be read, or names rows that no shard has.
        """
        if head.removed is None:
            return cls()
        where = files.join(corpus, MANIFEST)
        listed = open_list(corpus, head.removed, RemovedSample, REMOVED_LIST, where)
        shards, rows = (to_int64(listed.column(name)) for name in ("shard", "row"))
        there = shards >= 0
        shards, rows = shards[there], rows[there]
        if (shards >= len(counts)).any() or (rows < 0).any() or (rows >= counts[shards]).any():
            raise ManifestError(f"{head.removed.path} names rows that the shards do not have")
        tars = listed.column("tar_sha256").filter(pa.array(there))
        order = np.lexsort([rows, shards])
        shards, rows = shards[order], rows[order]
        numbers, firsts = np.unique(shards, return_index=True)
        parts = np.split(rows, firsts[1:]) if len(firsts) else []
        return cls(
            {int(n): np.unique(part) for n, part in zip(numbers, parts, strict=True)},
            {int(n): tars[int(order[i])].as_py() for n, i in zip(numbers, firsts, strict=True)},
            head.removed.sha256,
        )


def without_removed(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """A sidecar's table whose given rows say nothing but what `KEPT` names: their members are
    none, all else is null."""
    if not len(rows):
        return table
    gone = np.zeros(len(table), bool)
    gone[rows] = True
    places = pa.array(np.arange(len(table)), mask=gone)
    columns, fields = [], []
    for column, one in zip(table.columns, table.schema, strict=True):
        if one.name == "members":
            values = column.to_pylist()
            for row in rows.tolist():
                values[row] = []
            column = pa.array(values, one.type)
        elif one.name not in KEPT:
            column, one = column.take(places), one.with_nullable(True)
        columns.append(column)
        fields.append(one)
    return pa.table(columns, schema=pa.schema(fields, table.schema.metadata))


def newest_list(corpus: str) -> tuple[int, str] | None:
    """Number and path of a corpus folder's newest list; None where nothing was removed. It may be
    newer than the one that the head names, where a removal was killed in between."""
    numbers = list_numbers(files.join(corpus, REMOVED), _LIST)
    return (numbers[-1], removed_list(numbers[-1])) if numbers else None


def read_newest(corpus: str) -> pa.Table:
    """Read the newest list, rows of `REMOVED_LIST`; empty where nothing was removed.

    Raises:
        ManifestError: it cannot be read.
    """
    newest = newest_list(corpus)
    if newest is None:
        return REMOVED_LIST.empty_table()
    try:
        table = files.read_table(files.join(corpus, newest[1]), REMOVED_LIST.names)
        return table.cast(REMOVED_LIST)
    except (OSError, ValueError, KeyError) as error:
        raise ManifestError(
            f"{corpus}/{newest[1]} cannot be read ({error}): it says what must not come back, so "
            "mend it, or remove the samples again and then delete it"
        ) from error


def write_next(corpus: str, table: pa.Table) -> ListFile:
    """Write a list as the next one, or find it to be the newest; returns what the head says of it.

    Args:
        corpus: The corpus folder.
        table: Rows of `REMOVED_LIST`.
    """
    newest = newest_list(corpus)
    if newest is not None and read_newest(corpus).equals(table):
        path = newest[1]
        return ListFile(path=path, rows=len(table), sha256=files.sha256(files.join(corpus, path)))
    number = newest[0] + 1 if newest else 1
    rows = (RemovedSample(**row) for row in table.to_pylist())
    return write_list(corpus, removed_list(number), REMOVED_LIST, rows)


def listed_nowhere(corpus: str) -> ListFile | None:
    """The list of a corpus that was built without its removed samples: they lie in no shard. None
    where nothing was removed."""
    table = read_newest(corpus)
    if not len(table):
        return None
    nowhere = pa.array(np.full(len(table), -1))
    new = pa.table(
        [table["key"], table["sha256"], nowhere, nowhere, pa.repeat("", len(table))],
        schema=REMOVED_LIST,
    )
    return write_next(corpus, new.sort_by("key").combine_chunks())


def list_again(corpus: str, shards: Sequence[Shard]) -> ListFile | None:
    """The list of a folder whose shards were indexed anew: removed samples are found by their keys,
    and other samples by the digests of their images, where sidecars tell them. None where nothing
    was removed."""
    table = read_newest(corpus)
    if not len(table):
        return None
    keys, digests = table["key"].combine_chunks(), table["sha256"].unique()
    digests = digests.filter(pc.not_equal(digests, ""))
    parts, found = [], set()
    for number, shard in enumerate(shards):
        where = files.join(corpus, shard.sidecar)
        with open_sidecar(where, ["key"]) as parquet:
            told = [name for name in ("key", "sha256") if name in parquet.schema_arrow.names]
        rows = read_sidecar(where, told, shard.samples)
        sha256 = pa.nulls(len(rows), pa.string())
        if "sha256" in told and pa.types.is_string(rows["sha256"].type):
            sha256 = rows["sha256"].combine_chunks()
        hit = pc.or_(
            pc.is_in(rows["key"].combine_chunks(), value_set=keys),
            pc.is_in(sha256, value_set=digests),
        )
        places = np.flatnonzero(hit.to_numpy(zero_copy_only=False))
        mine = rows["key"].take(places).cast(pa.string())
        found.update(mine.to_pylist())
        at, tar = pa.array(np.full(len(places), number)), pa.repeat(shard.tar_sha256, len(places))
        told_digests = sha256.take(places).fill_null("")
        parts.append(pa.table([mine, told_digests, at, pa.array(places), tar], schema=REMOVED_LIST))
    gone = table.filter(pc.invert(pc.is_in(keys, value_set=pa.array(sorted(found), pa.string()))))
    nowhere = pa.array(np.full(len(gone), -1))
    parts.append(
        pa.table(
            [gone["key"], gone["sha256"], nowhere, nowhere, pa.repeat("", len(gone))],
            schema=REMOVED_LIST,
        )
    )
    return write_next(corpus, pa.concat_tables(parts).combine_chunks())


def forget_older(corpus: str, named: str) -> None:
    """Delete the lists before the one that the head names, but for the last of them: a reader that
    opened the head before may be about to read it."""
    numbers = list_numbers(files.join(corpus, REMOVED), _LIST)
    others = [path for path in map(removed_list, numbers) if path != named]
    for path in others[:-1]:
        files.remove(files.join(corpus, path))
