"""Measures on one of several held-out corpora, under its name."""

import torch
from torch import nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.task import Evaluator, Task


class Named:
    """A measure whose figures have a corpus's name before them."""

    def __init__(self, corpus: str, measure: Evaluator):
        self.name, self._measure = f"{corpus}/{measure.name}", measure

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        return self._measure(module, device)


def measures_on(task: Task, corpus: Corpus, name: str) -> list[Evaluator]:
    """A task's measures on a held-out corpus."""
    measures = task.evaluators(corpus, name)
    return [Named(name, measure) for measure in measures] if name else measures
