"""Vectors of a column by the thousand: an array of each sample's value, read in slices."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from septet.preprocess import files
from septet.preprocess.columns.members import unpack_arrays
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.sidecar import SidecarError, read_sidecar
from septet.schemas.columns import ColumnManifest
from septet.schemas.layout import column_sidecar, column_tar

_BYTES_AT_ONCE = 2**20
"""So few that memory is used again, not asked of the system for each slice: three times as fast."""
_MOST_BYTES = 2**20
"""A larger value is no vector."""
Rows = NDArray[np.int64]
Vectors = NDArray[np.float16]


class VectorColumn:
    """The vectors of a column whose values are safetensors of float16.

    Where members lie is kept once it was read: 16 bytes a sample.

    Args:
        corpus: The corpus.
        head: The column's head.
        array: The name of the array.

    Raises:
        ValueError: the column has no such vectors.
    """

    def __init__(self, corpus: Corpus, head: ColumnManifest, array: str):
        form = head.member.arrays.get(array)
        if head.member.kind != "safetensors" or form is None or form.dtype != "float16":
            raise ValueError(f"{head.name} has no vectors {array!r} of float16")
        if len(form.shape) != 1 or not isinstance(form.shape[0], int):
            raise ValueError(f"{head.name} has {array!r} of shape {form.shape}, which is no vector")
        self._corpus, self._name, self.array = corpus, head.name, array
        self.width = form.shape[0]
        self._places: dict[int, tuple[Rows, Rows]] = {}

    def shard(self, number: int, rows: Rows) -> Iterator[tuple[Rows, Vectors]]:
        """Vectors of a shard in slices: numbers of rows [n] of those that have one, and [n, width].

        Args:
            number: The shard.
            rows: The rows that are wanted, rising.

        Raises:
            SidecarError: the column's sidecar cannot be read.
            OSError: its tar cannot be read, or ends early.
        """
        offsets, sizes = self._where(number)
        rows = rows[(rows < len(sizes))]
        rows = rows[(sizes[rows] > 0) & (sizes[rows] <= _MOST_BYTES)]
        path = files.join(
            self._corpus.path, column_tar(self._name, self._corpus.shards[number].tar)
        )
        file: Any = files.open_read(path)
        with file:
            for run in _runs(rows, offsets, sizes):
                first, last = run[0], run[-1]
                file.seek(int(offsets[first]))
                data = file.read(int(offsets[last] + sizes[last] - offsets[first]))
                yield from self._of_run(run, data, offsets, int(sizes[first]))

    def _where(self, number: int) -> tuple[Rows, Rows]:
        """Offset and size of each row's member."""
        if number not in self._places:
            shard = self._corpus.shards[number]
            path = files.join(self._corpus.path, column_sidecar(self._name, shard.tar))
            members = read_sidecar(path, ["members"], shard.samples)["members"].combine_chunks()
            entries = members.flatten()
            if members.null_count or len(entries) != len(members):
                raise SidecarError(f"{path}: a row has not one member")
            offsets, sizes = (
                entries.field(name).to_numpy(zero_copy_only=False).astype(np.int64)
                for name in ("offset", "size")
            )
            if len(sizes) and min(offsets.min(), sizes.min()) < 0:
                raise SidecarError(f"{path}: a member has a negative offset or size")
            self._places[number] = offsets, sizes
        return self._places[number]

    def _of_run(
        self, run: Rows, data: bytes, offsets: Rows, size: int
    ) -> Iterator[tuple[Rows, Vectors]]:
        """The vectors of rows at equal distances; a value of another form has none."""
        stride = int(offsets[run[1]] - offsets[run[0]]) if len(run) > 1 else size
        if len(data) < stride * (len(run) - 1) + size:
            raise OSError(f"the tar of {self._name} ends before its last value")
        values = np.lib.stride_tricks.as_strided(
            np.frombuffer(data, np.uint8), (len(run), size), (stride, 1), writeable=False
        )
        begin, head = self._place(values[0].tobytes())
        alike = (
            (values[:, :head] == values[0, :head]).all(axis=1) if head else np.zeros(len(run), bool)
        )
        if alike.any():
            part = np.ascontiguousarray(values[alike, begin : begin + 2 * self.width])
            yield run[alike], part.view("<f2")
        for row, value in zip(run[~alike], values[~alike], strict=True):
            try:
                vector = unpack_arrays(value.tobytes()).get(self.array)
            except ValueError:
                continue
            if vector is not None and vector.dtype == np.float16 and vector.shape == (self.width,):
                yield np.array([row]), vector[None]

    def _place(self, value: bytes) -> tuple[int, int]:
        """Where the vector begins in a value, and the size of the value's head; zeros where it is
        of no form that is known."""
        try:
            head = 8 + int.from_bytes(value[:8], "little")
            told = json.loads(value[8:head])[self.array]
            begin, end = told["data_offsets"]
            whole = told["dtype"] == "F16" and told["shape"] == [self.width]
        except (ValueError, KeyError, TypeError):
            return 0, 0
        fits = whole and end - begin == 2 * self.width and begin >= 0 and head + end <= len(value)
        return (head + begin, head) if fits else (0, 0)


def _runs(rows: Rows, offsets: Rows, sizes: Rows) -> Iterator[Rows]:
    """Rows whose values are of equal size and lie at equal distances, not too many at once."""
    at = 0
    while at < len(rows):
        size = sizes[rows[at]]
        rest = rows[at : at + 2 + _BYTES_AT_ONCE // int(size + 512)]
        steps = np.diff(offsets[rest])
        broken = (steps != steps[:1]) | (steps < size) | (steps > 2 * size + 2048)
        broken |= sizes[rest[1:]] != size
        count = int(np.argmax(broken)) + 1 if broken.any() else len(rest)
        yield rest[:count]
        at += count
