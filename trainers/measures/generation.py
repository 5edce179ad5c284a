"""Generation: how good what a model writes is, and how much of that it knows without the image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from septet.preprocess.shards.reader import Corpus, Sample
from septet.trainers.generate.write import unsharded
from septet.trainers.measures.parts import gathered, parts
from septet.trainers.task import Batch, Row, Task

Write = Callable[[nn.Module, Batch], Sequence[Any]]
"""What the module writes for each row of a batch: a text, boxes, ..."""

Score = Callable[[Sequence[Any], Sequence[Any]], Mapping[str, float]]
"""Figures by name, from what is written and what is expected, of all rows."""

PLACE = "row"
"""The input that says which of the expected values is a row's."""


def exact(written: Sequence[Any], expected: Sequence[Any]) -> dict[str, float]:
    """`exact`, the share of rows where what is written is just what is expected."""
    same = [a == b for a, b in zip(written, expected, strict=True)]
    return {"exact": sum(same) / len(same)}


class Generation:
    """What a model writes on held-out samples, scored: captions, answers, boxes, read text.

    Figures are those of the score, and under `NAME_other_image` the same with each row seeing its
    neighbour's image: what is known without the image. Equal on all ranks, whose number does not
    matter: each writes for its own batches, and what is written is gathered before it is scored.
    """

    def __init__(
        self,
        task: Task,
        stream: str,
        corpus: Corpus,
        write: Write,
        expected: Callable[[Sample], Any],
        score: Score = exact,
        samples: int = 256,
        batch: int = 64,
        image: Sequence[str] = ("pixels",),
        name: str = "generation",
    ):
        """
        Args:
            task: Reads the rows; its evaluation view.
            stream: Of the rows.
            corpus: Whose samples are read.
            write: See `Write`.
            expected: From a sample to what is expected; `SampleError` leaves it out.
            score: See `Score`: `captions`, `answers`, `grounding`, `detection`, `characters`,
                `languages` of this room, or `exact`.
            samples: How many at most.
            batch: Rows at once.
            image: What a row has of its image; empty for rows without one.
            name: Before the figures' names.
        """
        self._write, self._score, self._image, self.name = write, score, image, name
        self._expected: list[Any] = []

        def placed(row: Row, sample: Sample) -> Row:
            self._expected.append(expected(sample))
            return {**row, PLACE: np.array(len(self._expected) - 1)}

        self._parts = parts(task, stream, corpus, samples, batch, also=placed)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        views: dict[str, list[Any]] = {"": [], "_other_image": []} if self._image else {"": []}
        expected: list[Any] = []
        with unsharded(module):
            for part in self._parts:
                if not part.counts:
                    continue
                batch = part.batch.to(device)
                data = dict(batch.data)
                expected += [self._expected[i] for i in data.pop(PLACE).tolist()]
                other = {name: data[name].roll(1, 0) for name in self._image}
                for view, written in views.items():
                    seen = {**data, **other} if view else data
                    written += self._write(module, Batch(batch.kind, seen))
        found: dict[str, float] = {}
        right = [each for rank in gathered(expected) for each in rank]
        for view, mine in views.items():
            written = [each for rank in gathered(mine) for each in rank]
            figures = self._score(written, right)
            found |= {f"{name}{view}": float(value) for name, value in figures.items()}
        return found
