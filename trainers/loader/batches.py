"""Batches for one rank, read ahead by threads.

Which samples a step holds, and in which order, follows from a few numbers that are equal on all
ranks (`Progress`). Threads only change when a sample is decoded, never which.
"""

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from septet.trainers.loader.source import Source
from septet.trainers.task import Batch, Row, Task

_CHUNK = 8
"""Rows a thread takes at once."""


@dataclass
class Progress:
    """A run's place in its data: steps done and rows consumed of each stream."""

    step: int = 0
    consumed: dict[str, int] = field(default_factory=dict)

    def advance(self, rows: Mapping[str, int]) -> "Progress":
        """The progress one step later."""
        consumed = dict(self.consumed)
        for stream, n in rows.items():
            consumed[stream] = consumed.get(stream, 0) + n
        return Progress(self.step + 1, consumed)


@dataclass
class Step:
    """A step's data on one rank."""

    sub_batches: list[list[Batch]]
    """Micro-batches of each sub-batch."""
    after: Progress
    """Progress once this step is done."""


class BatchBuffer:
    """A micro-batch that threads fill row by row, so that a row is copied to its place while it
    is still in a core's cache. On a machine with a GPU its memory is pinned."""

    def __init__(self, rows: int):
        self._rows = rows
        self._lock = threading.Lock()
        self.tensors: dict[str, Tensor] = {}
        """By name, [rows, ...], once a row is put."""
        self._places: list[tuple[str, NDArray[Any], tuple[int, ...], np.dtype[Any]]] = []
        """Of each name its array, and a row's shape and type."""

    def put(self, i: int, row: Row) -> None:
        """Write row `i`.

        Raises:
            ValueError: it has other names, shapes or types than the first.
        """
        if not self._places:
            with self._lock:
                if not self._places:
                    self._places = self._allocate(row)
        if row.keys() != self.tensors.keys():
            raise ValueError(f"rows with {sorted(row)} and {sorted(self.tensors)} in one batch")
        for name, array, shape, dtype in self._places:
            value = row[name]
            if value.shape != shape or value.dtype != dtype:
                raise ValueError(
                    f"rows of one batch differ in {name!r}: {value.dtype} {list(value.shape)} "
                    f"and {dtype} {list(shape)}"
                )
            array[i] = value

    def _allocate(self, row: Row) -> list[tuple[str, NDArray[Any], tuple[int, ...], Any]]:
        for name, value in row.items():
            kind = torch.from_numpy(np.empty(0, value.dtype)).dtype
            self.tensors[name] = torch.empty(
                self._rows, *value.shape, dtype=kind, pin_memory=torch.cuda.is_available()
            )
        arrays = {name: tensor.numpy() for name, tensor in self.tensors.items()}
        return [(name, array, array.shape[1:], array.dtype) for name, array in arrays.items()]


class Loader:
    """Gives steps from `progress` on, for ever."""

    def __init__(
        self,
        task: Task,
        sources: Mapping[str, Source],
        *,
        seed: int,
        progress: Progress,
        rank: int = 0,
        world: int = 1,
        micro_batch: int | None = None,
        workers: int = 2,
        prefetch: int = 2,
        readahead: int = 0,
    ):
        """
        Args:
            task: Says what a step holds and how samples are read.
            sources: By stream.
            seed: Of the run.
            progress: Where to begin.
            rank: This process's, of `world`.
            world: How many share each step.
            micro_batch: Rows at once; all of a rank's share when absent.
            workers: Threads that decode; 0 decodes when asked.
            prefetch: Steps that are decoded ahead.
            readahead: Further steps whose bytes caches of remote corpora fetch.
        """
        self._task, self._sources, self._seed = task, sources, seed
        self._rank, self._world, self._micro = rank, world, micro_batch
        self._next, self._depth = progress, prefetch
        self._far, self._ahead = progress, readahead
        self._queue: deque[tuple[list[list[Any]], Progress]] = deque()
        # More threads than cores only take turns: decoding holds a core the whole time.
        self._pool = ThreadPoolExecutor(workers, "decode") if workers else None
        self._assembler = ThreadPoolExecutor(1, "assemble") if workers else None
        # It finds out where the samples of coming steps lie.
        self._scout = ThreadPoolExecutor(1, "scout") if readahead else None

    def _batch(self, stream: str, positions: range) -> "Batch | Future[Batch]":
        """One micro-batch, or the promise of it."""
        source, buffer = self._sources[stream], BatchBuffer(len(positions))
        if self._pool is None or self._assembler is None:
            self._fill(buffer, source, positions, 0)
            return self._assemble(stream, buffer)
        chunks = [
            self._pool.submit(self._fill, buffer, source, positions[i : i + _CHUNK], i)
            for i in range(0, len(positions), _CHUNK)
        ]

        def assemble() -> Batch:
            for chunk in chunks:
                chunk.result()
            return self._assemble(stream, buffer)

        return self._assembler.submit(assemble)

    @staticmethod
    def _fill(buffer: BatchBuffer, source: Source, positions: range, begin: int) -> None:
        for i, row in enumerate(source.rows(positions), begin):
            buffer.put(i, row)

    def _assemble(self, stream: str, buffer: BatchBuffer) -> Batch:
        batch = self._task.exchange(Batch(stream, buffer.tensors))
        if torch.cuda.is_available():  # What `exchange` made is not pinned yet.
            batch = Batch(stream, {name: x.pin_memory() for name, x in batch.data.items()})
        return batch

    def _plan(self, progress: Progress) -> tuple[list[tuple[str, list[range]]], Progress]:
        """A step's sub-batches on this rank, as positions of their streams by micro-batch, and
        the progress after it."""
        rows: dict[str, int] = {}
        parts = []
        for sub in self._task.plan(self._seed, progress.step):
            begin = progress.consumed.get(sub.stream, 0) + rows.get(sub.stream, 0)
            if sub.rows % self._world:
                raise ValueError(
                    f"a sub-batch of {sub.rows} rows ({sub.stream}) cannot be shared evenly by "
                    f"{self._world} ranks: choose a multiple"
                )
            share = sub.rows // self._world
            micro = min(self._micro or share, share)
            if share % micro:
                raise ValueError(
                    f"a rank's {share} rows of {sub.stream} are no multiple of "
                    f"train.micro_batch {micro}"
                )
            first = begin + self._rank * share
            cuts = [range(first + i, first + i + micro) for i in range(0, share, micro)]
            parts.append((sub.stream, cuts))
            rows[sub.stream] = rows.get(sub.stream, 0) + sub.rows
        return parts, progress.advance(rows)

    def _start(self) -> None:
        """Start to read the next step."""
        plan, self._next = self._plan(self._next)
        parts = [[self._batch(stream, cut) for cut in cuts] for stream, cuts in plan]
        self._queue.append((parts, self._next))
        while self._scout and self._far.step < self._next.step + self._ahead:
            plan, self._far = self._plan(self._far)
            for stream, cuts in plan:
                for cut in cuts:
                    self._scout.submit(self._sources[stream].read_ahead, cut)

    def __next__(self) -> Step:
        while len(self._queue) < (1 + self._depth if self._pool else 1):
            self._start()
        parts, after = self._queue.popleft()
        ready = [[m.result() if isinstance(m, Future) else m for m in part] for part in parts]
        return Step(ready, after)

    def __iter__(self) -> "Loader":
        return self

    def close(self) -> None:
        """Stop the threads; what was read ahead is dropped."""
        for pool in (self._scout, self._pool, self._assembler):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
