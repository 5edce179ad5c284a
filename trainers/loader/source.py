"""Samples of a stream by position: corpora, their columns, and what to do with broken ones."""

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from septet.preprocess import files
from septet.preprocess.columns.reader import read_manifest
from septet.preprocess.shards.reader import Corpus
from septet.trainers.draws import generator
from septet.trainers.loader.kept import Kept
from septet.trainers.loader.members import FEWEST_OPEN, Members
from septet.trainers.loader.order import Mix, ShardOrder, corpus_digest
from septet.trainers.loader.side import SideFiles
from septet.trainers.task import Row, SampleError, Task

MAX_CONSECUTIVE_BAD = 100
FEWEST_BAD = 10
"""So many samples are forgiven, whatever share of a small corpus they are, where any are."""


class TooManyBadSamplesError(RuntimeError):
    """More samples could not be used than the run allows."""


@dataclass
class Health:
    """Counts of samples read and skipped, with the limits beyond which a run stops.

    What was skipped is appended to `report`, a JSON object a line.
    """

    max_share: float
    report: Path | None = None
    read: int = 0
    bad: int = 0
    consecutive: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def good(self) -> None:
        """Count a sample that could be used."""
        with self._lock:
            self.read += 1
            self.consecutive = 0

    def skip(self, row: dict[str, object]) -> None:
        """Count and report one that could not.

        Raises:
            TooManyBadSamplesError: too many, in a row or as a share of all.
        """
        with self._lock:
            self.read += 1
            self.bad += 1
            self.consecutive += 1
            if self.report is not None:
                with self.report.open("a") as out:
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
            fewest = FEWEST_BAD if self.max_share else 0
            allowed = max(fewest, self.max_share * self.read)
            if self.bad > allowed or self.consecutive >= MAX_CONSECUTIVE_BAD:
                raise TooManyBadSamplesError(
                    f"{self.bad} of {self.read} samples could not be used ({self.consecutive} in "
                    f"a row), more than train.max_bad_samples={self.max_share:g} allows; the last "
                    f"one: {row['reason']} ({row['shard']}, {row['key']}). "
                    f"See {self.report}, and check the corpus with `septet check`"
                )


class Place(NamedTuple):
    """Where a position's sample lies."""

    corpus: int
    epoch: int
    """Of the corpus."""
    number: int
    """In the epoch's order."""
    shard: int
    row: int


class Source:
    """A stream's samples by position, from one corpus or a weighted mix.

    Position `p` is a whole number that only ever grows: a corpus of n samples gives its e-th epoch
    at positions e*n to (e+1)*n. So a run's place in a stream is one number.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        corpora: Sequence[tuple[Corpus, float]],
        seed: int,
        window: int,
        health: Health,
        complete_only: bool = False,
        tombstones: frozenset[str] = frozenset(),
    ):
        """
        Args:
            name: The stream's.
            task: The task, which says what the stream is.
            corpora: With their weights.
            seed: Of the run.
            window: See `ShardOrder`.
            health: Counts what cannot be used.
            complete_only: Leave out samples without a value in an optional column, too.
            tombstones: Keys of samples that must not be used. Others take their places, so that
                the order does not depend on them and a run under way goes on.

        Raises:
            ManifestError: a column is missing or not complete.
            ValueError: a corpus is too small.
        """
        self.name, self.task, self.seed, self.health = name, task, seed, health
        self.tombstones = tombstones
        stream = task.streams[name]
        needed = [*stream.columns, *(stream.optional if complete_only else ())]
        self.members = [Members(corpus, stream, task) for corpus, _ in corpora]
        for column in stream.optional:
            if complete_only or all(column in members.absent for members in self.members):
                for members in self.members:
                    read_manifest(members.corpus.path, column)
        self.lacking: Counter[str] = Counter()
        """Samples that have no value in an optional column."""
        for members in () if complete_only else self.members:
            self.lacking += Counter(members.lacking())
        self.kept = [Kept(corpus, needed) for corpus, _ in corpora]
        side = [
            SideFiles(c.manifest.name, {n: files.join(c.path, n) for n in stream.side_files})
            for c, _ in corpora
        ]
        self.digests = [
            mine.digest(kept.digest(corpus_digest(corpus)))
            for (corpus, _), kept, mine in zip(corpora, self.kept, side, strict=True)
        ]
        if stream.side_files:
            task.open(name, side)
        self.mix = Mix([weight for _, weight in corpora], seed)
        most = self.mix.most(max(1, stream.distinct))
        for (corpus, _), kept, fewest in zip(corpora, self.kept, most, strict=True):
            if (n := sum(kept.counts)) < fewest:
                how = (
                    "lower its weight"
                    if len(corpora) > 1
                    else "lower train.global_batch"
                    if stream.distinct > 1
                    else "give one that has some"
                )
                raise ValueError(
                    f"{corpus.path} has {n} samples for stream {name!r}; a batch may hold "
                    f"{fewest} of them, each once: build a larger corpus, or {how}"
                )
        self.orders = [
            ShardOrder(kept.counts, digest, seed, window, fewest)
            for kept, digest, fewest in zip(self.kept, self.digests, most, strict=True)
        ]
        self.samples = [order.samples for order in self.orders]
        """Of each corpus, in an epoch."""
        for members, order in zip(self.members, self.orders, strict=True):
            members.keep_open(max(FEWEST_OPEN, order.shards_at_once))

    def locate(self, position: int) -> Place:
        """Where a position's sample lies."""
        which, place = self.mix.locate(position)
        epoch, i = divmod(place, self.samples[which])
        shard, place = self.orders[which].locate(epoch, i)
        return Place(which, epoch, i, shard, self.kept[which].row(shard, place))

    def key(self, position: int) -> str:
        """The key of a position's sample."""
        which, _, _, shard, row = self.locate(position)
        return self.members[which].corpus.shard(shard).key(row)

    def rows(self, positions: range) -> Iterator[Row]:
        """Consecutive positions' samples as model inputs.

        One that cannot be used is skipped: another sample of the corpus, found by position,
        takes its place, so that batches stay full and every rank stays in step.

        Raises:
            TooManyBadSamplesError: see `Health`.
            StorageError: see `Members.read`.
        """
        for place in self._places(positions):
            yield self._row(place)

    def read_ahead(self, positions: range) -> None:
        """Let the caches of remote corpora fetch what `rows` will ask for."""
        if any(members.corpus.cache for members in self.members):
            for place in self._places(positions):
                self.members[place.corpus].read_ahead(place.shard, place.row)

    def _places(self, positions: range) -> list[Place]:
        """`locate` of consecutive positions."""
        if len(self.orders) > 1:
            return [self.locate(position) for position in positions]
        places, at = [], positions.start
        while at < positions.stop:
            epoch, i = divmod(at, self.samples[0])
            count = min(positions.stop - at, self.samples[0] - i)
            places += [
                Place(0, epoch, i + number, shard, self.kept[0].row(shard, place))
                for number, (shard, place) in enumerate(self.orders[0].locate_run(epoch, i, count))
            ]
            at += count
        return places

    def _row(self, first: Place) -> Row:
        place, members = first, self.members[first.corpus]
        order, kept = self.orders[first.corpus], self.kept[first.corpus]
        for attempt in itertools.count(1):
            try:
                sample = members.read(place.shard, place.row)
                if sample.key not in self.tombstones:
                    draw = partial(generator, "draw", self.seed, self.name, sample.key, place.epoch)
                    found = self.task.read(self.name, sample, draw)
                    self.health.good()
                    return found
            except SampleError as error:
                key = members.corpus.shard(place.shard).key(place.row)
                self.health.skip(
                    {
                        "stream": self.name,
                        "shard": members.corpus.shards[place.shard].tar,
                        "row": place.row,
                        "key": key,
                        "reason": str(error),
                    }
                )
            other = order.instead(first.epoch, first.number, attempt, self.name)
            if other is None:
                raise TooManyBadSamplesError(
                    f"{members.corpus.path} has no sample left for stream {self.name!r}: all can "
                    "not be used, or are in train.tombstones"
                )
            number, row = order.locate(first.epoch, other)
            place = first._replace(number=other, shard=number, row=kept.row(number, row))
        raise AssertionError


def stack(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Rows as one array each name."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
