"""Retrieval: how often images and captions find each other."""

from typing import Any

import torch
from torch import Tensor, nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.measures.parts import gathered, parts, rank_and_world
from septet.trainers.task import Task


class Retrieval:
    """How often an image finds its caption among all, and a caption its image.

    For a task whose outputs are unit vectors `image` and `text`. Figures: recall at 1, 5 and 10
    of both directions, in [0, 1]; chance is k / samples. Under `NAME_other_image` the same where
    each image stands in its neighbour's place.
    """

    name = "retrieval"

    def __init__(
        self,
        task: Task,
        stream: str,
        corpus: Corpus,
        samples: int = 1000,
        batch: int = 64,
        caption: str = "ids",
    ):
        """
        Args:
            task: Gives the vectors.
            stream: The stream of pairs.
            corpus: Whose samples are read.
            samples: How many at most.
            batch: Pairs at once.
            caption: The input that is the caption, [B, T]: equal captions are all right.
        """
        self._task, self._caption = task, caption
        self._parts = parts(task, stream, corpus, samples, batch)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        found: dict[tuple[int, int], tuple[Any, ...]] = {}
        for number, part in enumerate(self._parts):
            outputs = self._task.forward(module, part.batch.to(device))
            if part.counts:
                found[number, rank_and_world()[0]] = (
                    *(outputs[name].float().cpu() for name in ("image", "text")),
                    part.batch.data[self._caption].tolist(),
                )
        everywhere = {place: pair for each in gathered(found) for place, pair in each.items()}
        pairs = [everywhere[place] for place in sorted(everywhere)]
        image, text = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
        numbers: dict[tuple[int, ...], int] = {}
        captions = [numbers.setdefault(tuple(ids), len(numbers)) for p in pairs for ids in p[2]]
        same = torch.tensor(captions)[:, None] == torch.tensor(captions)
        figures: dict[str, float] = {}
        for view, seen in (("", image), ("_other_image", image.roll(1, 0))):
            scores = seen @ text.T
            both = {
                **recalls("image_to_text", scores, same),
                **recalls("text_to_image", scores.T, same),
            }
            figures |= {f"{name}{view}": value for name, value in both.items()}
        return figures


def recalls(name: str, scores: Tensor, same: Tensor | None = None) -> dict[str, float]:
    """How often what belongs to a row is among the best 1, 5 and 10.

    Ties count against the model, so that equal vectors for all score nothing.

    Args:
        name: Before the figures' names.
        scores: [n, n]; what belongs to a row is on the diagonal.
        same: bool [n, n], what is as right as the diagonal (an equal caption of another image).
    """
    own = torch.eye(len(scores), dtype=torch.bool) if same is None else same
    best = scores.masked_fill(~own, -torch.inf).max(1, keepdim=True).values
    rank = ((scores >= best) & ~own).sum(1)
    return {f"{name}_r{k}": float((rank < k).double().mean()) for k in (1, 5, 10)}
