"""Which rows of a corpus take part in a run: all but those that lack a column."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from septet.preprocess import files
from septet.preprocess.columns.reader import column_names, is_stale, read_manifest
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.sidecar import read_sidecar
from septet.schemas.layout import column_sidecar


def read_tombstones(path: str | None) -> frozenset[str]:
    """The keys in a file of one a line; none for no path.

    Raises:
        ValueError: there is no such file.
    """
    if path is None:
        return frozenset()
    if not files.exists(path):
        raise ValueError(f"train.tombstones={path}: there is no such file")
    return frozenset(filter(None, map(str.strip, files.read_bytes(path).decode().splitlines())))


class Kept:
    """The rows of each shard that take part, a pure function of corpus, view and columns.

    Those of samples that were removed are among them: an order of rows holds while samples go.

    Args:
        corpus: The corpus.
        columns: Names of columns in which a sample must have a value.
        otherwise: Lists of columns of which one will do as well; a column that the corpus does not
            have is one without values.

    Raises:
        ManifestError: one of `columns` is missing, or a column is not whole.
        ValueError: a column was made from other shards than the corpus has.
    """

    def __init__(
        self,
        corpus: Corpus,
        columns: Sequence[str] = (),
        otherwise: Sequence[Sequence[str]] = (),
    ):
        self._rows: list[NDArray[np.int64] | None] = [None] * len(corpus.shards)
        self.counts = corpus.counts.tolist()
        self.dropped = 0
        if corpus.view is not None:
            for number, rows in enumerate(self.counts):
                chosen = corpus.chosen(number)
                if chosen is not None and len(chosen) < rows:
                    self._rows[number], self.counts[number] = chosen, len(chosen)
        have = set(column_names(corpus.path)) if otherwise else set(columns)
        choices = [tuple(c) for c in (columns, *otherwise) if have.issuperset(c)]
        manifests = {
            name: read_manifest(corpus.path, name) for choice in choices for name in choice
        }
        for manifest in manifests.values():
            if is_stale(corpus, manifest):
                raise ValueError(
                    f"column {manifest.name!r} was made from other shards than {corpus.path} has: "
                    "make it anew with `septet annotate`"
                )
        partial = {name for name, m in manifests.items() if m.values < m.samples}
        wanted = [partial.intersection(choice) for choice in choices]
        if not all(wanted):  # One choice holds for all samples.
            return
        for number, shard in enumerate(corpus.shards):
            has = {}
            for name in partial:
                sidecar = files.join(corpus.path, column_sidecar(name, shard.tar))
                reasons = read_sidecar(sidecar, ["reason"], shard.samples)["reason"]
                has[name] = reasons.is_null().to_numpy()
            kept = np.zeros(shard.samples, bool)
            for names in wanted:
                kept |= np.logical_and.reduce([has[name] for name in names])
            before = self.rows(number)
            rows = before[kept[before]]
            if len(rows) < len(before):
                self._rows[number] = rows
                self.counts[number] = len(rows)
                self.dropped += len(before) - len(rows)

    def rows(self, shard: int) -> NDArray[np.int64]:
        """The rows of a shard that take part, rising."""
        rows = self._rows[shard]
        return np.arange(self.counts[shard]) if rows is None else rows

    def removed(self, corpus: Corpus) -> int:
        """How many rows that take part are of samples that were removed."""
        gone = corpus.removed.rows.items()
        return sum(int(np.isin(rows, self.rows(shard)).sum()) for shard, rows in gone)

    def row(self, shard: int, place: int) -> int:
        """The row of a shard's `place`-th kept sample."""
        rows = self._rows[shard]
        return place if rows is None else int(rows[place])

    def digest(self, base: str) -> str:
        """The corpus's digest `base`, changed by what takes no part; the same where all does."""
        if all(rows is None for rows in self._rows):
            return base
        digest = hashlib.sha256(base.encode())
        for number, rows in enumerate(self._rows):
            if rows is not None:
                digest.update(number.to_bytes(8, "little") + rows.astype("<i8").tobytes())
        return digest.hexdigest()
