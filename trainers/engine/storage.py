"""A checkpoint's tensors, written and read by `torch.distributed.checkpoint`.

That takes longer to import than torch, so this module is imported by the first save or load.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import deflate
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import (
    FileSystemReader,
    FileSystemWriter,
    FsspecReader,
    FsspecWriter,
    Metadata,
)
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future as TorchFuture

from septet.preprocess import files
from septet.trainers.engine.sealed import SEAL, STATE, Sums
from septet.trainers.standard_json import to_json

FAILURES: tuple[type[BaseException], ...] = (OSError, CheckpointException)
"""What a save or load raises where the storage fails."""


def save(state: dict[str, Any], folder: str, record: Mapping[str, Any], alone: bool) -> None:
    """Write tensors and a record, sealed; all ranks together unless one is `alone`."""
    dcp.save(state, storage_writer=_SealingWriter(folder, record), no_dist=alone)


def save_in_background(
    state: dict[str, Any],
    folder: str,
    record: Mapping[str, Any],
    group: dist.ProcessGroup | None,
) -> Future[Any]:
    """The same once the tensors are copied; `group` is for it alone."""
    writer = _SealingWriter(folder, record)
    found: Any = dcp.async_save(state, storage_writer=writer, process_group=group)
    return found


def load(state: dict[str, Any], folder: str, alone: bool) -> None:
    """Read tensors in place."""
    dcp.load(state, storage_reader=_reader(folder), no_dist=alone)


def stored(folder: str) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shapes and types of the tensors in a folder, by group and name."""
    known = _reader(folder).read_metadata().state_dict_metadata
    return {
        key: (x.size, x.properties.dtype)
        for key, x in known.items()
        if isinstance(x, TensorStorageMetadata)
    }


def _reader(folder: str) -> FileSystemReader:
    return (
        FileSystemReader(folder)
        if files.is_local(folder)
        else FsspecReader(folder, **files.STORE_OPTIONS)
    )


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


class _SealingWriter(FileSystemWriter):
    """Writes a checkpoint's tensors, its state and, once all ranks have written, the seal."""

    def __init__(self, folder: str, state: Mapping[str, Any]):
        super().__init__(folder)
        if not files.is_local(folder):
            remote = FsspecWriter(folder, **files.STORE_OPTIONS)
            self.fs, self.path, self.sync_files = remote.fs, remote.path, False
        self._summed = _SummedFiles(self.fs)
        self.fs = self._summed  # type: ignore[assignment]
        self._folder, self._state = folder, to_json(state, indent=1).encode()

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> TorchFuture[list[WriteResult]]:
        """This rank's tensors."""
        written: list[Any] = super().write_data(plan, planner).wait()
        done: TorchFuture[list[WriteResult]] = TorchFuture()
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
            files.join(self._folder, SEAL), to_json({"files": sums}, indent=1).encode()
        )
        _sync(self._folder)


def _sync(folder: str) -> None:
    """The names in a local folder are on its disk."""
    if files.is_local(folder):
        handle = os.open(files.local_path(folder), os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
