"""Matching: whether scores of whole pairs tell which belong together."""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.measures.parts import parts, total
from septet.trainers.measures.retrieval import recalls
from septet.trainers.task import Batch, Task


class Matching:
    """Whether a model that scores whole pairs tells which belong together.

    In groups of `group` samples every caption is scored with every image. Figures: `accuracy`,
    the share of right answers to the pairs that match and as many that do not (chance 0.5); recall
    at 1, 5 and 10 of both directions within the group, by the odds of a match (chance is
    k / group).
    """

    name = "matching"

    def __init__(
        self,
        task: Task,
        stream: str,
        corpus: Corpus,
        image: Sequence[str],
        samples: int = 256,
        group: int = 32,
    ):
        """
        Args:
            task: Its output `match` [B, 2] scores "they match" and "they do not".
            stream: The stream of pairs.
            corpus: Whose samples are read.
            image: What a row has of its image.
            samples: How many at most; the last group may lack some.
            group: Captions that are scored with each image.
        """
        self._task, self._image, self._group = task, image, group
        self._parts = parts(task, stream, corpus, samples, group)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        sums: Counter[str] = Counter()
        for group, counts in self._parts:
            odds = torch.stack([s[:, 0] - s[:, 1] for s in self._scores(module, group, device)])
            n = len(group)
            odds = odds[:n]
            right, wrong = odds.diagonal(), odds.roll(1, 1).diagonal()
            figures = {"accuracy": float(((right > 0).double() + (wrong < 0)).mean() / 2)}
            figures |= recalls("text_to_image", odds) | recalls("image_to_text", odds.T)
            if counts:
                sums["rows"] += n
                for name, value in figures.items():
                    sums[name] += value * n  # type: ignore[assignment]
        sums = total(sums)
        count = sums.pop("rows")
        return {name: value / count for name, value in sums.items()}

    def _scores(self, module: nn.Module, group: Batch, device: torch.device) -> Iterator[Tensor]:
        """Scores [n, 2] of each caption with all images of its group; then the last caption's
        again, so that every group takes as many forward passes."""
        for i in range(self._group):
            i = min(i, len(group) - 1)
            data = {
                name: x if name in self._image else x[i : i + 1].expand_as(x)
                for name, x in group.data.items()
            }
            outputs = self._task.forward(module, Batch(group.kind, data).to(device))
            yield outputs["match"].float().cpu()
