"""Side files of a corpus: tables that belong to all of it, from which tasks draw (captions,
answers, names of things)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from septet.preprocess import files


class Lines(Sequence[str]):
    """The lines of a UTF-8 file, any of them at the cost of its own bytes.

    A local file is mapped, not read; of a remote one all bytes are read.

    Raises:
        ValueError: there is no such file.
    """

    def __init__(self, path: str):
        if not files.exists(path):
            raise ValueError(f"{path}: there is no such side file")
        self._data: NDArray[np.uint8]
        if files.is_local(path) and files.local_path(path).stat().st_size:
            self._data = np.memmap(files.local_path(path), np.uint8, "r")
        else:
            self._data = np.frombuffer(files.read_bytes(path), np.uint8)
        ends = np.flatnonzero(self._data == ord("\n"))
        if len(self._data) and (not len(ends) or ends[-1] != len(self._data) - 1):
            ends = np.append(ends, len(self._data))
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"line {i} of {len(self)}")
        i %= len(self)
        begin = int(self._ends[i - 1]) + 1 if i else 0
        return self._data[begin : self._ends[i]].tobytes().decode()


@dataclass(frozen=True)
class SideFiles:
    """The side files that a stream asks for, of one corpus."""

    corpus: str
    """Name of the corpus, as `ReadSample.corpus` has it."""
    paths: dict[str, str]
    """By name of the file."""

    def lines(self, name: str) -> Lines:
        """A file's lines."""
        return Lines(self.paths[name])

    def digest(self, base: str) -> str:
        """`base` changed by the content of the files; the same where there are none.

        Raises:
            ValueError: a file is missing.
        """
        if not self.paths:
            return base
        found = hashlib.sha256(base.encode())
        for name, path in sorted(self.paths.items()):
            if not files.exists(path):
                raise ValueError(f"{path}: the task draws from this side file; there is none")
            found.update(f"{name} {files.sha256(path)}\n".encode())
        return found.hexdigest()
