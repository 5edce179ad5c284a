"""Measures that several models share."""

import torch
from torch import Tensor, nn

from preprocess.shards.reader import Corpus
from trainers.loader.source import Members, stack
from trainers.task import Batch, SampleError, Task


class Retrieval:
    """How often a picture finds its caption among all, and a caption its picture.

    For a task whose outputs are unit vectors `image` and `text`. Figures: recall at 1, 5 and 10
    of both directions, in [0, 1]; chance is k / samples.
    """

    name = "retrieval"

    def __init__(
        self, task: Task, stream: str, corpus: Corpus, samples: int = 1000, batch: int = 64
    ):
        self._task, self._stream, self._batch = task, stream, batch
        members = Members(corpus, task.streams[stream])
        rows = []
        for index in range(min(samples, len(corpus))):
            try:
                rows.append(task.read(stream, members.read(*corpus.locate(index)), None))
            except (SampleError, OSError):
                continue  # Told of by `septet check`; a measure needs no full batch.
        if not rows:
            raise ValueError(f"{corpus.path} has no sample to measure retrieval on")
        self._rows = rows

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `trainers.task.Evaluator`."""
        found: dict[str, list[Tensor]] = {"image": [], "text": []}
        for i in range(0, len(self._rows), self._batch):
            arrays = stack(self._rows[i : i + self._batch])
            data = {name: torch.from_numpy(array) for name, array in arrays.items()}
            outputs = self._task.forward(module, Batch(self._stream, data).to(device))
            for name, parts in found.items():
                parts.append(outputs[name].float().cpu())
        image, text = torch.cat(found["image"]), torch.cat(found["text"])
        return {
            **_recalls("image_to_text", image @ text.T),
            **_recalls("text_to_image", text @ image.T),
        }


def _recalls(name: str, scores: Tensor) -> dict[str, float]:
    """Ties count against the model, so that equal vectors for all score nothing."""
    right = scores.diagonal()[:, None]
    rank = (scores >= right).sum(1) - 1
    return {f"{name}_r{k}": float((rank < k).double().mean()) for k in (1, 5, 10)}
