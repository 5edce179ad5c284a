"""Each rank's share of the samples that a measure is taken on.

Batch b of a held-out corpus is read and run by rank b modulo their number alone, so figures do not
depend on how many ranks there are.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from septet.preprocess.shards.reader import Corpus, Sample
from septet.trainers.draws import generator
from septet.trainers.loader.batches import BatchBuffer
from septet.trainers.loader.kept import Kept
from septet.trainers.loader.members import Members
from septet.trainers.task import Batch, Lengths, Row, SampleError, Task

T = TypeVar("T")


class Part(NamedTuple):
    """A batch that a rank runs."""

    batch: Batch
    counts: bool
    """Whether the batch is the rank's own. Sharded modules of all ranks run forward together, so
    where there are fewer batches left than ranks, the others repeat one."""


def parts(
    task: Task, stream: str, corpus: Corpus, most: int, size: int, drawn: bool = False,
    also: Callable[[Row, Sample], Row] | None = None,
) -> list[Part]:  # fmt: skip
    """This rank's share of the first samples, as the task reads them: of those languages that the
    stream reads (`Languages.only`); `drawn` with randomness of the key, and with what `also` makes
    of a row and its sample.

    Raises:
        ValueError: there is none, or a column is missing.
    """
    wanted = task.streams[stream]
    members, kept = Members(corpus, wanted, task), Kept(corpus, wanted.columns)
    only = wanted.languages.only if wanted.languages else ()

    def rows(shard: int) -> NDArray[np.int64]:
        if not only or members.languages is None:
            return kept.rows(shard)
        return np.concatenate([members.languages.rows(shard, kept, code) for code in only])

    places = (
        (shard, row)
        for shard in range(len(kept.counts))
        for row in np.setdiff1d(rows(shard), corpus.removed.of(shard)).tolist()
    )

    def read(shard: int, row: int) -> Row:
        sample = members.read(shard, row)
        draw = partial(generator, "measure", sample.key)
        found = task.read(stream, sample, draw if drawn else None)
        if wanted.joins:
            found, _ = task.join(stream, iter([found]), draw)
        return also(found, sample) if also else found

    return share(stream, list(islice(places, most)), read, size, corpus.path, wanted.lengths)


def share(
    stream: str,
    places: Sequence[tuple[int, int]],
    read: Callable[[int, int], Row],
    size: int,
    corpus: str,
    lengths: Mapping[str, Lengths] | None = None,
) -> list[Part]:
    """This rank's share of the samples at (shard, row) in batches of `size`."""
    rank, world = rank_and_world()
    cuts = [places[i : i + size] for i in range(0, len(places), size)]
    if not cuts:
        raise ValueError(f"{corpus} has no sample of {stream} to measure on")
    found = []
    for number in range(rank, -(-len(cuts) // world) * world, world):
        rows, reason = [], ""
        for shard, row in cuts[number % len(cuts)]:
            try:
                rows.append(read(shard, row))
            except SampleError as error:
                reason = str(error)  # A measure needs no full batch.
        if not rows:
            raise ValueError(
                f"{corpus}: none of {size} samples of {stream} in a row can be measured on; the "
                f"last one: {reason}"
            )
        buffer = BatchBuffer(len(rows), lengths)
        for i, inputs in enumerate(rows):
            buffer.put(i, inputs)
        ((data, _),) = buffer.cut(len(rows))
        found.append(Part(Batch(stream, data), number < len(cuts)))
    return found


def even(part: Part) -> Part:
    """Without the last row of an odd number; a single row is doubled, and does not count."""
    rows = len(part.batch) // 2 * 2
    data = {n: x[:rows] if rows else torch.cat([x, x]) for n, x in part.batch.data.items()}
    return Part(Batch(part.batch.kind, data), part.counts and rows > 0)


def rank_and_world() -> tuple[int, int]:
    """This rank, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gathered(value: T) -> list[T]:
    """Every rank's value, in the order of ranks."""
    _, world = rank_and_world()
    if world == 1:
        return [value]
    found: list[T | None] = [None] * world
    dist.all_gather_object(found, value)
    return found  # type: ignore[return-value]


def total(counts: Counter[T]) -> Counter[T]:
    """The sum over ranks."""
    found: Counter[T] = Counter()
    for each in gathered(counts):
        found.update(each)
    return found
