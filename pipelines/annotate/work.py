"""The tasks of workers that make one shard of a column, or a piece of one.

A shard of 10,000 images is hours of some models. So it is made piece by piece: what took long is
kept until the shard is whole, and where there are fewer shards than workers could make at once,
pieces are tasks of their own.
"""

import functools
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.stage import digest_of
from septet.preprocess import files
from septet.preprocess.columns.base import Column, FormError, Item, NoValue, Value
from septet.preprocess.columns.reader import ColumnShardReader
from septet.preprocess.columns.registry import make_column
from septet.preprocess.shards.reader import Corpus, ShardReader
from septet.preprocess.shards.tar import ShardWriter
from septet.schemas import tables
from septet.schemas.layout import COLUMN_FOOTER, TAR_FOOTER, column_folder, column_sidecar

REMOVED = "removed"
"""Reason of a sample that was removed from the corpus: nothing is made of it."""
NOT_IN_VIEW = "not_in_view"
"""Reason of a sample that the view does not have for which the column was made."""
ERROR = "error"
"""Reason of a sample for which the column raised an exception."""
_LONGEST = 1000
"""Characters of what is told of a failure."""
GIVE_UP_AFTER = 64
"""The number of samples of a shard that may fail in a row from its start before the run ends."""
PIECES = "pieces"
"""The folder, in a column's, of the pieces of shards that are not whole yet."""
_A_PIECE = 128
"""The samples of a piece, or a few more: whole batches."""
_WORTH_KEEPING = 5.0
"""Seconds that a piece took which is kept for a run that goes on after this one was killed."""


@functools.lru_cache(maxsize=4)
def _column(kind: str, settings: str) -> Column:
    """The column, once a process; its models need not be loaded."""
    return make_column(kind, json.loads(settings))


@functools.lru_cache(maxsize=4)
def _loaded(kind: str, settings: str) -> Column:
    """The column with its models loaded: once a process, however many shards it makes."""
    column = _column(kind, settings)
    column.setup()
    return column


@functools.lru_cache(maxsize=2)
def open_corpus(path: str, digest: str) -> Corpus:
    """The corpus, opened once a process for each digest of its manifest."""
    return Corpus(path, open_shards=2)


class AnnotateWork:
    """The task that makes one shard of a column, piece by piece. Plain data, shipped to workers."""

    stage = "annotate"

    def __init__(
        self,
        corpus: str,
        manifest_sha256: str,
        name: str,
        kind: str,
        settings: Mapping[str, Any],
        fingerprint: str,
    ):
        self.corpus, self.manifest_sha256 = corpus, manifest_sha256
        self.name, self.kind, self.fingerprint = name, kind, fingerprint
        self.settings = json.dumps(dict(settings), sort_keys=True)

    def setup(self) -> None:
        """Load the models."""
        _loaded(self.kind, self.settings)

    def path(self, number: int) -> str:
        """The shard's sidecar, written last."""
        corpus = open_corpus(self.corpus, self.manifest_sha256)
        return files.join(corpus.path, column_sidecar(self.name, corpus.shards[number].tar))

    def run(self, number: int) -> Counts:
        """Annotate the samples of a shard: the tar, then the sidecar that makes it count."""
        column = _column(self.kind, self.settings)
        corpus = open_corpus(self.corpus, self.manifest_sha256)
        shard = corpus.shards[number]
        ext = column.member.ext
        rows: list[dict[str, Any]] = []
        counts = Counts()
        with files.open_atomic(self.path(number).removesuffix("parquet") + "tar") as out:
            writer = ShardWriter(out)
            for key, found in self._values(corpus, number):
                data = found.data if isinstance(found, Value) else b""
                row: dict[str, Any] = {"key": key, "members": writer.add(key, {ext: data})}
                if isinstance(found, Value):
                    row |= found.facts
                    counts.rows_out += 1
                else:
                    row |= {"reason": found.reason, "found": found.found[:_LONGEST] or None}
                    counts.rejected[found.reason] += 1
                rows.append(row)
            size, digest = writer.close()
        counts.rows_in = len(rows)
        footer = {
            TAR_FOOTER: json.dumps({"bytes": size, "sha256": digest}),
            COLUMN_FOOTER: json.dumps(
                {"fingerprint": self.fingerprint, "base_sha256": shard.tar_sha256}
            ),
        }
        table = pa.Table.from_pylist(rows, column_schema(column))
        files.write_table(self.path(number), table, metadata=footer | counts.to_metadata())
        return counts

    def _values(self, corpus: Corpus, number: int) -> Iterator[tuple[str, Value | NoValue]]:
        """The key of each row of a shard, and its value.

        Raises:
            RuntimeError: every sample so far failed: then the column is at fault.
        """
        pieces = range(self.pieces(number))
        values = itertools.chain.from_iterable(self._piece(number, n) for n in pieces)
        chosen = corpus.rows(number)
        given, gone = (frozenset(x.tolist()) for x in (chosen, corpus.removed.of(number)))
        for row, key in enumerate(corpus.shard(number).keys.to_pylist()):
            why = REMOVED if row in gone else NOT_IN_VIEW
            yield key, next(values) if row in given else NoValue(why)

    def pieces(self, number: int) -> int:
        """The number of pieces of a shard."""
        rows = open_corpus(self.corpus, self.manifest_sha256).rows(number)
        return -(-len(rows) // self._piece_size)

    @property
    def _piece_size(self) -> int:
        batch = int(json.loads(self.settings)["batch_size"])
        return -(-_A_PIECE // batch) * batch

    def _piece(self, number: int, piece: int) -> Iterator[Value | NoValue]:
        """The values of a piece: those that are kept, or else new ones, which are kept if they took
        long and the shard has more pieces."""
        path = self.piece_path(number, piece)
        kept = _read_piece(path) if files.exists(path) else []
        if len(kept) == len(self._rows(number, piece)):
            yield from kept
            return
        start, kept = time.monotonic(), []
        may_keep = self.pieces(number) > 1
        for found in self._made(number, piece):
            if may_keep:
                kept.append(found)
            yield found
        if may_keep and time.monotonic() - start > _WORTH_KEEPING:
            _write_piece(path, kept, _column(self.kind, self.settings))

    def _made(self, number: int, piece: int) -> Iterator[Value | NoValue]:
        column = _loaded(self.kind, self.settings)
        corpus = open_corpus(self.corpus, self.manifest_sha256)
        rows = self._rows(number, piece)
        items = read_items(corpus, number, column, rows)
        yield from _annotated(column, items, len(rows), may_give_up=piece == 0)

    def _rows(self, number: int, piece: int) -> np.ndarray:
        rows = open_corpus(self.corpus, self.manifest_sha256).rows(number)
        return rows[piece * self._piece_size : (piece + 1) * self._piece_size]

    def piece_path(self, number: int, piece: int) -> str:
        """The file of a piece, named by all that decides it."""
        corpus = open_corpus(self.corpus, self.manifest_sha256)
        rows = self._rows(number, piece).tolist()
        digest = digest_of(self.fingerprint, corpus.shards[number].tar_sha256, rows)
        name = f"{number:07d}-{piece:04d}-{digest}.parquet"
        return files.join(corpus.path, column_folder(self.name), PIECES, name)


class PieceWork(AnnotateWork):
    """The task that makes a piece of a shard, `SHARD.PIECE`, and keeps it."""

    def path(self, key: str) -> str:  # type: ignore[override]
        """The piece's file."""
        return self.piece_path(*map(int, key.split(".")))

    def run(self, key: str) -> Counts:  # type: ignore[override]
        """Annotate the samples of a piece."""
        number, piece = map(int, key.split("."))
        found = list(self._made(number, piece))
        return _write_piece(self.path(key), found, _column(self.kind, self.settings))


class JoinWork(AnnotateWork):
    """The task that makes a shard of pieces that are there; models are loaded only for others."""

    def setup(self) -> None:
        """Load nothing."""


def _write_piece(path: str, values: Sequence[Value | NoValue], column: Column) -> Counts:
    """Write the values of a piece; returns its counts."""
    counts = Counts(rows_in=len(values))
    rows = []
    for found in values:
        if isinstance(found, Value):
            rows.append({"data": found.data, **found.facts})
            counts.rows_out += 1
        else:
            rows.append({"reason": found.reason, "found": found.found[:_LONGEST]})
            counts.rejected[found.reason] += 1
    schema = pa.schema(
        [("data", pa.large_binary()), ("reason", pa.string()), ("found", pa.string()),
         *column.facts]
    )  # fmt: skip
    table = pa.Table.from_pylist(rows, schema)
    files.write_table(path, table, metadata=counts.to_metadata())
    return counts


def _read_piece(path: str) -> list[Value | NoValue]:
    """The values of a piece that was kept; none where its file is damaged."""
    values: list[Value | NoValue] = []
    with suppress(pa.ArrowInvalid, KeyError, OSError):
        for row in files.read_table(path).to_pylist():
            data, reason, found = (row.pop(name) for name in ("data", "reason", "found"))
            values.append(Value(data, row) if reason is None else NoValue(reason, found))
    return values


def _annotated(
    column: Column, items: Iterator[Item], samples: int, may_give_up: bool
) -> Iterator[Value | NoValue]:
    """The values of samples, found batch by batch.

    Raises:
        RuntimeError: `may_give_up`, and every sample so far failed.
    """
    seen = failed = 0
    while batch := list(itertools.islice(items, column.settings.batch_size)):
        found = annotate_batch(column, batch)
        errors = [one for one in found if isinstance(one, NoValue) and one.reason == ERROR]
        seen, failed = seen + len(batch), failed + len(errors)
        if may_give_up and failed == seen and failed >= min(GIVE_UP_AFTER, samples):
            raise RuntimeError(f"no sample can be annotated; the last one: {errors[-1].found}")
        yield from found


def column_schema(column: Column) -> pa.Schema:
    """The schema of a column's sidecar: the index, the reason why a row has no value, and the
    kind's own facts."""
    return pa.schema([*tables.COLUMN_INDEX, *column.facts])


def read_items(
    corpus: Corpus, number: int, column: Column, rows: np.ndarray | None = None
) -> Iterator[Item]:
    """Read the samples of a shard in the form that the column wants, in order: those of some rows,
    or all that were not removed."""
    metadata = corpus.metadata(number).drop_columns(["members"])
    wanted = frozenset(ext for member in column.members for ext in member.split("|"))
    base: ShardReader = corpus.shard(number)
    others = {name: ColumnShardReader(corpus, name, number) for name in column.columns()}
    rows = corpus.rows(number) if rows is None else rows
    for begin in range(0, len(rows), 1024):
        part = rows[begin : begin + 1024]
        for row, facts in zip(part.tolist(), metadata.take(part).to_pylist(), strict=True):
            values = {name: reader.value(row) for name, reader in others.items()}
            members = base.read(row, wanted) if wanted else {}
            yield Item(str(facts["key"]), members, facts, values)
    for reader in (base, *others.values()):
        reader.close()


def annotate_batch(column: Column, batch: Sequence[Item]) -> list[Value | NoValue]:
    """Annotate one batch. When it fails, its samples are tried one by one; a sample that fails
    alone has no value, for the reason `error`."""
    try:
        found = column.annotate(batch)
    except FormError:
        raise
    except (Exception, SystemExit) as error:
        if len(batch) == 1:
            return [NoValue(ERROR, f"{type(error).__name__}: {error}"[:_LONGEST])]
        return [value for item in batch for value in annotate_batch(column, [item])]
    if len(found) != len(batch):
        raise ValueError(f"column {column.kind} gave {len(found)} values for {len(batch)} samples")
    return found
