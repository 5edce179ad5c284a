"""Likelier: whether a model finds what is to be written likelier for the sample's own image or
source text than for another's. It shows what is learnt of targets of which much is left open (an
image that a caption tells little of), where what is written greedily shows nothing."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.generate.cache import Generative
from septet.trainers.generate.write import unsharded
from septet.trainers.measures.parts import parts, total
from septet.trainers.task import Batch, Task


def log_likelihoods(
    module: nn.Module, inputs: Mapping[str, Tensor], target: Tensor, start: int, pad: int
) -> Tensor:
    """The log of the probability with which the module writes each row's target, fp32 [B].

    Args:
        module: `Generative`.
        inputs: Of its `encode`.
        target: What is to be written, int64 [B, T], pads behind.
        start: The id before a target.
        pad: The id that fills targets up.
    """
    writer = cast(Generative, module)
    before = F.pad(target[:, :-1], (1, 0), value=start)
    logits = writer.logits(writer.decode(before, writer.encode(**inputs)))
    each = -F.cross_entropy(logits.float().transpose(1, 2), target, reduction="none")
    return each.masked_fill(target == pad, 0.0).sum(1)


class Likelier:
    """The share of held-out rows whose target is likelier for their own source than for their
    neighbour's; a tie counts half, so chance is 0.5.

    Figures by stream; under `NAME_other_image` the same of two sources that are both another's: the
    neighbour's, and the one's behind it.
    """

    name = "likelier"

    def __init__(
        self,
        task: Task,
        streams: Sequence[str],
        corpus: Corpus,
        inputs: Callable[[Batch], Mapping[str, Tensor]],
        start: int,
        pad: int,
        samples: int = 256,
        batch: int = 64,
        source: Sequence[str] = ("pixels", "source"),
    ):
        """
        Args:
            task: Reads the rows.
            streams: Kinds of rows.
            corpus: Whose samples are read.
            inputs: From a batch to those of the module's `encode`.
            start: See `log_likelihoods`.
            pad: The same.
            samples: How many rows of each stream at most.
            batch: Rows at once.
            source: What a row may have of its image or source; the first that it has is exchanged.
        """
        self._inputs, self._ids, self._source = inputs, (start, pad), source
        self._parts = {name: parts(task, name, corpus, samples, batch) for name in streams}

    @torch.no_grad()
    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        wins: Counter[str] = Counter()
        count: Counter[str] = Counter()
        with unsharded(module):
            for stream, found in self._parts.items():
                for part in found:
                    if not part.counts:
                        continue
                    own, first, second = self._seen(module, part.batch.to(device))
                    for view, a, b in (("", own, first), ("_other_image", first, second)):
                        better = (a > b).double() + 0.5 * (a == b).double()
                        wins[stream + view] += float(better.sum())  # type: ignore[assignment]
                        count[stream + view] += len(better)
        wins, count = total(wins), total(count)
        return {name: wins[name] / n for name, n in sorted(count.items()) if n}

    def _seen(self, module: nn.Module, batch: Batch) -> list[Tensor]:
        """Log-likelihoods [B] with each row's own source, its neighbour's, and the one's behind."""
        name = next(name for name in self._source if name in batch.data)
        found = []
        for places in range(3):
            data = {**batch.data, name: batch.data[name].roll(places, 0)}
            inputs = self._inputs(Batch(batch.kind, data))
            found.append(log_likelihoods(module, inputs, batch.data["target"], *self._ids))
        return found
