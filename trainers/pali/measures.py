"""How good what PaLI writes by itself is, task by task."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import normalize

import numpy as np
from torch import nn

from septet.preprocess.questions.pairs import Question
from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.languages import language_code
from septet.trainers.draws import generator
from septet.trainers.measures.answers import answers
from septet.trainers.measures.boxes import Boxes, detection, objects
from septet.trainers.measures.captions import captions
from septet.trainers.measures.generation import Generation, Score, exact
from septet.trainers.measures.texts import characters, languages
from septet.trainers.pali.answers import read_boxes, texts
from septet.trainers.pali.samples import TASKS, asked_question, language_of, read_object
from septet.trainers.task import Batch, Evaluator

if TYPE_CHECKING:
    from septet.trainers.pali.task import PaliTask


def captions_in_languages(
    written: Sequence[str], expected: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """How good captions are, and whether they are in the language that was asked for; for
    `Generation`, of texts with their languages."""
    right = captions(written, [[text] for text, _ in expected])
    return {**right, **languages(written, expected)}


class Wanted(NamedTuple):
    """A question that is to be written, and all that are known of its image."""

    asked: Question
    known: Sequence[Question]


def _prompt(question: Question) -> tuple[str, str]:
    """What a prompt for a question tells of it."""
    return question.answer, question.language


def questions(written: Sequence[str], expected: Sequence[Wanted]) -> dict[str, float]:
    """`exact`, the share of texts that are a question which the image has with the answer that was
    given, in NFKC, as mT5's tokenizer reads all texts ("？" as "?"); and `exact_open`, the same of
    answers for which not all images have the same questions: of "one" anybody knows that it is
    asked how many there are. For `Generation`."""
    nfkc = partial(normalize, "NFKC")
    fitting: dict[tuple[str, str], set[frozenset[str]]] = {}
    right = []
    for each in expected:
        its: dict[tuple[str, str], set[str]] = {}
        for question in each.known:
            its.setdefault(_prompt(question), set()).add(nfkc(question.question))
        for prompt, fit in its.items():
            fitting.setdefault(prompt, set()).add(frozenset(fit))
        right.append(its[_prompt(each.asked)])
    hits = [nfkc(text) in its for text, its in zip(written, right, strict=True)]
    hard = [
        hit
        for hit, each in zip(hits, expected, strict=True)
        if len(fitting[_prompt(each.asked)]) > 1
    ]
    found = {"exact": sum(hits) / len(hits)}
    return {**found, "exact_open": sum(hard) / len(hard)} if hard else found


def boxes_of_texts(written: Sequence[str], expected: Sequence[Boxes]) -> dict[str, float]:
    """`objects` and, where its package is installed, `detection` of texts that write boxes."""
    told = []
    for text in written:
        found = read_boxes(text)
        corners = np.array([box for box, _ in found]).reshape(-1, 4)
        told.append(Boxes(corners, [label for _, label in found]))
    figures = objects(told, expected)
    return {**figures, **detection(told, expected)} if find_spec("faster_coco_eval") else figures


SCORES: dict[str, tuple[Score, str]] = {
    "caption": (captions_in_languages, ""),
    "vqa": (answers, ""),
    "vqg": (questions, ""),
    "ocr": (characters, "rapidfuzz"),
    "objects": (exact, ""),
    "detect": (boxes_of_texts, ""),
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
        if self._stream == "vqg":
            known = [Question.from_json(p) for p in read_object(sample["questions"])["pairs"]]
            return Wanted(asked_question(sample, draw), known)
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
