"""Retrieval: how often images and captions find each other."""

import torch
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.measures.parts import gathered, parts, rank_and_world
from septet.trainers.task import Task


class Retrieval:
    """How often a picture finds its caption among all, and a caption its picture.

    For a task whose outputs are unit vectors `image` and `text`. Figures: recall at 1, 5 and 10
    of both directions, in [0, 1]; chance is k / samples.
    """

    name = "retrieval"

    def __init__(
        self, task: Task, stream: str, corpus: Corpus, samples: int = 1000, batch: int = 64
    ):
        self._task = task
        self._parts = parts(task, stream, corpus, samples, batch)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        found = {}
        for number, part in enumerate(self._parts):
            outputs = self._task.forward(module, part.batch.to(device))
            if part.counts:
                found[number, rank_and_world()[0]] = [
                    outputs[n].float().cpu() for n in ("image", "text")
                ]
        everywhere = {place: pair for each in gathered(found) for place, pair in each.items()}
        pairs = [everywhere[place] for place in sorted(everywhere)]
        image, text = (torch.cat(side) for side in zip(*pairs, strict=True))
        return {
            **recalls("image_to_text", image @ text.T),
            **recalls("text_to_image", text @ image.T),
        }


def recalls(name: str, scores: Tensor) -> dict[str, float]:
    """Ties count against the model, so that equal vectors for all score nothing."""
    right = scores.diagonal()[:, None]
    rank = (scores >= right).sum(1) - 1
    return {f"{name}_r{k}": float((rank < k).double().mean()) for k in (1, 5, 10)}
