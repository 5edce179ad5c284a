"""Generation: whether what a model writes is what is expected, and how much of that it knows
without the image."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from septet.preprocess.shards.reader import Corpus
from septet.trainers.measures.parts import parts, total
from septet.trainers.task import Batch, Task

Generate = Callable[[nn.Module, Batch], Tensor]
"""From a batch to the ids that the module writes for it, [B, T]; zeros behind the end."""


def greedy(
    scores: Callable[[Tensor], Tensor],
    rows: int,
    start: int,
    end: int,
    longest: int,
    device: torch.device,
) -> Tensor:
    """The likeliest token at each place, until every row has ended.

    Args:
        scores: From ids so far [B, t] to scores of the next token, [B, words].
        rows: B.
        start: What every row begins with.
        end: What ends a row.
        longest: Tokens to write at most.
        device: Where.

    Returns:
        int64 [B, longest] without the start; zeros behind the end.
    """
    ids = torch.full((rows, 1), start, device=device)
    done = torch.zeros(rows, dtype=torch.bool, device=device)
    for _ in range(longest):
        following = scores(ids).argmax(-1).masked_fill(done, 0)
        ids = torch.cat([ids, following[:, None]], 1)
        done |= following == end
        if bool(done.all()):
            break
    return nn.functional.pad(ids[:, 1:], (0, longest + 1 - ids.shape[1]))


@contextmanager
def unsharded(module: nn.Module) -> Iterator[None]:
    """All parameters whole on every rank, gathered once. So ranks may run the module forward as
    often as each needs, and a token costs no gathering."""
    sharded = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in sharded:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in sharded:
            part.reshard()
            part.set_reshard_after_forward(part is not module, recurse=False)


class Generation:
    """How often the model writes exactly what is expected.

    | figure | what it is |
    |---|---|
    | `exact` | share of rows whose ids are all right |
    | `exact_other_image` | the same with each row seeing its neighbour's image |
    """

    name = "generation"

    def __init__(
        self,
        task: Task,
        stream: str,
        corpus: Corpus,
        generate: Generate,
        target: str,
        samples: int = 256,
        batch: int = 64,
        image: Sequence[str] = ("pixels",),
    ):
        """
        Args:
            task: Reads the rows; its evaluation view.
            stream: Of the rows.
            corpus: Whose samples are read.
            generate: See `Generate`.
            target: The input that holds what is expected, [B, T]; zeros behind the end.
            samples: How many at most.
            batch: Rows at once.
            image: What a row has of its image.
        """
        self._generate, self._target, self._image = generate, target, image
        self._parts = parts(task, stream, corpus, samples, batch)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        right: Counter[str] = Counter()
        with unsharded(module):
            for part in self._parts:
                if not part.counts:
                    continue
                batch = part.batch.to(device)
                other = {name: batch.data[name].roll(1, 0) for name in self._image}
                swapped = Batch(batch.kind, {**batch.data, **other})
                expected = batch.data[self._target]
                for view, seen in (("exact", batch), ("exact_other_image", swapped)):
                    ids = self._generate(module, seen)
                    missing = max(0, expected.shape[1] - ids.shape[1])
                    ids = nn.functional.pad(ids, (0, missing))
                    same = (ids[:, : expected.shape[1]] == expected).all(1)
                    right[view] += int(same.sum())
                right["rows"] += len(batch)
        right = total(right)
        return {view: right[view] / right["rows"] for view in ("exact", "exact_other_image")}
