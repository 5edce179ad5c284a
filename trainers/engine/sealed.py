"""A checkpoint's files, on disk or in an object store, sealed by their sizes and checksums.

`COMPLETE` is written last, by the rank that collects what all ranks wrote: JSON with the size and
the CRC-32 (libdeflate's) of every other file, taken of the bytes on their way out. A folder without
it is no checkpoint; a file that differs from it is damaged.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import deflate
import fsspec
from torch.distributed.checkpoint import (
    FileSystemReader,
    FileSystemWriter,
    FsspecReader,
    FsspecWriter,
    Metadata,
)
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from septet.preprocess import files

SEAL = "COMPLETE"
STATE = "state.json"
_BLOCK = 2**22

Sums = dict[str, tuple[int, int]]
"""Size and CRC-32 of files, by name."""


def is_sealed(folder: str) -> bool:
    """Whether a folder is a complete checkpoint."""
    return files.exists(files.join(folder, SEAL))


def read_state(folder: str) -> dict[str, Any]:
    """What was saved beside the tensors."""
    state: dict[str, Any] = json.loads(files.read_bytes(files.join(folder, STATE)))
    return state


def reader(folder: str) -> FileSystemReader:
    """For `torch.distributed.checkpoint` to read with."""
    return FileSystemReader(folder) if files.is_local(folder) else FsspecReader(folder)


def damage(folder: str, rank: int = 0, size: int = 1) -> str | None:
    """What is wrong with a sealed checkpoint's files, in words; None if nothing is.

    Args:
        folder: Of the checkpoint.
        rank: Which share of the files to look at,
        size: of so many.

    Raises:
        OSError: the storage fails.
    """
    try:
        sums: Sums = json.loads(files.read_bytes(files.join(folder, SEAL)))["files"]
        wanted = [(name, *sums[name]) for name in sorted(sums)]
    except (ValueError, KeyError, TypeError):
        return f"{SEAL} is cut or changed"
    for name, length, crc in wanted[rank::size]:
        try:
            found, now = _sum(files.join(folder, name))
        except FileNotFoundError:
            return f"{name} is missing"
        if found != length:
            return f"{name} has {found:,} bytes, {length:,} were written"
        if now != crc:
            return f"{name} is not what was written (CRC-32)"
    return None


def _sum(path: str) -> tuple[int, int]:
    size, crc = 0, 0
    with fsspec.open(path, "rb") as file:
        while block := file.read(_BLOCK):
            size, crc = size + len(block), deflate.crc32(block, crc)
    return size, crc


class _SummedFile:
    """A stream, with the size and the checksum of what is written to it."""

    def __init__(self, stream: Any):
        self._stream, self.size, self.crc = stream, 0, 0

    def write(self, data: Any) -> int:
        flat = memoryview(data).cast("B")
        self.size, self.crc = self.size + len(flat), deflate.crc32(flat, self.crc)
        return int(self._stream.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _SummedFiles:
    """A file system of `torch.distributed.checkpoint` that sums up what is written to it."""

    def __init__(self, plain: Any):
        self._plain, self.sums = plain, Sums()

    @contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        with self._plain.create_stream(path, mode) as stream:
            summed = _SummedFile(stream)
            yield summed
        self.sums[_name(path)] = (summed.size, summed.crc)

    def rename(self, path: Any, new_path: Any) -> None:
        self._plain.rename(path, new_path)
        self.sums[_name(new_path)] = self.sums.pop(_name(path))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


def _name(path: Any) -> str:
    return str(path).rsplit("/", 1)[-1]


@dataclass
class _RankSums:
    """What a rank wrote, on its way to the rank that seals."""

    sums: Sums


class SealingWriter(FileSystemWriter):
    """Writes a checkpoint's tensors, its state and, once all ranks have written, the seal."""

    def __init__(self, folder: str, state: Mapping[str, Any]):
        super().__init__(folder)
        if not files.is_local(folder):
            remote = FsspecWriter(folder)
            self.fs, self.path, self.sync_files = remote.fs, remote.path, False
        self._summed = _SummedFiles(self.fs)
        self.fs = self._summed  # type: ignore[assignment]
        self._folder, self._state = folder, json.dumps(state, indent=1).encode()

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """This rank's tensors."""
        written: list[Any] = super().write_data(plan, planner).wait()
        done: Future[list[WriteResult]] = Future()
        written.append(_RankSums(dict(self._summed.sums)))
        done.set_result(written)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """On the collecting rank: metadata, state and seal."""
        sums: Sums = {}
        tensors = []
        for found in results:
            tensors.append([one for one in found if not isinstance(one, _RankSums)])
            for one in found:
                sums |= one.sums if isinstance(one, _RankSums) else {}
        super().finish(metadata, tensors)
        files.write_bytes(files.join(self._folder, STATE), self._state)
        sums |= self._summed.sums
        sums[STATE] = (len(self._state), deflate.crc32(self._state))
        _sync(self._folder)
        files.write_bytes(
            files.join(self._folder, SEAL), json.dumps({"files": sums}, indent=1).encode()
        )
        _sync(self._folder)


def _sync(folder: str) -> None:
    """The names in a local folder are on its disk."""
    if files.is_local(folder):
        handle = os.open(files.local_path(folder), os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
