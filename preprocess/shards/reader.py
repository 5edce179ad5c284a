"""Random access to a corpus: any sample is one `pread` away."""

import bisect
import itertools
import os
import threading
from collections.abc import Container, Iterator, Sequence
from functools import lru_cache
from typing import Self

import fsspec
import numpy as np
import pyarrow as pa

from preprocess import files
from schemas.manifest import MANIFEST_NAME, Manifest, ManifestError, Shard

Sample = dict[str, bytes]
"""Content by extension, for example {"jpg": …, "txt": …, "json": …}."""


class ShardReader:
    """Reads samples of one tar by row number.

    Local tars are read with `os.pread` (no seek, safe across threads and after a fork); others
    with one ranged request a sample.
    """

    def __init__(self, tar: str, sidecar: str):
        self.tar, self.sidecar = tar, sidecar
        table = files.read_table(sidecar, ["key", "members"])
        self._keys = table["key"]
        members = table["members"].combine_chunks()
        if isinstance(members, pa.ChunkedArray):  # an empty table has no chunk to combine
            members = pa.array([], members.type)
        ends = members.offsets.to_pylist()
        entries = members.values
        exts = entries.field("ext").to_pylist()
        offsets = entries.field("offset").to_pylist()
        sizes = entries.field("size").to_pylist()
        self._crc32 = entries.field("crc32")
        self._row_ends: list[int] = ends
        # Per row: where to start, how much to read, and what to cut out of it.
        self._spans: list[tuple[int, int, list[tuple[str, int, int]]]] = []
        for first, last in itertools.pairwise(ends):
            rows = range(first, last)
            start = min((offsets[j] for j in rows), default=0)
            stop = max((offsets[j] + sizes[j] for j in rows), default=0)
            cuts = [(exts[j], offsets[j] - start, offsets[j] - start + sizes[j]) for j in rows]
            self._spans.append((start, stop - start, cuts))
        self._fd: int | None = None
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def keys(self) -> pa.ChunkedArray:
        """Keys in row order, as an Arrow string array."""
        return self._keys

    def crc32s(self, row: int) -> dict[str, int]:
        """The CRC-32 that each member of a row should have, by extension."""
        first, last = self._row_ends[row], self._row_ends[row + 1]
        values = self._crc32.slice(first, last - first).to_pylist()
        return dict(zip((ext for ext, _, _ in self._spans[row][2]), values, strict=True))

    def _pread(self, size: int, offset: int) -> bytes:
        if self._fd is None:
            if not files.is_local(self.tar):
                fs, plain = fsspec.url_to_fs(self.tar)
                data: bytes = fs.cat_file(plain, start=offset, end=offset + size)
                return data
            with self._opening:
                if self._fd is None:
                    self._fd = os.open(files.local_path(self.tar), os.O_RDONLY)
        return os.pread(self._fd, size, offset)

    def read(self, row: int, only: Container[str] | None = None) -> Sample:
        """One sample's members, or those of some extensions (with what lies between them).

        Raises:
            IndexError: no such row.
            OSError: the tar is shorter than its sidecar says.
        """
        offset, size, cuts = self._spans[row]
        if only is not None:
            cuts = [cut for cut in cuts if cut[0] in only]
            if not cuts:
                return {}
            start, stop = cuts[0][1], cuts[-1][2]
            offset, size = offset + start, stop - start
            cuts = [(ext, begin - start, end - start) for ext, begin, end in cuts]
        data = self._pread(size, offset)
        if len(data) != size:
            raise OSError(f"{self.tar} ends before sample {row}: the tar or its sidecar is damaged")
        return {ext: data[start:stop] for ext, start, stop in cuts}

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

    `corpus[i]` is the i-th sample of the manifest's order. Sidecars are read when first needed;
    at most `open_shards` of them stay open.
    """

    def __init__(self, path: str, open_shards: int = 64):
        self.path = path
        where = files.join(path, MANIFEST_NAME)
        if not files.exists(where):
            raise ManifestError(
                f"{path} has no {MANIFEST_NAME}: build a corpus there with `septet build`, or give "
                "a folder of img2dataset shards one with `septet index`"
            )
        self.manifest = Manifest.from_json(files.read_bytes(where), where)
        counts = [shard.samples for shard in self.manifest.shards]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
        self._open = lru_cache(maxsize=open_shards)(self._open_shard)

    @property
    def shards(self) -> Sequence[Shard]:
        """The manifest's shards."""
        return self.manifest.shards

    def _open_shard(self, number: int) -> ShardReader:
        shard = self.shards[number]
        return ShardReader(files.join(self.path, shard.tar), files.join(self.path, shard.sidecar))

    def shard(self, number: int) -> ShardReader:
        """The reader of the manifest's `number`-th shard."""
        return self._open(number)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def locate(self, index: int) -> tuple[int, int]:
        """Shard number and row of a sample.

        Raises:
            IndexError: `index` is not in [0, len(self)).
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a corpus of {len(self)}")
        number = bisect.bisect_right(self._starts, index) - 1
        return number, index - self._starts[number]

    def __getitem__(self, index: int) -> Sample:
        number, row = self.locate(index)
        return self.shard(number).read(row)

    def __iter__(self) -> Iterator[Sample]:
        for number in range(len(self.shards)):
            shard = self.shard(number)
            for row in range(len(shard)):
                yield shard.read(row)

    def key(self, index: int) -> str:
        """The key of a sample."""
        number, row = self.locate(index)
        key: str = self.shard(number).keys[row].as_py()
        return key

    def find(self, key: str) -> int:
        """The index of a key.

        Raises:
            KeyError: the corpus has no such sample.
        """
        for number, shard in enumerate(self.shards):
            if self.manifest.sorted_keys and not shard.first_key <= key <= shard.last_key:
                continue
            row = self.shard(number).keys.index(pa.scalar(key)).as_py()
            if row >= 0:
                return int(self._starts[number]) + int(row)
        raise KeyError(f"no sample {key!r} in {self.path}")

    def metadata(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """A shard's sidecar, or some columns of it."""
        return files.read_table(files.join(self.path, self.shards[number].sidecar), columns)
