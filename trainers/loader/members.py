"""Members and columns of a corpus's samples, by shard and row."""

import hashlib
import resource
import time
from collections.abc import Sequence
from functools import lru_cache

from deflate import crc32  # libdeflate's: some seven times as fast as zlib's

from septet.preprocess.columns.counts import shown_counts
from septet.preprocess.columns.reader import ColumnShardReader, column_names, read_manifest
from septet.preprocess.shards.reader import Corpus, DamagedError, ShardReader
from septet.schemas.columns import ColumnManifest
from septet.trainers.loader.languages import SampleLanguages
from septet.trainers.task import ReadSample, SampleError, Stream, Task

FEWEST_OPEN = 64
"""Shards that stay open where no more are asked for."""
SPARE_FILES = 256
"""Files that a process may open beside shards."""
PAUSES = (0.2, 1.0, 5.0, None)
"""Seconds before a read that failed is tried again; at last it is not."""


class StorageError(RuntimeError):
    """Storage that cannot be read, tried again and again; nothing is known to be wrong with a
    sample."""


class Members:
    """Random access to the members and columns that a task's stream needs of one corpus. Others
    are not read: who needs no image touches none of its bytes.

    Raises:
        ManifestError: a column that it needs is missing, or not complete.
        ValueError: the task cannot read a column (`Task.check_column`).
    """

    def __init__(self, corpus: Corpus, stream: Stream, task: Task, also: Sequence[str] = ()):
        """
        Args:
            corpus: The corpus.
            stream: What is read.
            task: Whose stream it is.
            also: Members that are read where a sample has them.
        """
        self.corpus, self.stream, self._name = corpus, stream, corpus.manifest.name
        have = column_names(corpus.path) if stream.optional else []
        self.absent = [name for name in stream.optional if name not in have]
        """Optional columns that the corpus does not have."""
        self._manifests: dict[str, ColumnManifest] = {
            name: read_manifest(corpus.path, name)
            for name in (*stream.columns, *stream.optional)
            if name not in self.absent
        }
        for name, manifest in self._manifests.items():
            task.check_column(name, manifest)
        self.keep_open(FEWEST_OPEN)
        self.languages = SampleLanguages.of(corpus) if stream.languages else None
        # A sample that lacks a member may be of use to another task, see `Source`.
        needed = () if stream.otherwise else stream.members
        self._wanted = [tuple(member.split("|")) for member in needed]
        self._only = frozenset(ext for m in (*stream.members, *also) for ext in m.split("|"))

    def keep_open(self, shards: int) -> None:
        """Let so many shards and their columns stay open, as far as the process may open files."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        each = 1 + len(self._manifests)
        wanted = each * shards + SPARE_FILES
        if soft < wanted and soft != resource.RLIM_INFINITY:
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            shards = max(1, min(shards, (soft - SPARE_FILES) // each))
        self.corpus.keep_open(shards)
        self._column = lru_cache(maxsize=shards * len(self._manifests))(self._open_column)

    def _open_column(self, name: str, shard: int) -> tuple[ShardReader, bool]:
        """A column's shard, and whether its keys are the base's: if not, each one is compared."""
        base = self.corpus.shards[shard]
        version = f"{self._manifests[name].fingerprint} {base.tar_sha256}"
        reader = ColumnShardReader(self.corpus, name, shard, version)
        return reader, reader.keys.equals(self.corpus.shard(shard).keys)

    def read(self, shard: int, row: int) -> ReadSample:
        """A sample's members under their extensions and columns under their names; an optional
        column without a value is empty.

        A read that fails is tried again: storage has its moments.

        Raises:
            SampleError: a member is missing, or its checksum is wrong.
            RemovedError: the sample was removed from the corpus.
            StorageError: the shard cannot be read.
        """
        for pause in PAUSES:
            try:
                return self._read(shard, row)
            except DamagedError as error:
                raise SampleError(str(error), "damaged") from error
            except OSError as error:
                if pause is None:
                    tar = self.corpus.shards[shard].tar
                    raise StorageError(
                        f"{self.corpus.path}: {tar} cannot be read, tried {len(PAUSES)} times: "
                        f"{type(error).__name__}: {error}. Mend the storage, then start the run "
                        "again: it goes on from its newest checkpoint"
                    ) from error
                time.sleep(pause)
        raise AssertionError

    def _read(self, shard: int, row: int) -> ReadSample:
        base = self.corpus.shard(shard)
        members = base.read(row, self._only, crc32)
        sample = ReadSample(members, key=base.key(row), corpus=self._name)
        if self.languages is not None:
            sample.language = self.languages.code(shard, row)
        for choices in self._wanted:
            if choices[0] not in sample and sample.keys().isdisjoint(choices):
                have = sorted(base.exts(row))
                raise SampleError(f"no member {' or '.join(choices)}; it has {have}", "no_member")
        for name in self._manifests:
            reader, same = self._column(name, shard)
            if not same and reader.key(row) != sample.key:
                raise SampleError(f"column {name} has another key in this row", "damaged")
            (sample[name],) = reader.read(row, None, crc32).values()
        for name in self.absent:
            sample[name] = b""
        return sample

    def digest(self, base: str) -> str:
        """`base` changed by the columns that there are: on them depends which task a row goes to
        where `stream.otherwise` names others."""
        if not self.stream.otherwise:
            return base
        found = sorted((name, m.fingerprint) for name, m in self._manifests.items())
        return hashlib.sha256(f"{base} {found}".encode()).hexdigest()

    def lacking(self) -> dict[str, int]:
        """How many samples have no value in each of the optional columns."""
        found = dict.fromkeys(self.absent, len(self.corpus))
        for name in self.stream.optional:
            if name not in found:
                counts = shown_counts(self.corpus, self._manifests[name])
                found[name] = counts.samples - counts.values
        return found

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
            self._column(name, shard)[0].read_ahead(row)
