"""How much of what is to be written a model tells right, task by task, and how good what it writes
by itself is."""

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.languages import language_code
from septet.trainers.draws import generator
from septet.trainers.measures.answers import answers
from septet.trainers.measures.boxes import Boxes, detection
from septet.trainers.measures.captions import captions
from septet.trainers.measures.generation import Generation, Score, exact
from septet.trainers.measures.parts import parts, total
from septet.trainers.measures.texts import characters, languages
from septet.trainers.pali.answers import read_boxes, texts
from septet.trainers.pali.samples import TASKS, asked_question, language_of, read_object
from septet.trainers.task import Batch, Evaluator, Task

if TYPE_CHECKING:
    from septet.trainers.pali.task import PaliTask


class Tokens:
    """The share of tokens of held-out answers that are the likeliest, each given those before.

    Figures by stream, in [0, 1]; under `NAME_other_image` the same with each row seeing its
    neighbour's image, which is what is known without the image.
    """

    name = "tokens"

    def __init__(
        self,
        task: Task,
        streams: Sequence[str],
        corpus: Corpus,
        samples: int = 256,
        batch: int = 64,
    ):
        """
        Args:
            task: Its output `right` is how many of `target`'s tokens are told right.
            streams: Kinds of rows.
            corpus: Whose samples are read.
            samples: How many rows of each stream at most.
            batch: Rows at once.
        """
        self._task = task
        self._parts = {name: parts(task, name, corpus, samples, batch) for name in streams}

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        right: Counter[str] = Counter()
        count: Counter[str] = Counter()
        for stream, found in self._parts.items():
            for part in found:
                batch = part.batch.to(device)
                views = {stream: batch}
                if "pixels" in batch.data:
                    other = {**batch.data, "pixels": batch.data["pixels"].roll(1, 0)}
                    views[f"{stream}_other_image"] = Batch(batch.kind, other)
                for view, seen in views.items():
                    told = self._task.forward(module, seen)["right"]
                    if part.counts:
                        right[view] += int(told)
                        count[view] += int((batch.data["target"] != 0).sum())
        right, count = total(right), total(count)
        return {name: right[name] / n for name, n in sorted(count.items()) if n}


def captions_in_languages(
    written: Sequence[str], expected: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """How good captions are, and whether they are in the language that was asked for; for
    `Generation`, of texts with their languages."""
    right = captions(written, [[text] for text, _ in expected])
    return {**right, **languages(written, [language for _, language in expected])}


def boxes_of_texts(written: Sequence[str], expected: Sequence[Boxes]) -> dict[str, float]:
    """`detection` of texts that write boxes."""
    told = []
    for text in written:
        found = read_boxes(text)
        corners = np.array([box for box, _ in found]).reshape(-1, 4)
        told.append(Boxes(corners, [label for _, label in found]))
    return detection(told, expected)


SCORES: dict[str, tuple[Score, str]] = {
    "caption": (captions_in_languages, ""),
    "vqa": (answers, ""),
    "ocr": (characters, "rapidfuzz"),
    "objects": (exact, ""),
    "detect": (boxes_of_texts, "faster_coco_eval"),
}
"""How what is written is scored, and the package that it takes (`septet[measures]`)."""


class Expected:
    """What should be written for a sample, as `SCORES` takes it."""

    def __init__(self, task: "PaliTask", stream: str):
        self._settings, self._stream = task.settings, stream

    def __call__(self, sample: Sample) -> Any:
        """For the same question as `PaliTask.read` asks."""
        draw = generator("measure", getattr(sample, "key", ""))
        if self._stream == "vqa":
            pair = asked_question(sample, draw)
            return [text for text, n in pair.answers for _ in range(n)] or [pair.answer]
        if self._stream == "detect":
            value = read_object(sample["boxes"])
            boxes = np.array(value["boxes"], np.float64).reshape(-1, 4)
            named = [i for i, label in enumerate(value["labels"]) if label]
            return Boxes(boxes[named], [value["labels"][i] for i in named])
        answer = TASKS[self._stream](sample, self._settings, draw).answer
        if self._stream == "caption":
            return answer, language_code(language_of(sample) or "")
        return answer


def written(task: "PaliTask", held_out: Corpus, samples: int = 256) -> list[Evaluator]:
    """What the model writes on held-out samples, scored for each task of `SCORES` that is trained
    and whose package is installed."""

    def measure(stream: str, score: Score) -> Generation:
        def write(module: nn.Module, batch: Batch) -> list[str]:
            found = texts(task.settings, module, stream, task.inputs(batch))
            return [text for text, _ in found]

        expected = Expected(task, stream)
        return Generation(
            task, stream, held_out, write, expected, score, samples=samples, name=stream
        )

    return [
        measure(stream, score)
        for stream, (score, package) in SCORES.items()
        if stream in task.streams and (not package or find_spec(package))
    ]
