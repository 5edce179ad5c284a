"""Predictions: how often what a task predicts of a row is right."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.measures.parts import Part, even, gathered, parts, total
from septet.trainers.task import Batch, Task


class Predictions:
    """How often what a task predicts of a row (masked words, matching) is right.

    Rows are read as for training, with randomness that is a function of the key. Figures: the
    share of right predictions by name, in [0, 1]; under `NAME_commonest` that of always saying
    the commonest answer; and for rows with images, under `NAME_other_image`, the first with
    each row seeing its neighbour's image: what is known without the image.
    """

    name = "predictions"

    def __init__(
        self,
        task: Task,
        streams: Sequence[str],
        corpus: Corpus,
        labels: Callable[[Batch], Mapping[str, Tensor]],
        samples: int = 512,
        batch: int = 64,
        image: Sequence[str] = ("pixels",),
    ):
        """
        Args:
            task: Its outputs are scores [n, classes].
            streams: Kinds of rows to predict for.
            corpus: Whose samples are read.
            labels: From a batch to int64 [n] for each of the outputs to compare.
            samples: How many rows of each kind at most.
            batch: Rows at once; even, as tasks may join rows in pairs.
            image: What a row has of its image.
        """
        self._task, self._labels, self._image = task, labels, image
        self._parts = []
        for stream in streams:
            for part in parts(task, stream, corpus, samples, batch, drawn=True):
                rows, counts = even(part)
                self._parts.append(Part(task.exchange(rows), counts))

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        right: Counter[str] = Counter()
        count: Counter[str] = Counter()
        answers: dict[str, Counter[int]] = {}
        for part in self._parts:
            batch = part.batch.to(device)
            views = {"": batch}
            if all(name in batch.data for name in self._image):
                other = {name: batch.data[name].roll(1, 0) for name in self._image}
                views["_other_image"] = Batch(batch.kind, {**batch.data, **other})
            labels = self._labels(batch) if part.counts else {}
            for name, expected in labels.items():
                answers.setdefault(name, Counter()).update(expected.tolist())
            for view, seen in views.items():
                outputs = self._task.forward(module, seen)
                for name, expected in labels.items():
                    hits = outputs[name].argmax(1) == expected
                    right[name + view] += int(hits.sum())
                    count[name + view] += len(expected)
        right, count = total(right), total(count)
        for name in sorted({name for each in gathered(list(answers)) for name in each}):
            found = total(answers.get(name, Counter()))
            right[f"{name}_commonest"] = max(found.values(), default=0)
            count[f"{name}_commonest"] = found.total()
        return {name: right[name] / n for name, n in count.items() if n}
