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

import numpy as np
from torch import Tensor

from septet.trainers.draws import generator
from septet.trainers.loader.buffers import BatchBuffer, Memory
from septet.trainers.loader.source import Source
from septet.trainers.loader.tally import Counted, Tally
from septet.trainers.task import Batch, SubBatch, Task

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


Piece = tuple[str, range]
"""Positions in a row of one stream."""

Filled = tuple[list[Batch], Tally]
"""Micro-batches, and what their rows are."""


Chunk = tuple[BatchBuffer, Sequence[Piece], int]
"""Rows for a thread to read at once: where they are put, their positions, and the first one's place
there."""


@dataclass(frozen=True)
class Share:
    """A sub-batch on one rank."""

    kind: str
    micro: list[list[Piece]]
    """What each micro-batch is read from; lengths may change which rows stand together."""


class Filling:
    """A sub-batch that threads fill, a chunk of rows each; who ends last assembles it.

    So a consumer waits for one promise, and no thread for another.
    """

    def __init__(
        self,
        chunks: Sequence[Chunk],
        fill: Callable[[BatchBuffer, Sequence[Piece], int], list[Counted]],
        assemble: Callable[[Iterable[list[Counted]]], Filled],
    ):
        self.promise: Future[Filled] = Future()
        self._chunks, self._fill, self._assemble = chunks, fill, assemble
        self._counted: list[list[Counted]] = []
        self._lock = threading.Lock()

    def take(self, number: int) -> None:
        """Fill a chunk; where another one failed there is nothing to do."""
        if self.promise.done():
            return
        try:
            counted = self._fill(*self._chunks[number])
            with self._lock:
                self._counted.append(counted)
                last = len(self._counted) == len(self._chunks)
            if last:
                self.promise.set_result(self._assemble(self._counted))
        except BaseException as error:
            with self._lock:
                if not self.promise.done():
                    self.promise.set_exception(error)


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
        self._memory = Memory()
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
            buffer = BatchBuffer(count, lengths, together, self._memory)
            buffers.append(buffer)
            most = _CHUNK if self._pool else count
            chunks += [(buffer, chunk, at) for at, chunk in _chunks(pieces, most)]
        counts = [sum(streams[s].tokens * len(p) for s, p in pieces) for pieces in share.micro]

        def assemble(counted: Iterable[list[Counted]]) -> Filled:
            tally = Tally(itertools.chain(*counted))
            cuts = (found for buffer in buffers for found in buffer.cut(rows))
            return [
                self._assemble(share.kind, data, count + uneven)
                for count, (data, uneven) in zip(counts, cuts, strict=True)
            ], tally

        if self._pool is None:
            return assemble([self._fill(*chunk) for chunk in chunks])
        filling = Filling(chunks, self._fill, assemble)
        for number in range(len(chunks)):
            self._pool.submit(filling.take, number)
        return filling.promise

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
        if self._memory.pinned:  # What was made here is not pinned yet.
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
        for pool in (self._scout, self._pool):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)


def _chunks(pieces: Sequence[Piece], most: int) -> Iterator[tuple[int, list[Piece]]]:
    """Pieces to read at once, of so many rows, with how many rows come before them."""
    at, begin, size = 0, 0, 0
    chunk: list[Piece] = []
    for stream, positions in pieces:
        for i in range(0, len(positions), most):
            chunk.append((stream, positions[i : i + most]))
            size += len(chunk[-1][1])
            at += len(chunk[-1][1])
            if size >= most:
                yield begin, chunk
                chunk, begin, size = [], at, 0
    if chunk:
        yield begin, chunk
