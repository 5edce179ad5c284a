"""Zero-shot classification of labelled images by descriptions of their classes."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.loader.members import Members
from septet.trainers.measures.parts import share, total
from septet.trainers.task import Row, Stream, Task

_LABEL = "class"
"""Beside a row's inputs: its class's number."""


class ZeroShot:
    """Classification by the nearest class description (CLIP, section 3.1.2): a class's vector is
    the mean of its descriptions' unit vectors, made a unit vector again.

    The corpus needs an image member and `cls`, the class's number as text, as ImageNet's
    WebDataset shards have it. Figures: accuracy at 1 and 5, in [0, 1].
    """

    name = "zero_shot"

    def __init__(
        self,
        task: Task,
        stream: str,
        corpus: Corpus,
        classes: Sequence[str],
        templates: Sequence[str] = ("a photo of a {}.",),
        samples: int = 10_000,
        batch: int = 64,
    ):
        """
        Args:
            task: One that implements `texts`.
            stream: The stream whose image member is read.
            corpus: Labelled images.
            classes: Names, in the order of the numbers.
            templates: Descriptions; `{}` stands for the name.
            samples: How many images at most.
            batch: Images or texts at once.

        Raises:
            ValueError: a template without `{}`, or a label that is no class's number.
        """
        if not classes or not templates or any("{}" not in text for text in templates):
            raise ValueError(
                "zero-shot classification needs class names, and templates with {} for the name; "
                f"found {len(classes)} classes and templates {list(templates)}"
            )
        self._task, self._stream, self._batch = task, stream, batch
        self._classes, self._templates = list(classes), list(templates)
        image = task.streams[stream].members[0]
        members = Members(corpus, Stream((image, "cls")), task)

        def read(shard: int, row: int) -> Row:
            sample = members.read(shard, row)
            label = int(sample["cls"])
            if not 0 <= label < len(classes):
                raise ValueError(
                    f"{sample.key}: class {label} of {len(classes)}; give all class names"
                )
            inputs = task.read(stream, {"txt": b"", **sample}, None)
            return {**inputs, _LABEL: np.asarray(label)}

        places = [corpus.locate(i) for i in range(min(samples, len(corpus)))]
        self._parts = share(stream, places, read, batch, corpus.path)

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        texts = [text.replace("{}", name) for name in self._classes for text in self._templates]
        vectors = []
        for i in range(0, len(texts), self._batch):
            part = self._task.texts(self._stream, texts[i : i + self._batch])
            vectors.append(self._task.forward(module, part.to(device))["text"].float().cpu())
        means = torch.cat(vectors).view(len(self._classes), len(self._templates), -1).mean(1)
        means = torch.nn.functional.normalize(means, dim=-1)
        right: Counter[str] = Counter()
        for batch, counts in self._parts:
            outputs = self._task.forward(module, batch.to(device))
            ranked = (outputs["image"].float().cpu() @ means.T).argsort(1, descending=True)
            hits = ranked == batch.data[_LABEL][:, None]
            if counts:
                right["rows"] += len(batch)
                right.update({f"accuracy_{k}": int(hits[:, :k].sum()) for k in (1, 5)})
        right = total(right)
        return {f"accuracy_{k}": right[f"accuracy_{k}"] / right["rows"] for k in (1, 5)}
