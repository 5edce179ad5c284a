"""The task of a worker that makes one shard of a column."""

import functools
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from septet.pipelines.stages.counts import Counts
from septet.preprocess import files
from septet.preprocess.columns.base import Column, FormError, Item, NoValue, Value
from septet.preprocess.columns.reader import ColumnShardReader
from septet.preprocess.columns.registry import make_column
from septet.preprocess.shards.reader import Corpus, ShardReader
from septet.preprocess.shards.tar import ShardWriter
from septet.schemas import tables
from septet.schemas.layout import COLUMN_FOOTER, TAR_FOOTER, column_sidecar

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


@functools.lru_cache(maxsize=4)
def _loaded(kind: str, settings: str) -> Column:
    """The column with its models loaded: once a process, however many shards it makes."""
    column = make_column(kind, json.loads(settings))
    column.setup()
    return column


@functools.lru_cache(maxsize=2)
def open_corpus(path: str, digest: str) -> Corpus:
    """The corpus, opened once a process for each digest of its manifest."""
    return Corpus(path, open_shards=2)


class AnnotateWork:
    """The task that makes one shard of a column. Plain data, shipped to workers."""

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
        column = _loaded(self.kind, self.settings)
        corpus = open_corpus(self.corpus, self.manifest_sha256)
        shard = corpus.shards[number]
        ext = column.member.ext
        rows: list[dict[str, Any]] = []
        counts = Counts()
        with files.open_atomic(self.path(number).removesuffix("parquet") + "tar") as out:
            writer = ShardWriter(out)
            for key, found in self._values(corpus, number, column):
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

    @staticmethod
    def _values(
        corpus: Corpus, number: int, column: Column
    ) -> Iterator[tuple[str, Value | NoValue]]:
        """The key of each row of a shard, and its value.

        Raises:
            RuntimeError: every sample so far failed: then the column is at fault.
        """
        chosen = corpus.rows(number)
        values = _annotated(column, read_items(corpus, number, column), len(chosen))
        given, gone = (frozenset(x.tolist()) for x in (chosen, corpus.removed.of(number)))
        for row, key in enumerate(corpus.shard(number).keys.to_pylist()):
            why = REMOVED if row in gone else NOT_IN_VIEW
            yield key, next(values) if row in given else NoValue(why)


def _annotated(column: Column, items: Iterator[Item], samples: int) -> Iterator[Value | NoValue]:
    """The values of a shard's samples, found batch by batch."""
    seen = failed = 0
    while batch := list(itertools.islice(items, column.settings.batch_size)):
        found = annotate_batch(column, batch)
        errors = [one for one in found if isinstance(one, NoValue) and one.reason == ERROR]
        seen, failed = seen + len(batch), failed + len(errors)
        if failed == seen and failed >= min(GIVE_UP_AFTER, samples):
            raise RuntimeError(f"no sample can be annotated; the last one: {errors[-1].found}")
        yield from found


def column_schema(column: Column) -> pa.Schema:
    """The schema of a column's sidecar: the index, the reason why a row has no value, and the
    kind's own facts."""
    return pa.schema([*tables.COLUMN_INDEX, *column.facts])


def read_items(corpus: Corpus, number: int, column: Column) -> Iterator[Item]:
    """Read the samples of a shard in the form that the column wants, in order; those that were
    removed are passed over."""
    metadata = corpus.metadata(number).drop_columns(["members"])
    wanted = frozenset(ext for member in column.members for ext in member.split("|"))
    base: ShardReader = corpus.shard(number)
    others = {name: ColumnShardReader(corpus, name, number) for name in column.columns()}
    rows = corpus.rows(number)
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
