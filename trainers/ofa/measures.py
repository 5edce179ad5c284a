"""How well OFA does each of its eight tasks on held-out samples, beside what it does with another
sample's image."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from septet.preprocess.regions.select import intersection_over_union
from septet.preprocess.shards.reader import Corpus, Sample
from septet.trainers.generate.decoding import Decoding
from septet.trainers.generate.write import unsharded, write
from septet.trainers.measures.boxes import Boxes, hits
from septet.trainers.measures.parts import Part, parts, total
from septet.trainers.ofa import samples
from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.settings import END, PAD, START
from septet.trainers.ofa.tokens import vocabulary
from septet.trainers.task import Batch, Evaluator, Row

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

NAMES = "names"
"""The input that says which names are a region's."""

OVERLAP = 0.5
"""Intersection over union from which on a box is right."""


class Tasks:
    """Each task's share of what is right, by what the model writes (greedily).

    | task | what counts |
    |---|---|
    | `caption`, `vqa` | texts that are exactly right |
    | `match_caption`, `match_answer`, `infill_text` | the same |
    | `describe` | texts that are one of the region's names |
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
        self._names: list[list[str]] = []
        self._parts: dict[str, list[Part]] = {
            stream: parts(
                task, stream, corpus, rows, batch, stream not in ("images", "detection"),
                also=self._named if stream == "regions" else None,
            )
            for stream in task.streams
        }  # fmt: skip

    def _named(self, row: Row, sample: Sample) -> Row:
        """A row of a region, with the place of all names that its sample has for that region."""
        words, s = self._words, self._settings
        boxes, phrases = samples.boxed(sample, s.phrases_column)
        told = [words.decode(samples.answer(s, samples.clean(p, s.target_words))) for p in phrases]
        name = words.decode(row["target"][:, TASKS["regions"].index("describe")])
        its = {box.tobytes() for box, other in zip(boxes, told, strict=True) if other == name}
        self._names.append([n for box, n in zip(boxes, told, strict=True) if box.tobytes() in its])
        return {**row, NAMES: np.array(len(self._names) - 1)}

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
                count[f"{name}_commonest"] = count[name]
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
                texts = [self._words.decode(expected)]
                if name == "describe":
                    texts = self._names[int(batch.data[NAMES][row // len(names)])]
                points, whole = self._score(name, found, expected, texts)
                right[name + view] += points
                count[name + view] += whole
                if not view:
                    answers[name].update(self._told(name, expected, texts))

    def _told(self, name: str, expected: np.ndarray, texts: list[str]) -> list[str]:
        if name == "infill":
            return [str(code) for code in self._words.image_codes(expected)]
        return [] if name in ("ground", "detect") else texts

    def _score(
        self, name: str, found: np.ndarray, expected: np.ndarray, texts: list[str]
    ) -> tuple[int, int]:
        """How much is right, and of how much; `texts` are those that are right."""
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
        return int(words.decode(found) in texts), 1

    def _objects(self, found: np.ndarray, expected: np.ndarray) -> tuple[int, int]:
        """Twice the objects that are found, of those written and those there."""
        side = self._settings.plain_size
        written, there = (
            Boxes(np.array([box for box, _ in told]).reshape(-1, 4), [label for _, label in told])
            for told in (self._words.objects(ids, side) for ids in (found, expected))
        )
        return 2 * hits(written, there, OVERLAP), len(written.labels) + len(there.labels)


def evaluators(task: "OfaTask", held_out: Corpus) -> list[Evaluator]:
    """The measures of a run."""
    return [Tasks(task, held_out)]
