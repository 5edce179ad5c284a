"""Batches for one rank, read ahead by threads.

Which samples a step holds, and in which order, follows from a few numbers that are equal on all
ranks (`Progress`). Threads only change when a sample is decoded, never which.
"""

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from septet.trainers.draws import generator
from septet.trainers.loader.source import Source
from septet.trainers.loader.tally import Counted, Tally
from septet.trainers.task import Batch, Lengths, Row, SubBatch, Task

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
    tally: Tally = field(default_factory=Tally)
    """What this rank's rows are."""


class BatchBuffer:
    """Rows that threads fill in one by one, so that a row is copied to its place while it is still
    in a core's cache. On a machine with a GPU its memory is pinned."""

    def __init__(self, rows: int, lengths: Mapping[str, Lengths] | None = None, together: int = 1):
        """
        Args:
            rows: How many.
            lengths: Inputs whose rows differ in length.
            together: See `Stream.together`; divides the rows.
        """
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
        pinned, slots = torch.cuda.is_available(), []
        for name, value in row.items():
            shape = value.shape
            if name in self._lengths:
                shape = (self._lengths[name].buckets[-1], *shape[1:])
            kind = torch.from_numpy(np.empty(0, value.dtype)).dtype
            tensor = torch.empty(self._rows, *shape, dtype=kind, pin_memory=pinned)
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


Piece = tuple[str, range]
"""Positions in a row of one stream."""

Filled = tuple[list[Batch], Tally]
"""Micro-batches, and what their rows are."""


@dataclass(frozen=True)
class Share:
    """A sub-batch on one rank."""

    kind: str
    micro: list[list[Piece]]
    """What each micro-batch is read from; lengths may change which rows stand together."""


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
        if task.pooled and any(stream.lengths for stream in task.streams.values()):
            raise ValueError("inputs that differ in length cannot be pooled over micro-batches")
        self._task, self._sources, self._seed = task, sources, seed
        self._rank, self._world, self._micro = rank, world, micro_batch
        self._next, self._depth = progress, prefetch
        self._far, self._ahead = progress, readahead
        self._queue: deque[tuple[list[Filled | Future[Filled]], Progress]] = deque()
        # More threads than cores only take turns: decoding holds a core the whole time.
        self._pool = ThreadPoolExecutor(workers, "decode") if workers else None
        self._assembler = ThreadPoolExecutor(1, "assemble") if workers else None
        # Prefetches blocks of remote corpora.
        self._scout = ThreadPoolExecutor(1, "scout") if readahead else None

    def _batches(self, share: Share) -> "Filled | Future[Filled]":
        """A sub-batch's micro-batches and what their rows are, or the promise of them."""
        streams = {stream: self._task.streams[stream] for ps in share.micro for stream, _ in ps}
        first = next(iter(streams.values()))
        lengths, together = first.lengths, first.together
        rows = sum(len(positions) for _, positions in share.micro[0])
        # Rows that differ in length are sorted before they are cut.
        parts = [list(itertools.chain(*share.micro))] if lengths else share.micro
        buffers, chunks = [], []
        for pieces in parts:
            count = sum(len(positions) for _, positions in pieces)
            buffer = BatchBuffer(count, lengths, together)
            buffers.append(buffer)
            chunks += [(buffer, chunk, at) for at, chunk in _chunks(pieces)]
        counts = [sum(streams[s].tokens * len(p) for s, p in pieces) for pieces in share.micro]

        def assemble(counted: Iterable[list[Counted]]) -> Filled:
            tally = Tally(itertools.chain(*counted))
            cuts = (found for buffer in buffers for found in buffer.cut(rows))
            return [
                self._assemble(share.kind, data, count + uneven)
                for count, (data, uneven) in zip(counts, cuts, strict=True)
            ], tally

        if self._pool is None or self._assembler is None:
            return assemble([self._fill(*chunk) for chunk in chunks])
        filled = [self._pool.submit(self._fill, *chunk) for chunk in chunks]
        return self._assembler.submit(lambda: assemble([each.result() for each in filled]))

    def _fill(self, buffer: BatchBuffer, pieces: Sequence[Piece], at: int) -> list[Counted]:
        found: list[Counted] = []
        for stream, positions in pieces:
            for row, counted in self._sources[stream].rows(positions):
                buffer.put(at, row)
                found += counted
                at += 1
        return found

    def _assemble(self, kind: str, data: dict[str, Tensor], tokens: int) -> Batch:
        batch = self._task.exchange(Batch(kind, data))
        data, places = batch.data, self._task.places(batch)
        if torch.cuda.is_available():  # What was made here is not pinned yet.
            data, places = (
                {name: x.pin_memory() for name, x in tensors.items()} for tensors in (data, places)
            )
        return replace(batch, data=data, tokens=tokens, places=places)

    def _plan(self, progress: Progress) -> tuple[list[Share], Progress]:
        """A step's sub-batches on this rank, and the progress after it."""
        rows: Counter[str] = Counter()
        shares = []
        for number, sub in enumerate(self._task.plan(self._seed, progress.step)):
            self._check(sub)
            if not sub.total:
                continue
            if sub.total % self._world:
                raise ValueError(
                    f"a sub-batch of {sub.total} rows ({sub.kind}) cannot be shared evenly by "
                    f"{self._world} ranks: choose a multiple"
                )
            share = sub.total // self._world
            micro = min(self._micro or share, share)
            if share % micro:
                raise ValueError(
                    f"a rank's {share} rows of {sub.kind} are no multiple of "
                    f"train.micro_batch {micro}"
                )
            together = self._task.streams[next(iter(sub.rows))].together
            if share % together or micro % together:
                raise ValueError(
                    f"a rank's {share} rows of {sub.kind}, {micro} at once, are no whole number of "
                    f"the groups of {together} rows that the model needs: choose multiples"
                )
            begins = {s: progress.consumed.get(s, 0) + rows[s] for s in sub.rows}
            first = self._rank * share
            pieces = self._pieces(sub, begins, (progress.step, number))
            cuts = [list(pieces(first + i, first + i + micro)) for i in range(0, share, micro)]
            shares.append(Share(sub.kind, cuts))
            rows.update(sub.rows)
        if not shares:
            raise ValueError(f"{type(self._task).__name__}: step {progress.step} has no rows")
        return shares, progress.advance(rows)

    def _check(self, sub: SubBatch) -> None:
        name, streams = type(self._task).__name__, self._task.streams
        if sub.kind not in self._task.kinds or sub.rows.keys() - streams.keys():
            odd = sorted(sub.rows.keys() - streams.keys()) or [sub.kind]
            raise ValueError(
                f"{name}: `plan` gave rows of {', '.join(odd)}; its kinds are "
                f"{', '.join(self._task.kinds)}, its streams {', '.join(streams)}"
            )
        if any(n < 0 for n in sub.rows.values()):
            raise ValueError(f"{name}: `plan` gave {dict(sub.rows)} rows of {sub.kind}")
        forms = [(streams[stream].lengths, streams[stream].together) for stream in sub.rows]
        if any(each != forms[0] for each in forms):
            raise ValueError(
                f"{name}: streams of one sub-batch ({sub.kind}) differ in `lengths` or `together`"
            )

    def _pieces(
        self, sub: SubBatch, begins: Mapping[str, int], place: tuple[int, int]
    ) -> Callable[[int, int], Iterator[Piece]]:
        """Gives the positions of any rows of a sub-batch."""
        streams = [stream for stream, n in sub.rows.items() if n]
        if len(streams) == 1:
            (stream,) = streams
            return lambda i, j: iter([(stream, range(begins[stream] + i, begins[stream] + j))])
        counts = [sub.rows[stream] for stream in streams]
        order = generator("rows", self._seed, *place).permutation(sum(counts))
        starts = np.concatenate([[0], np.cumsum(counts)])

        def pieces(i: int, j: int) -> Iterator[Piece]:
            for row in order[i:j].tolist():
                which = int(np.searchsorted(starts, row, side="right")) - 1
                position = begins[streams[which]] + row - int(starts[which])
                yield streams[which], range(position, position + 1)

        return pieces

    def _start(self) -> None:
        """Start to read the next step."""
        shares, self._next = self._plan(self._next)
        self._queue.append(([self._batches(share) for share in shares], self._next))
        while self._scout and self._far.step < self._next.step + self._ahead:
            shares, self._far = self._plan(self._far)
            for share in shares:
                for stream, positions in itertools.chain(*share.micro):
                    self._scout.submit(self._sources[stream].read_ahead, positions)

    def __next__(self) -> Step:
        while len(self._queue) < (1 + self._depth if self._pool else 1):
            self._start()
        parts, after = self._queue.popleft()
        ready = [part.result() if isinstance(part, Future) else part for part in parts]
        tally = sum((each for _, each in ready), Tally())
        return Step([batches for batches, _ in ready], after, tally)

    def __iter__(self) -> "Loader":
        return self

    def close(self) -> None:
        """Stop the threads; what was read ahead is dropped."""
        for pool in (self._scout, self._pool, self._assembler):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)


def _chunks(pieces: Sequence[Piece]) -> Iterator[tuple[int, list[Piece]]]:
    """Pieces for a thread to read at once, with how many rows come before them."""
    at, begin, size = 0, 0, 0
    chunk: list[Piece] = []
    for stream, positions in pieces:
        for i in range(0, len(positions), _CHUNK):
            chunk.append((stream, positions[i : i + _CHUNK]))
            size += len(chunk[-1][1])
            at += len(chunk[-1][1])
            if size >= _CHUNK:
                yield begin, chunk
                chunk, begin, size = [], at, 0
    if chunk:
        yield begin, chunk
