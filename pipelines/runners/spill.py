"""The shuffles of the local runner, on disk: byte strings that workers write by group and read by
group.

Each worker appends to one file of its own, a *segment*, and keeps of each piece its group, offset
and length: 24 bytes. Pieces are sorted by group in runs of `RUN_BYTES`, so that a group is read in
few places. No process holds more than a run, or one group (one piece, where a step streams them).
"""

import os
import secrets
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from septet.preprocess import files

RUN_BYTES = 32 * 2**20
_DATA, _INDEX = ".segment", ".npy"


class SegmentWriter:
    """A writer of one segment below a folder; readers see it once it is closed."""

    def __init__(self, folder: Path):
        self._path = folder / secrets.token_hex(8)
        self._out = self._path.with_suffix(_DATA).open("wb")
        self._run: list[tuple[int, bytes]] = []
        self._bytes = 0
        self._end = 0
        self._index = array("q")

    def put(self, group: int, data: bytes) -> None:
        """Add a piece to a group."""
        self._run.append((group, data))
        self._bytes += len(data)
        if self._bytes >= RUN_BYTES:
            self._write_run()

    def close(self) -> None:
        """Write what is left, and the index."""
        self._write_run()
        with files.naming(self._path):
            self._out.close()
        index = np.frombuffer(self._index, np.int64).reshape(-1, 3)
        np.save(self._path.with_suffix(_INDEX), index[np.argsort(index[:, 0], kind="stable")])

    def discard(self) -> None:
        """Remove the segment: its step has failed."""
        self._out.close()
        self._path.with_suffix(_DATA).unlink(missing_ok=True)

    def _write_run(self) -> None:
        self._run.sort(key=lambda piece: piece[0])
        for group, data in self._run:
            self._index.extend((group, self._end, len(data)))
            self._end += len(data)
        with files.naming(self._path):
            self._out.writelines(data for _, data in self._run)
        self._run, self._bytes = [], 0


@dataclass(frozen=True)
class _Pieces:
    """The pieces of one group, as an iterable that holds one at a time."""

    read: Callable[[int], Iterator[bytes]]
    group: int

    def __iter__(self) -> Iterator[bytes]:
        return self.read(self.group)


class SegmentReader:
    """A reader of the groups of all segments of a folder."""

    def __init__(self, folder: Path):
        names = sorted(path.stem for path in folder.glob(f"*{_INDEX}"))
        self._index = [np.load(folder / f"{name}{_INDEX}", mmap_mode="r") for name in names]
        self._data = [os.open(folder / f"{name}{_DATA}", os.O_RDONLY) for name in names]

    def __enter__(self) -> "SegmentReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def groups(self) -> list[int]:
        """The groups that got anything, ascending."""
        found = [np.unique(index[:, 0]) for index in self._index]
        return np.unique(np.concatenate([np.empty(0, np.int64), *found])).tolist()

    def read(self, group: int) -> list[bytes]:
        """Read all pieces of a group, sorted: the order in which workers wrote them leaves no
        trace."""
        return sorted(self.pieces(group))

    def pieces(self, group: int) -> Iterable[bytes]:
        """The pieces of a group, read one by one each time that they are gone through."""
        return _Pieces(self._pieces, group)

    def close(self) -> None:
        """Close the segments."""
        for handle in self._data:
            os.close(handle)
        self._data, self._index = [], []

    def _pieces(self, group: int) -> Iterator[bytes]:
        for index, handle in zip(self._index, self._data, strict=True):
            first, end = np.searchsorted(index[:, 0], [group, group + 1])
            for _, offset, length in index[first:end].tolist():
                piece = os.pread(handle, length, offset)
                if len(piece) != length:
                    raise OSError(f"a shuffle's file was cut: {len(piece)} of {length} bytes")
                yield piece
