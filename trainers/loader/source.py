"""Samples of a stream by position: corpora, their columns, and what to do with broken ones."""

import hashlib
import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from septet.preprocess import files
from septet.preprocess.columns.reader import read_manifest
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.removed import RemovedError
from septet.trainers.draws import generator
from septet.trainers.loader.kept import Kept
from septet.trainers.loader.languages import LanguageRows, language_shares
from septet.trainers.loader.members import FEWEST_OPEN, Members
from septet.trainers.loader.order import Mix, ShardOrder, corpus_digest, mix_block
from septet.trainers.loader.side import SideFiles
from septet.trainers.loader.tally import Counted
from septet.trainers.outcomes import LACKING
from septet.trainers.standard_json import to_json
from septet.trainers.task import ReadSample, Row, SampleError, Stream, Task

MAX_CONSECUTIVE_BAD = 100
FEWEST_BAD = 10
"""So many samples are forgiven, whatever share of a small corpus they are, where any are."""


RAREST = 1e-5
"""Languages of a smaller share are left out: a block of a mix holds each part at least once."""


COMPARED = 100
"""Samples by whose places the orders of a run and of the one that it resumes are compared."""


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
                with self.report.open("a", encoding="utf-8") as out:
                    out.write(to_json(row, ascii_only=False) + "\n")
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

    part: int
    epoch: int
    """Of the part."""
    number: int
    """In the epoch's order."""
    shard: int
    row: int


ReadRow = tuple[Row, list[Counted]]
"""A position's sample as model inputs, and what is to be counted of it and of samples that could
not be used in its place."""


@dataclass(frozen=True)
class Part:
    """What a mix is made of: a corpus's samples, or those in one language."""

    members: Members
    kept: Kept | LanguageRows
    weight: float
    digest: str


class Source:
    """A stream's samples by position, from one corpus or a weighted mix; where languages are
    sampled, each corpus is a mix of its languages.

    Position `p` is a whole number that only ever grows: a part of n samples gives its e-th epoch
    at its positions e*n to (e+1)*n. So a run's place in a stream is one number.
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
        self._used_by = {one: Counted("task", one) for one in task.streams}
        stream = task.streams[name]
        self.joins, self._otherwise = stream.joins, stream.otherwise
        joined = with_otherwise(task.streams, name)
        also = [member for other in stream.otherwise for member in task.streams[other].members]
        self.members = [Members(corpus, joined, task, also) for corpus, _ in corpora]
        own = (*stream.columns, *stream.optional)
        for column in own:
            if complete_only or all(column in members.absent for members in self.members):
                for members in self.members:
                    read_manifest(members.corpus.path, column)
        self.lacking: Counter[str] = Counter()
        """Samples that have no value in an optional column."""
        for members in () if complete_only else self.members:
            self.lacking += Counter({c: n for c, n in members.lacking().items() if c in own})
        needed = [*stream.columns, *(stream.optional if complete_only else ())]
        others = [task.streams[other].columns for other in stream.otherwise]
        self.kept = [Kept(corpus, needed, others) for corpus, _ in corpora]
        side = [
            SideFiles(c.manifest.name, {n: files.join(c.path, n) for n in stream.side_files})
            for c, _ in corpora
        ]
        bases = [mine.digest(corpus_digest(c)) for (c, _), mine in zip(corpora, side, strict=True)]
        bases = [m.digest(base) for m, base in zip(self.members, bases, strict=True)]
        if stream.side_files:
            task.open(name, side)
        self.rare: Counter[str] = Counter()
        """Samples by languages that are too rare to be drawn, or not asked for."""
        whole = sum(weight for _, weight in corpora)
        self.parts = [
            part
            for members, kept, (_, weight), base in zip(
                self.members, self.kept, corpora, bases, strict=True
            )
            for part in self._cut(members, kept, weight / whole, base)
        ]
        weights = [part.weight for part in self.parts]
        self.mix = Mix(name, weights, seed, mix_block(weights) if stream.languages else 1000)
        most = self.mix.most(max(1, stream.distinct))
        for part, fewest in zip(self.parts, most, strict=True):
            if (n := sum(part.kept.counts)) < fewest:
                how = (
                    "lower its weight"
                    if len(corpora) > 1
                    else "lower train.global_batch"
                    if stream.distinct > 1
                    else "give one that has some"
                )
                raise ValueError(
                    f"{part.members.corpus.path} has {n} samples for stream {name!r}; a batch may "
                    f"hold {fewest} of them, each once: build a larger corpus, or {how}"
                )
        windows = [self._window(part, window) for part in self.parts]
        self.orders = [
            ShardOrder(name, part.kept.counts, part.digest, seed, windowed, fewest)
            for part, windowed, fewest in zip(self.parts, windows, most, strict=True)
        ]
        self.samples = [order.samples for order in self.orders]
        """Of each part, in an epoch."""
        for members in self.members:
            ours = zip(self.parts, self.orders, strict=True)
            at_once = sum(order.shards_at_once for part, order in ours if part.members is members)
            members.keep_open(max(FEWEST_OPEN, at_once))

    @property
    def digests(self) -> list[str]:
        """What determines the order, of each part."""
        return [part.digest for part in self.parts]

    @property
    def order_digest(self) -> str:
        """Digest of where the first samples lie: another, of equal `digests`, where a version of
        the program or of numpy draws otherwise."""
        found = hashlib.sha256()
        for position in range(COMPARED):
            place = self.locate(position)
            found.update(f"{place.part} {place.shard} {place.row}\n".encode())
        return found.hexdigest()[:16]

    def _cut(self, members: Members, kept: Kept, weight: float, base: str) -> Iterator[Part]:
        """A corpus as parts of the mix."""
        wanted = members.stream.languages
        if wanted is None or members.languages is None:
            yield Part(members, kept, weight, kept.digest(base))
            return
        found = members.languages.parts(kept)
        counts = {code: sum(rows.counts) for code, rows in found.items()}
        asked = {c: n for c, n in counts.items() if not wanted.only or c in wanted.only}
        shares = language_shares(asked, wanted.temperature)
        drawn = {code: weight * share for code, share in shares.items() if weight * share >= RAREST}
        if not drawn:
            have = ", ".join(f"{code} {n:,}" for code, n in counts.items()) or "none"
            raise ValueError(
                f"{members.corpus.path} has no samples of stream {self.name!r} to draw in "
                f"{', '.join(wanted.only) or 'any language'}; it has: {have}"
            )
        self.rare += Counter({code: n for code, n in counts.items() if code not in drawn})
        for code, share in drawn.items():
            yield Part(members, found[code], share, found[code].digest(base))

    def _window(self, part: Part, window: int) -> int:
        """A language's windows lie within as few shards as its corpus's."""
        whole = sum(self.kept[self.members.index(part.members)].counts)
        return max(1, round(window * sum(part.kept.counts) / max(1, whole)))

    def told(self) -> Iterator[str]:
        """What a run says of the samples that take part."""
        if left_out := sum(kept.dropped for kept in self.kept):
            yield f"{self.name}: {left_out:,} samples lack a column: left out"
        for members, kept in zip(self.members, self.kept, strict=True):
            if removed := kept.removed(members.corpus):
                yield (
                    f"{self.name}: {removed:,} samples of the order were removed from "
                    f"{members.corpus.path}: others take their places"
                )
        for column, lacking in self.lacking.items():
            yield f"{self.name}: {lacking:,} samples have no value in {column}: kept"
        if self.rare:
            few = ", ".join(f"{code} {n:,}" for code, n in sorted(self.rare.items()))
            yield f"{self.name}: samples in languages that are not drawn: {few}: left out"

    def locate(self, position: int, number: int = 0) -> Place:
        """Where a position's sample lies; of a stream that joins several, which of them."""
        which, place = self.mix.locate(position)
        epoch, i = divmod(place * (self.joins or 1) + number, self.samples[which])
        shard, place = self.orders[which].locate(epoch, i)
        return Place(which, epoch, i, shard, self.parts[which].kept.row(shard, place))

    def key(self, position: int) -> str:
        """The key of a position's sample."""
        which, _, _, shard, row = self.locate(position)
        return self.parts[which].members.corpus.shard(shard).key(row)

    def rows(self, positions: range) -> Iterator[ReadRow]:
        """Consecutive positions' samples as model inputs.

        One that cannot be used is skipped: another sample of the part, found by position,
        takes its place, so that batches stay full and every rank stays in step.

        Raises:
            TooManyBadSamplesError: see `Health`.
            StorageError: see `Members.read`.
        """
        if self.joins:
            return map(self._joined, positions)
        return itertools.starmap(self._row, self._places(positions))

    def read_ahead(self, positions: range) -> None:
        """Let the caches of remote corpora fetch what `rows` will ask for."""
        if any(members.corpus.cache for members in self.members):
            for part, _, _, shard, row in self._places(positions):
                self.parts[part].members.read_ahead(shard, row)

    def _places(self, positions: range) -> Sequence[tuple[int, int, int, int, int]]:
        """`locate` of all samples of consecutive positions."""
        if len(self.orders) > 1 or self.joins:
            each = range(self.joins or 1)
            return [self.locate(p, number) for p in positions for number in each]
        places: list[tuple[int, int, int, int, int]] = []
        at, kept = positions.start, self.parts[0].kept
        while at < positions.stop:
            epoch, i = divmod(at, self.samples[0])
            count = min(positions.stop - at, self.samples[0] - i)
            found = self.orders[0].locate_run(epoch, i, count)
            places += [
                (0, epoch, number, shard, kept.row(shard, place))
                for number, (shard, place) in enumerate(found, i)
            ]
            at += count
        return places

    def _joined(self, position: int) -> ReadRow:
        """A row of several samples, which are read as far as the task takes them."""
        counted: list[Counted] = []

        def rows() -> Iterator[Row]:
            for number in range(self.joins):
                row, found = self._row(*self.locate(position, number))
                further = number > 0
                counted.extend(
                    Counted("joined", c.name) if further and c.what == "task" else c for c in found
                )
                yield row

        draw = partial(generator, "join", self.seed, self.name, position)
        joined, changes = self.task.join(self.name, rows(), draw)
        return joined, [*counted, *(Counted("outcome", each) for each in changes)]

    def _row(self, which: int, epoch: int, first: int, shard: int, row: int) -> ReadRow:
        """The sample of a `Place` as model inputs, or another one that takes its place."""
        part, counted = self.parts[which], list[Counted]()
        members = part.members
        for attempt in itertools.count(1):
            try:
                sample = members.read(shard, row)
                if sample.key not in self.tombstones:
                    if self._otherwise:
                        used, found = self._used(sample, epoch)
                    else:
                        used, found = self.name, self._read(self.name, sample, epoch)
                    self.health.good()
                    counted.append(self._used_by[used])
                    if used != self.name:
                        counted.append(Counted("moved", self.name))
                    if sample.language is not None:
                        counted.append(Counted("language", sample.language))
                    for note in sample.notes:
                        counted.append(Counted("outcome", note))
                    return found, counted
            except RemovedError:
                pass
            except SampleError as error:
                counted.append(Counted("outcome", error.outcome))
                self.health.skip(
                    {
                        "stream": self.name,
                        "shard": members.corpus.shards[shard].tar,
                        "row": row,
                        "key": members.corpus.shard(shard).key(row),
                        "outcome": error.outcome,
                        "reason": str(error),
                    }
                )
            other = self.orders[which].instead(epoch, first, attempt)
            if other is None:
                raise TooManyBadSamplesError(
                    f"{members.corpus.path} has no sample left for stream {self.name!r}: all can "
                    "not be used, or were removed"
                )
            shard, place = self.orders[which].locate(epoch, other)
            row = part.kept.row(shard, place)
        raise AssertionError

    def _require(self, sample: ReadSample, stream: Stream) -> None:
        """Refuse a sample that lacks a member or a column that one of several streams needs."""
        for member in stream.members:
            if sample.keys().isdisjoint(member.split("|")):
                raise SampleError(f"no member {member}; it has {sorted(sample)}", "no_member")
        for column in stream.columns:
            if not sample[column]:
                raise SampleError(f"column {column} has no value", "no_value")

    def _used(self, sample: ReadSample, epoch: int) -> tuple[str, Row]:
        """The stream that reads a sample, its own or one of `Stream.otherwise`, and its inputs."""
        streams = self.task.streams
        lacks, language = None, sample.language
        for name in (self.name, *self._otherwise):
            sample.notes, sample.language = [], language
            try:
                self._require(sample, streams[name])
                return name, self._read(name, sample, epoch)
            except SampleError as error:
                if error.outcome not in LACKING:
                    raise
                lacks = lacks or error
        assert lacks is not None
        raise lacks

    def _read(self, name: str, sample: ReadSample, epoch: int) -> Row:
        draw = partial(generator, "draw", self.seed, name, sample.key, epoch)
        return self.task.read(name, sample, draw)


def with_otherwise(streams: Mapping[str, Stream], name: str) -> Stream:
    """A stream with the columns that the streams of its `otherwise` read, which its samples may
    lack.

    Raises:
        ValueError: those are no streams whose rows may stand beside its own.
    """
    stream = streams[name]
    for other in stream.otherwise:
        found = streams.get(other)
        if found is None or found.lengths != stream.lengths:
            raise ValueError(
                f"stream {name!r} gives what it cannot use to {other!r}, which must be a stream of "
                "equal `lengths`, as their rows stand in one pass"
            )
        if set(found.side_files) - set(stream.side_files):
            raise ValueError(
                f"stream {name!r} gives what it cannot use to {other!r}, which draws from side "
                f"files {', '.join(found.side_files)}: {name!r} must name them, too"
            )
    if not stream.otherwise:
        return stream
    chain = [streams[each] for each in (name, *stream.otherwise)]
    optional = dict.fromkeys(c for each in chain for c in (*each.columns, *each.optional))
    return replace(stream, columns=(), optional=tuple(optional))


def stack(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Rows as one array each name."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
