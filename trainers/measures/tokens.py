"""Tokens: how much of what is to be written a model tells right, each token given those before."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.measures.parts import parts, total
from septet.trainers.task import Batch, Task


class Tokens:
    """The share of tokens of held-out targets that are the likeliest, each given those before.

    Figures by stream, in [0, 1]; under `NAME_other_image` the same with each row seeing its
    neighbour's image, which is what is known without the image; under `NAME_commonest` the share
    of the commonest token.
    """

    name = "tokens"

    def __init__(
        self,
        task: Task,
        streams: Sequence[str],
        corpus: Corpus,
        samples: int = 256,
        batch: int = 64,
        image: Sequence[str] = ("pixels",),
    ):
        """
        Args:
            task: Its output `right` is how many of `target`'s tokens, but for pads of 0, are told
                right.
            streams: Kinds of rows.
            corpus: Whose samples are read.
            samples: How many rows of each stream at most.
            batch: Rows at once.
            image: What a row may have of its image; the first that it has is exchanged. Behind
                those, what stands for an image in rows without one (a source text).
        """
        self._task, self._image = task, image
        self._parts = {name: parts(task, name, corpus, samples, batch) for name in streams}

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        right: Counter[str] = Counter()
        count: Counter[str] = Counter()
        words: dict[str, Counter[int]] = {stream: Counter() for stream in self._parts}
        for stream, found in self._parts.items():
            for part in found:
                batch = part.batch.to(device)
                target = batch.data["target"]
                views = {stream: batch}
                for name in [name for name in self._image if name in batch.data][:1]:
                    other = {**batch.data, name: batch.data[name].roll(1, 0)}
                    views[f"{stream}_other_image"] = Batch(batch.kind, other)
                for view, seen in views.items():
                    told = self._task.forward(module, seen)["right"]
                    if part.counts:
                        right[view] += int(told)
                        count[view] += int((target != 0).sum())
                if part.counts:
                    words[stream].update(target[target != 0].tolist())
        right, count = total(right), total(count)
        for stream, mine in words.items():
            counted = total(mine)
            count[f"{stream}_commonest"] = counted.total()
            right[f"{stream}_commonest"] = max(counted.values(), default=0)
        return {name: right[name] / n for name, n in sorted(count.items()) if n}
