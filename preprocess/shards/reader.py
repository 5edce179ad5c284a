"""Random access to a corpus: any sample is one `pread` away."""

import bisect
import os
import threading
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from septet.preprocess import files
from septet.preprocess.shards.blocks import BlockCache
from septet.preprocess.shards.heads import read_corpus
from septet.preprocess.shards.records import Records
from septet.preprocess.shards.removed import NO_ROWS, Removed, RemovedError, without_removed
from septet.preprocess.shards.sidecar import SidecarError, read_sidecar
from septet.preprocess.shards.views import Chosen, split_view
from septet.schemas.layout import MANIFEST
from septet.schemas.versioned import ManifestError

Sample = dict[str, bytes]
"""Content by extension, for example {"jpg": …, "txt": …, "json": …}; a sample may have no image or
no text."""

_APART = 2**14
"""Bytes of members in the mean from which on those of a local tar are read one by one: to copy them
out of one piece takes longer than to ask again."""
MAX_SAMPLE_BYTES = 2**30
"""Most bytes that are read at once: what a sidecar claims is not believed beyond."""


class DamagedError(OSError):
    """Raised when bytes of a tar are not what its sidecar says: reading again would not help."""


class ShardReader:
    """A reader of samples of one tar, by row number.

    Local tars are read with `os.pread` (no seek, safe across threads and after a fork), those that
    are given a cache through its blocks, others with a ranged request a sample.

    Args:
        tar: The tar.
        sidecar: The path of its sidecar.
        cache: Holds blocks of a tar that is not local.
        version: Digest of the tar, for the cache.
        rows: The number of rows that the sidecar must have; None for any number.
        removed: Rows of samples that were removed: they are not read.

    Raises:
        SidecarError: the sidecar is damaged, or is none.
        OSError: it cannot be read.
    """

    def __init__(
        self,
        tar: str,
        sidecar: str,
        cache: BlockCache | None = None,
        version: str = "",
        rows: int | None = None,
        removed: NDArray[np.int64] = NO_ROWS,
    ):
        self.tar, self.sidecar = tar, sidecar
        self._removed = frozenset(removed.tolist())
        self._cache, self._version = cache, version
        table = read_sidecar(sidecar, ["key", "members"], rows)
        keys = table["key"].combine_chunks()
        self._keys: pa.Array = pa.array([], pa.string()) if len(keys) == 0 else keys
        members = table["members"].combine_chunks()
        if isinstance(members, pa.ChunkedArray):  # an empty table has no chunk to combine
            members = pa.array([], members.type)
        if self._keys.null_count:
            raise SidecarError(f"{sidecar}: a row has no key")
        try:
            self._records = Records(members)
        except ValueError as error:
            raise SidecarError(f"{sidecar}: {error}") from error
        self._fd: int | None = None
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def keys(self) -> pa.Array:
        """Keys in row order, as an Arrow string array."""
        return self._keys

    @cached_property
    def _key_list(self) -> list[str]:
        found: list[str] = self._keys.to_pylist()
        return found

    def key(self, row: int) -> str:
        """The key of a row."""
        return self._key_list[row]

    def exts(self, row: int) -> list[str]:
        """The extensions of a row's members."""
        return list(self._records.exts(row))

    def size(self, row: int, only: frozenset[str] | None = None) -> int:
        """The bytes that `read` would read of a row, as its sidecar says."""
        return self._records.find(row, only)[-1]

    def _pread(self, size: int, offset: int) -> bytes:
        if self._fd is None:
            if self._cache is not None:
                return self._cache.read(self.tar, self._version, offset, size)
            if not files.is_local(self.tar):
                fs, plain = files.file_system(self.tar)
                data: bytes = fs.cat_file(plain, start=offset, end=offset + size)
                return data
            with self._opening:
                if self._fd is None:
                    self._fd = files.open_plain(self.tar)
        return os.pread(self._fd, size, offset)

    def read(
        self,
        row: int,
        only: frozenset[str] | None = None,
        checksum: Callable[[bytes], int] | None = None,
    ) -> Sample:
        """Read one sample's members, or those of some extensions (with what lies between them).

        Args:
            row: The row's number.
            only: Extensions; None for all.
            checksum: Computes CRC-32, to compare with the sidecar's; None compares nothing.

        Raises:
            IndexError: no such row.
            RemovedError: the sample was removed.
            DamagedError: the tar is shorter than its sidecar says, or a member has another
                checksum.
            OSError: it cannot be read now.
        """
        if row < 0:
            raise IndexError(f"row {row} of {self.tar}")
        if row in self._removed:
            raise RemovedError(f"sample {self.key(row)} of {self.tar} was removed")
        record, wanted, start, size = self._records.find(row, only)
        if not wanted:
            return {}
        if not 0 <= size <= MAX_SAMPLE_BYTES:
            raise DamagedError(
                f"{self.tar}: sample {row} would have {size:,} bytes, a sample has at most "
                f"{MAX_SAMPLE_BYTES:,}: the sidecar is damaged"
            )
        apart = size > _APART * len(wanted) and self._fd is not None
        # A store takes a range of no bytes for one without an end.
        data = self._pread(size, start) if size and not apart else b""
        found = {}
        for ext, place in wanted:
            begin, stop = record[place], record[place + 1]
            part = self._pread(stop - begin, begin) if apart else data[begin - start : stop - start]
            if len(part) != stop - begin:
                raise DamagedError(
                    f"{self.tar} ends before sample {row}: the tar or its sidecar is damaged"
                )
            if checksum is not None and checksum(part) != record[place + 2]:
                raise DamagedError(f"member {ext} does not have its checksum")
            found[ext] = part
        return found

    def read_ahead(self, row: int, only: frozenset[str] | None = None) -> None:
        """Let the cache, if there is one, fetch what `read` will ask for."""
        if self._cache is not None and row not in self._removed:
            *_, start, size = self._records.find(row, only)
            self._cache.prefetch(self.tar, self._version, start, size)

    def close(self) -> None:
        """Close the tar; a later read opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            self.close()

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_fd", "_opening")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _fd=None, _opening=threading.Lock())


class Corpus:
    """A corpus folder as a sequence of samples.

    `corpus[i]` is the i-th sample of the manifest's order; those that were removed do not count,
    and cannot be read; of a view, `Corpus("PATH@VIEW")`, those that it does not have do not count.
    `shards` is the list of shards, of which a part is read at a time. Sidecars
    are read when first needed; at most `open_shards` of them stay open, see `keep_open`. `cache`
    holds blocks of remote tars.

    A *row* is a sample's place in its shard, which a removal before it does not change.
    """

    def __init__(self, path: str, open_shards: int = 64, cache: BlockCache | None = None):
        self.label = path
        """The path as it was given, with the view."""
        path, view = split_view(path)
        self.path = path
        self.view = None if view is None else Chosen.read(path, view)
        """The view; None for the whole corpus."""
        self.cache = None if files.is_local(path) else cache
        """The cache, which the corpus's columns use too."""
        self.manifest, self.shards = read_corpus(path)
        self.counts = self.shards.numbers("samples")
        """Rows of each shard, int64 [shards]."""
        if (rows := int(self.counts.sum())) != self.manifest.samples:
            raise ManifestError(
                f"{path}: its shards hold {rows:,} samples, {MANIFEST} says "
                f"{self.manifest.samples:,}: rebuild the corpus"
            )
        self.removed = Removed.read(path, self.manifest, self.counts)
        """The rows of samples that were removed."""
        self._bases = np.concatenate([[0], np.cumsum(self.counts)])
        """Where the rows of each shard begin among all, int64 [shards + 1]."""
        self._places = (
            self.view.places(self.manifest.shard_list.sha256, rows) if self.view else None
        )
        self._selected = lru_cache(4)(self._select)
        self.keep_open(open_shards)

    @cached_property
    def _starts(self) -> "array[int]":
        """Where each shard begins among the samples; all keys are read for it of a view that does
        not tell its places in these shards."""
        given = self.counts.copy()
        if self.view is None:
            for number, gone in self.removed.rows.items():
                given[number] -= len(gone)
        elif self._places is not None:
            given = np.diff(np.searchsorted(self._places, self._bases))
            for number, gone in self.removed.rows.items():
                given[number] -= np.isin(gone, self._selected(number)).sum()
        else:
            with ThreadPoolExecutor() as pool:
                given[:] = list(pool.map(lambda n: len(self.rows(n)), range(len(given))))
        starts = array("q", [0])
        starts.frombytes(np.cumsum(given).tobytes())
        return starts

    @property
    def is_whole(self) -> bool:
        """Whether each row of a shard is one of the samples."""
        return self.view is None and not self.removed.rows

    def keep_open(self, shards: int) -> None:
        """Set how many shards stay open; a reader in random order keeps those of its window
        open, as each costs its sidecar to open again."""
        # Where all stay open there is no order of use to keep.
        most = shards if shards < len(self.shards) else None
        self._open = lru_cache(maxsize=most)(self._open_shard)

    def _open_shard(self, number: int) -> ShardReader:
        shard = self.shards[number]
        tar, sidecar = (files.join(self.path, name) for name in (shard.tar, shard.sidecar))
        gone = self.removed.of(number)
        return ShardReader(tar, sidecar, self.cache, shard.tar_sha256, shard.samples, gone)

    def shard(self, number: int) -> ShardReader:
        """The reader of the manifest's `number`-th shard."""
        return self._open(number)

    def __len__(self) -> int:
        return self._starts[-1]

    def chosen(self, number: int) -> NDArray[np.int64] | None:
        """The rows of a shard that the view has, those of removed samples among them; None for all,
        where there is no view."""
        return None if self.view is None else self._selected(number)

    def _select(self, number: int) -> NDArray[np.int64]:
        assert self.view is not None
        if self._places is not None:
            begin, end = np.searchsorted(self._places, self._bases[number : number + 2])
            return self._places[begin:end] - self._bases[number]
        shard = self.shards[number]
        path = files.join(self.path, shard.sidecar)
        keys = read_sidecar(path, ["key"], shard.samples)["key"]
        return np.flatnonzero(self.view.holds(keys))

    def rows(self, number: int) -> NDArray[np.int64]:
        """The rows of a shard's samples, rising."""
        rows = self.chosen(number)
        gone = self.removed.of(number)
        if rows is None:
            rows = np.arange(self.counts[number])
        return np.setdiff1d(rows, gone, assume_unique=True) if len(gone) else rows

    def locate(self, index: int) -> tuple[int, int]:
        """Shard number and row of a sample.

        Raises:
            IndexError: `index` is not in [0, len(self)).
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a corpus of {len(self)}")
        number = bisect.bisect_right(self._starts, index) - 1
        place = index - self._starts[number]
        if self.view is None and number not in self.removed.rows:
            return number, place
        return number, int(self.rows(number)[place])

    def index(self, number: int, row: int) -> int | None:
        """The index of a sample by shard number and row; None where it was removed, or the view
        does not have it."""
        if self.view is None and number not in self.removed.rows:
            return self._starts[number] + row
        rows = self.rows(number)
        place = int(np.searchsorted(rows, row))
        found = place < len(rows) and rows[place] == row
        return self._starts[number] + place if found else None

    def __getitem__(self, index: int) -> Sample:
        number, row = self.locate(index)
        return self.shard(number).read(row)

    def __iter__(self) -> Iterator[Sample]:
        for number in range(len(self.shards)):
            shard = self.shard(number)
            for row in self.rows(number).tolist():
                yield shard.read(row)

    def key(self, index: int) -> str:
        """The key of a sample."""
        number, row = self.locate(index)
        return self.shard(number).key(row)

    def find(self, key: str) -> int:
        """Find the index of a key.

        Raises:
            KeyError: the corpus has no such sample.
        """
        for number in self.shards_with(key):
            row = self.shard(number).keys.index(pa.scalar(key)).as_py()
            if row >= 0 and (index := self.index(number, int(row))) is not None:
                return index
        raise KeyError(f"no sample {key!r} in {self.label}")

    def shards_with(self, beginning: str) -> Iterator[int]:
        """Find the shards that may hold keys that begin so; where keys are sorted, by halving."""
        if not self.manifest.sorted_keys:
            yield from range(len(self.shards))
            return
        number = bisect.bisect_left(self.shards, beginning, key=lambda shard: shard.last_key)
        while number < len(self.shards):
            if self.shards[number].first_key[: len(beginning)] > beginning:
                break
            yield number
            number += 1

    def metadata(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """Read a shard's sidecar, or some columns of it: a row a row of the shard. That of a sample
        that was removed has its key and its language alone.

        Raises:
            SidecarError: it is damaged, or has no such columns.
        """
        shard = self.shards[number]
        table = read_sidecar(files.join(self.path, shard.sidecar), columns, shard.samples)
        return without_removed(table, self.removed.of(number))
