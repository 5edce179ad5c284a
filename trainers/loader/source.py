"""Samples of a stream by position: corpora, their columns, and what to do with broken ones."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from septet.preprocess.columns.reader import ColumnShardReader, read_manifest
from septet.preprocess.shards.reader import Corpus, Sample, ShardReader
from septet.trainers.draws import generator
from septet.trainers.loader.kept import Kept
from septet.trainers.loader.order import Mix, ShardOrder, corpus_digest
from septet.trainers.task import Row, SampleError, Stream, Task

try:  # libdeflate's: the same checksum, some seven times as fast, so less than a copy of the bytes.
    from deflate import crc32
except ImportError:
    from zlib import crc32  # type: ignore[assignment]

MAX_CONSECUTIVE_BAD = 100
_OPEN_SHARDS = 64
"""Of each column; as many as a corpus keeps open."""
FEWEST_BAD = 10
"""So many unreadable samples are always forgiven, whatever share of a small corpus they are."""


class TooManyBadSamplesError(RuntimeError):
    """More samples could not be used than the run allows."""


class Members:
    """Random access to the members and columns that a task's stream needs of one corpus. Others
    are not read: who needs no picture touches none of its bytes.

    Raises:
        ManifestError: a column is missing, or not whole.
        ValueError: the task cannot read a column (`Task.check_column`).
    """

    def __init__(self, corpus: Corpus, stream: Stream, task: Task):
        self.corpus, self.stream = corpus, stream
        self._manifests = {
            name: read_manifest(corpus.path, name) for name in (*stream.columns, *stream.optional)
        }
        for name, manifest in self._manifests.items():
            task.check_column(name, manifest)
        columns = len(self._manifests)
        self._column = lru_cache(maxsize=_OPEN_SHARDS * columns)(self._open_column)
        self._wanted = [tuple(member.split("|")) for member in stream.members]
        self._only = frozenset(ext for choices in self._wanted for ext in choices)

    def _open_column(self, name: str, shard: int) -> ShardReader:
        base = self.corpus.shards[shard]
        version = f"{self._manifests[name].fingerprint} {base.tar_sha256}"
        return ColumnShardReader(self.corpus.path, name, base, self.corpus.cache, version)

    def key(self, shard: int, row: int) -> str:
        """The key of a sample."""
        return self.corpus.shard(shard).key(row)

    def read(self, shard: int, row: int) -> Sample:
        """A sample's members under their extensions and columns under their names.

        Raises:
            SampleError: a member is missing.
            OSError: the tar cannot be read, or a member's checksum is wrong.
        """
        base = self.corpus.shard(shard)
        sample = base.read(row, self._only, crc32)
        for choices in self._wanted:
            if sample.keys().isdisjoint(choices):
                have = sorted(base.crc32s(row))
                raise SampleError(f"no member {' or '.join(choices)}; it has {have}")
        for name in (*self.stream.columns, *self.stream.optional):
            reader = self._column(name, shard)
            if reader.key(row) != base.key(row):
                raise SampleError(f"column {name} has another key in this row")
            (sample[name],) = reader.read(row, None, crc32).values()
        return sample

    def lacking(self) -> dict[str, int]:
        """How many samples have no value in each of the optional columns."""
        manifests = {name: self._manifests[name] for name in self.stream.optional}
        return {name: m.samples - m.values for name, m in manifests.items()}

    def bytes_per_sample(self) -> float:
        """What `read` reads of a sample in the mean, as the first shard has it."""
        if not self.corpus.shards:
            return 0.0
        table = self.corpus.metadata(0, ["members"])["members"].combine_chunks()
        exts, sizes = (table.values.field(name).to_pylist() for name in ("ext", "size"))
        own = sum(size for ext, size in zip(exts, sizes, strict=True) if ext in self._only)
        columns = sum(m.bytes / max(1, m.samples) for m in self._manifests.values())
        return own / max(1, self.corpus.shards[0].samples) + columns

    def read_ahead(self, shard: int, row: int) -> None:
        """Let the corpus's cache fetch a sample that `read` will ask for."""
        self.corpus.shard(shard).read_ahead(row, self._only)
        for name in self._manifests:
            self._column(name, shard).read_ahead(row)


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
            allowed = max(FEWEST_BAD, self.max_share * self.read)
            if self.bad > allowed or self.consecutive >= MAX_CONSECUTIVE_BAD:
                raise TooManyBadSamplesError(
                    f"{self.bad} of {self.read} samples could not be used ({self.consecutive} in "
                    f"a row), more than train.max_bad_samples={self.max_share:g} allows; the last "
                    f"one: {row['reason']} ({row['shard']}, {row['key']}). "
                    f"See {self.report}, and check the corpus with `septet check`"
                )


class Source:
    """A stream's samples by position, from one corpus or a weighted mix.

    Position `p` is a whole number that only ever grows: a corpus of n usable samples gives its
    e-th epoch at positions e*n to (e+1)*n. So a run's place in a stream is one number.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        corpora: Sequence[tuple[Corpus, float]],
        batch: int,
        seed: int,
        window: int,
        health: Health,
        complete_only: bool = False,
        tombstones: frozenset[str] = frozenset(),
    ):
        self.name, self.task, self.seed, self.health = name, task, seed, health
        stream = task.streams[name]
        needed = [*stream.columns, *(stream.optional if complete_only else ())]
        self.members = [Members(corpus, stream, task) for corpus, _ in corpora]
        self.lacking: Counter[str] = Counter()
        """Samples that have no value in an optional column."""
        for members in () if complete_only else self.members:
            self.lacking += Counter(members.lacking())
        self.kept = [Kept(corpus, needed, tombstones) for corpus, _ in corpora]
        self.digests = [
            kept.digest(corpus_digest(corpus))
            for (corpus, _), kept in zip(corpora, self.kept, strict=True)
        ]
        self.mix = Mix([weight for _, weight in corpora], seed)
        self.orders = [
            ShardOrder(kept.counts, digest, seed, window)
            for kept, digest in zip(self.kept, self.digests, strict=True)
        ]
        self.usable = []
        for (corpus, _), order in zip(corpora, self.orders, strict=True):
            n = order.samples
            if n == 0 or (stream.drop_tail and n < batch):
                raise ValueError(
                    f"{corpus.path} has {n} samples, stream {name!r} needs at least "
                    f"{batch if stream.drop_tail else 1} (a batch): build a larger corpus, or "
                    "lower train.global_batch"
                )
            # In a mix batches do not begin with epochs, so there is no tail to drop.
            alone = len(corpora) == 1
            self.usable.append(n - n % batch if stream.drop_tail and alone else n)

    def locate(self, position: int) -> tuple[int, int, int, int]:
        """Corpus, epoch, shard and row of a position."""
        which, place = self.mix.locate(position)
        epoch, i = divmod(place, self.usable[which])
        shard, place = self.orders[which].locate(epoch, i)
        return which, epoch, shard, self.kept[which].row(shard, place)

    def key(self, position: int) -> str:
        """The key of a position's sample."""
        which, _, shard, row = self.locate(position)
        return self.members[which].key(shard, row)

    def rows(self, positions: range) -> Iterator[Row]:
        """Consecutive positions' samples as model inputs.

        One that cannot be used is skipped: another sample of the corpus, drawn by position,
        takes its place, so that batches stay full and every rank stays in step.
        """
        for position, place in zip(positions, self._places(positions), strict=True):
            yield self._row(position, *place)

    def read_ahead(self, positions: range) -> None:
        """Let the caches of remote corpora fetch what `rows` will ask for."""
        if any(members.corpus.cache for members in self.members):
            for which, _, shard, row in self._places(positions):
                self.members[which].read_ahead(shard, row)

    def _places(self, positions: range) -> list[tuple[int, int, int, int]]:
        """`locate` of consecutive positions."""
        if len(self.orders) > 1:
            return [self.locate(position) for position in positions]
        places, at = [], positions.start
        while at < positions.stop:
            epoch, i = divmod(at, self.usable[0])
            count = min(positions.stop - at, self.usable[0] - i)
            places += [
                (0, epoch, shard, self.kept[0].row(shard, place))
                for shard, place in self.orders[0].locate_run(epoch, i, count)
            ]
            at += count
        return places

    def _row(self, position: int, which: int, epoch: int, shard: int, row: int) -> Row:
        members = self.members[which]
        attempt = 0
        while True:
            key = members.key(shard, row)
            try:
                sample = members.read(shard, row)
                draw = partial(generator, "draw", self.seed, self.name, key, epoch)
                found = self.task.read(self.name, sample, draw)
            except (SampleError, OSError) as error:
                self.health.skip(
                    {
                        "stream": self.name,
                        "shard": members.corpus.shards[shard].tar,
                        "row": row,
                        "key": key,
                        "reason": str(error),
                    }
                )
                attempt += 1
                again = generator("instead", self.seed, self.name, position, attempt)
                i = int(again.integers(self.usable[which]))
                shard, place = self.orders[which].locate(epoch, i)
                row = self.kept[which].row(shard, place)
            else:
                self.health.good()
                return found


def stack(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Rows as one array each name."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
