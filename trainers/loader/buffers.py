"""Memory of batches: rows are written to their places by threads, and what a consumer has let go is
used again."""

import math
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from septet.trainers.task import Lengths, Row

_LARGE = 2**20
"""Bytes from which on a tensor's memory is kept: smaller ones cost the allocator nothing."""


class Memory:
    """Memory for large tensors that is used again once the last tensor over it is gone, views
    included.

    New memory costs a page fault every 4 kB, a tenth of what it takes to decode an image into it.
    It never holds more blocks than were once lent at the same time.
    """

    def __init__(self) -> None:
        self.pinned = torch.cuda.is_available()
        """Whether tensors for a GPU are pinned."""
        self._lock = threading.Lock()
        self._spare: deque[NDArray[np.uint8]] = deque()

    def tensor(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Tensor:
        """A tensor on the host, of any content; pinned on a machine with a GPU, where torch itself
        keeps memory until copies from it are done."""
        size = math.prod(shape) * dtype.itemsize
        if self.pinned:
            kind = torch.from_numpy(np.empty(0, dtype)).dtype
            return torch.empty(*shape, dtype=kind, pin_memory=True)
        if size < _LARGE:
            return torch.from_numpy(np.empty(shape, dtype))
        block = self._take(size)
        # Who asks for the tensor's memory in whatever way holds this array, and not the block.
        lent = block[:size].view(dtype).reshape(shape)
        # A deque takes it without a lock, which this thread may hold when it collects garbage.
        weakref.finalize(lent, self._spare.append, block).atexit = False
        return torch.from_numpy(lent)

    def _take(self, size: int) -> NDArray[np.uint8]:
        """The smallest spare block that will do, if it is not twice as large; else a new one in
        place of a spare one."""
        with self._lock:
            spare = [self._spare.popleft() for _ in range(len(self._spare))]
            fits = [block for block in spare if size <= len(block) < 2 * size]
            chosen = min(fits, key=len) if fits else None
            kept = [block for block in spare if block is not chosen]
            self._spare.extend(kept if fits else kept[1:])
        return np.empty(size, np.uint8) if chosen is None else chosen


class BatchBuffer:
    """Rows that threads fill in one by one, so that a row is copied to its place while it is still
    in a core's cache."""

    def __init__(
        self,
        rows: int,
        lengths: Mapping[str, Lengths] | None = None,
        together: int = 1,
        memory: Memory | None = None,
    ):
        """
        Args:
            rows: How many.
            lengths: Inputs whose rows differ in length.
            together: See `Stream.together`; divides the rows.
            memory: Where large tensors are taken from.
        """
        self._memory = memory or Memory()
        self._rows, self._lengths, self._together = rows, lengths or {}, together
        self._lock, self._ready = threading.Lock(), False
        self.tensors: dict[str, Tensor] = {}
        """By name, [rows, ...], once a row is put; those of `lengths` with room for the longest."""
        self.found = np.zeros((len(self._lengths), rows), np.int64)
        """Lengths of rows, in the order of `lengths`."""
        self._slots: list[tuple[str, NDArray[Any], tuple[int, ...], np.dtype[Any]]] = []
        """Of each name its array, and a row's shape and type; without those of `lengths`."""
        self._uneven: dict[str, NDArray[Any]] = {}

    def put(self, i: int, row: Row) -> None:
        """Write row `i`.

        Raises:
            ValueError: it has other names, shapes or types than the first, or is too long.
        """
        if not self._ready:
            with self._lock:
                if not self._ready:
                    self._allocate(row)
                    self._ready = True
        if row.keys() != self.tensors.keys():
            raise ValueError(f"rows with {sorted(row)} and {sorted(self.tensors)} in one batch")
        for name, array, shape, dtype in self._slots:
            value = row[name]
            if value.shape != shape or value.dtype != dtype:
                raise ValueError(
                    f"rows of one batch differ in {name!r}: {value.dtype} {list(value.shape)} "
                    f"and {dtype} {list(shape)}"
                )
            array[i] = value
        for number, (name, array) in enumerate(self._uneven.items()):
            value, n = row[name], len(row[name])
            if n > array.shape[1] or value.shape[1:] != array.shape[2:]:
                raise ValueError(
                    f"a row's {name!r} is {list(value.shape)}; the stream's lengths allow "
                    f"{array.shape[1]}, and other axes are {list(array.shape[2:])}"
                )
            array[i, :n], array[i, n:] = value, self._lengths[name].pad
            self.found[number, i] = n

    def _allocate(self, row: Row) -> None:
        if absent := self._lengths.keys() - row.keys():
            raise ValueError(f"the stream has lengths of {sorted(absent)}; a row has {sorted(row)}")
        slots = []
        for name, value in row.items():
            shape = value.shape
            if name in self._lengths:
                shape = (self._lengths[name].buckets[-1], *shape[1:])
            tensor = self._memory.tensor((self._rows, *shape), value.dtype)
            self.tensors[name], array = tensor, tensor.numpy()
            if name not in self._lengths:
                slots.append((name, array, shape, array.dtype))
        self._uneven = {name: self.tensors[name].numpy() for name in self._lengths}
        self._slots = slots

    def cut(self, rows: int) -> Iterator[tuple[dict[str, Tensor], int]]:
        """Micro-batches of so many rows, with how long their uneven inputs are in all."""
        if not self._lengths:
            yield self.tensors, 0
            return
        whole = self.found.sum(0)
        groups = whole.reshape(-1, self._together)
        order = np.argsort(groups.max(1), kind="stable")
        order = np.arange(self._rows).reshape(groups.shape)[order].reshape(-1)
        for begin in range(0, self._rows, rows):
            part = order[begin : begin + rows]
            data = {}
            for name, x in self.tensors.items():
                if name in self._lengths:
                    longest = self.found[list(self._lengths).index(name), part].max()
                    buckets = self._lengths[name].buckets
                    x = x[:, : next(b for b in buckets if b >= longest)]
                data[name] = x[torch.from_numpy(part)]
            yield data, int(whole[part].sum())
