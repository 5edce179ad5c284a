"""How well OFA does each of its eight tasks on held-out samples, beside what it does with another
sample's image."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from septet.preprocess.regions.select import intersection_over_union
from septet.preprocess.shards.reader import Corpus
from septet.trainers.generate.decoding import Decoding
from septet.trainers.generate.write import unsharded, write
from septet.trainers.measures.captions import words as cut
from septet.trainers.measures.parts import Part, parts, total
from septet.trainers.ofa import samples
from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.settings import END, PAD, START
from septet.trainers.ofa.tokens import vocabulary
from septet.trainers.task import Batch, Evaluator

if TYPE_CHECKING:
    from septet.trainers.ofa.task import OfaTask

TASKS = {
    "captions": ("caption", "match_caption"),
    "questions": ("vqa", "match_answer"),
    "regions": ("ground", "describe"),
    "texts": ("infill_text",),
    "images": ("infill",),
    "detection": ("detect",),
}
"""What the examples of a stream's rows are asked."""

OVERLAP = 0.5
"""Intersection over union from which on a box is right."""


class Tasks:
    """Each task's share of what is right, by what the model writes (greedily).

    | task | what counts |
    |---|---|
    | `caption`, `vqa` | texts that are exactly right |
    | `match_caption`, `match_answer`, `infill_text` | the same |
    | `describe` | words: 2 in common / (written + there); a region has several right names |
    | `ground` | boxes that overlap the right one by half |
    | `detect` | objects found: 2 hits / (written + there); a hit has label and half of the box |
    | `infill` | image codes |

    `TASK_other_image` is the same with each row seeing its neighbour's image (of texts: its
    neighbour's text), `TASK_commonest` that of always answering what is most often right.
    """

    name = "tasks"

    def __init__(self, task: "OfaTask", corpus: Corpus, rows: int = 256, batch: int = 64):
        self._settings = task.settings
        self._words = vocabulary(task.settings)
        self._parts: dict[str, list[Part]] = {
            stream: parts(task, stream, corpus, rows, batch, stream not in ("images", "detection"))
            for stream in task.streams
        }

    def __call__(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """See `septet.trainers.task.Evaluator`."""
        assert isinstance(module, Ofa)
        right: Counter[str] = Counter()
        count: Counter[str] = Counter()
        answers: dict[str, Counter[str]] = defaultdict(Counter)
        with unsharded(module):
            for stream, mine in self._parts.items():
                for part in mine:
                    if part.counts:
                        batch = Batch("", part.batch.to(device).data)
                        self._add(module, stream, batch, right, count, answers)
        right, count = total(right), total(count)
        for name in sorted(name for names in TASKS.values() for name in names):
            told = total(answers[name])
            if told and name in count:
                right[f"{name}_commonest"] = max(told.values())
                count[f"{name}_commonest"] = told.total()
        return {name: right[name] / n for name, n in sorted(count.items()) if n}

    def _add(
        self,
        module: Ofa,
        stream: str,
        batch: Batch,
        right: Counter[str],
        count: Counter[str],
        answers: dict[str, Counter[str]],
    ) -> None:
        names = TASKS[stream]
        moved = ("source",) if stream == "texts" else ("pixels",)
        other = {name: batch.data[name].roll(1, 0) for name in moved}
        _, target, _, _ = samples.targets(batch)
        for view, data in (("", batch.data), ("_other_image", {**batch.data, **other})):
            inputs = samples.model_inputs(Batch(batch.kind, data), self._settings)
            decoding = Decoding(most=target.shape[1])
            written = write(module, inputs, decoding, START, END, PAD).ids[:, 0].cpu().numpy()
            for row, (found, expected) in enumerate(
                zip(written, target.cpu().numpy(), strict=True)
            ):
                name = names[row % len(names)]
                hits, whole = self._score(name, found, expected)
                right[name + view] += hits
                count[name + view] += whole
                if not view:
                    answers[name].update(self._told(name, expected))

    def _told(self, name: str, expected: np.ndarray) -> list[str]:
        if name == "infill":
            return [str(code) for code in self._words.image_codes(expected)]
        if name in ("ground", "detect", "describe"):
            return []
        return [self._words.decode(expected)]

    def _score(self, name: str, found: np.ndarray, expected: np.ndarray) -> tuple[int, int]:
        """How much is right, and of how much."""
        words, s = self._words, self._settings
        if name == "infill":
            codes = words.codes(words.image_codes(expected))
            return int((found[: len(codes)] == codes).sum()), len(codes)
        if name == "ground":
            if not words.is_bin(found[:4]).all():
                return 0, 1
            box, right = (words.corners(ids[:4], s.image_size) for ids in (found, expected))
            return int(intersection_over_union(box[0], right)[0] >= OVERLAP), 1
        if name == "detect":
            return self._objects(found, expected)
        if name == "describe":
            return words_in_common(words.decode(found), words.decode(expected))
        return int(words.decode(found) == words.decode(expected)), 1

    def _objects(self, found: np.ndarray, expected: np.ndarray) -> tuple[int, int]:
        """Twice the objects that are found, of those written and those there."""
        side = self._settings.plain_size
        written, there = (self._words.objects(ids, side) for ids in (found, expected))
        left, hits = list(there), 0
        for box, label in written:
            for i, (right, name) in enumerate(left):
                if name == label and intersection_over_union(box, right[None])[0] >= OVERLAP:
                    del left[i]
                    hits += 1
                    break
        return 2 * hits, len(written) + len(there)


def words_in_common(written: str, expected: str) -> tuple[int, int]:
    """Twice the words that two texts share, and the words of both."""
    mine, right = (Counter(cut(text).split()) for text in (written, expected))
    return 2 * (mine & right).total(), mine.total() + right.total()


def evaluators(task: "OfaTask", held_out: Corpus) -> list[Evaluator]:
    """The measures of a run."""
    return [Tasks(task, held_out)]
