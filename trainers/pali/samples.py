"""From a sample's bytes to a prompt, an answer and pixels, for each task of PaLI's mixture (paper,
appendix A.2, table 9). Everything random comes from a generator that is a pure function of (seed,
stream, key, epoch)."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from septet.preprocess.boxes.tokens import Pali as Coordinates
from septet.preprocess.columns.base import IMAGE
from septet.preprocess.questions.pairs import Question
from septet.preprocess.regions.labels import read_labels
from septet.preprocess.shards.reader import Sample
from septet.preprocess.text.language import UNDETERMINED
from septet.preprocess.tokenizers.mt5 import END
from septet.schemas.languages import language_code
from septet.trainers.inputs import images
from septet.trainers.inputs.members import image_file, note, text
from septet.trainers.mixture.instructions import Instructions
from septet.trainers.outcomes import Change
from septet.trainers.pali import objects, spans
from septet.trainers.pali.settings import PaliSettings
from septet.trainers.pali.words import tokenizer, word_starts
from septet.trainers.task import (
    Batch,
    Languages,
    Lengths,
    ReadSample,
    Row,
    SampleError,
    Stream,
)

MEAN = STD = (0.5, 0.5, 0.5)
"""Of RGB in [0, 1]: the model sees values in [-1, 1]."""

TEXT_TASK = "spans"
"""The task without images."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "ocr": ("ocr",),
    "vqa": ("questions",),
    "vqg": ("questions",),
    "objects": ("boxes",),
    "detect": ("boxes",),
}
"""What each task reads beside image, caption and metadata."""

BLANK = "\0"
"""Stands for `<extra_id_0>` in a prompt until it is put in by its id."""

INSTRUCTIONS = Instructions.load("septet.trainers.pali")


class Example(NamedTuple):
    """What a task makes of a sample."""

    prompt: str
    """With `BLANK` where `<extra_id_0>` is to stand."""
    answer: str
    cut: bool = False
    """Whether an answer that is too long is cut; else the sample cannot be used."""


def fill(task: str, language: str | None = None, **parts: str) -> str:
    """A task's prompt; parts of a sample cannot hold a blank."""
    clean = {name: part.replace(BLANK, "") for name, part in parts.items()}
    return INSTRUCTIONS.fill(task, language, blank=BLANK, **clean)


def language_of(sample: Sample) -> str | None:
    """The language of a sample's caption: the one that was drawn, or else as its metadata say."""
    drawn = getattr(sample, "language", None)
    if drawn not in (None, UNDETERMINED):
        return str(drawn)
    found = read_object(sample["json"]).get("language") if sample.get("json") else None
    return None if found is None else str(found)


def fill_in(task: str, sample: Sample, language: str | None, **parts: str) -> str:
    """A prompt that names a language, by which the run counts the sample."""
    prompt = fill(task, language, **parts)
    if isinstance(sample, ReadSample) and language:
        sample.language = language_code(language)
    return prompt


def caption(sample: Sample, s: PaliSettings, draw: np.random.Generator) -> Example:
    """The whole caption, from the image."""
    return Example(fill_in("caption", sample, language_of(sample)), _caption(sample), cut=True)


def split_caption(sample: Sample, s: PaliSettings, draw: np.random.Generator) -> Example:
    """The rest of a caption, from the image and the caption's first words: none to all but one,
    equally likely."""
    told = _caption(sample)
    starts = word_starts(told)
    words = int(draw.integers(len(starts)))
    prompt = fill_in(
        "split_caption", sample, language_of(sample), position=str(words),
        caption=told[: starts[words]].rstrip(),
    )  # fmt: skip
    return Example(prompt, told[starts[words] :], cut=True)


def ocr(sample: Sample, s: PaliSettings, draw: np.random.Generator) -> Example:
    """The text in the image, in reading order. Where nothing tells its language, it is the
    caption's."""
    value = read_object(sample["ocr"])
    told = " ".join(line["text"] for line in value.get("lines", ()))
    if not told.strip():
        raise SampleError("the image shows no text", "empty_text")
    language = value.get("language")
    if language in (None, UNDETERMINED):
        language = language_of(sample)
    return Example(fill_in("ocr", sample, language), told, cut=True)


def vqa(sample: Sample, s: PaliSettings, draw: np.random.Generator) -> Example:
    """The English answer to a question in any language."""
    pair = asked_question(sample, draw)
    return Example(fill("vqa", question=pair.question), pair.answer)


def vqg(sample: Sample, s: PaliSettings, draw: np.random.Generator) -> Example:
    """A question in a language that has an English answer."""
    pair = asked_question(sample, draw)
    return Example(fill_in("vqg", sample, pair.language, answer=pair.answer), pair.question)


def object_questions(sample: Sample, s: PaliSettings, draw: np.random.Generator) -> Example:
    """A question about which objects are there; see `objects.ask`."""
    asked = objects.ask(_objects(read_object(sample["boxes"]), s, draw), draw)
    return Example(fill(asked.form, **asked.parts), asked.answer)


def detect(sample: Sample, s: PaliSettings, draw: np.random.Generator) -> Example:
    """Boxes of the classes that the prompt names, in any order: as many as the answer may hold."""
    value = read_object(sample["boxes"])
    found = _objects(value, s, draw)
    scheme, limit = Coordinates(), s.detect_tokens - 1
    boxes = np.array(value["boxes"], np.float64).reshape(-1, 4)
    told = [
        f"{where} {label}"
        for where, label in zip(scheme.text(scheme.encode(boxes)), value["labels"], strict=True)
        if label
    ]
    told = [told[i] for i in draw.permutation(len(told))[: s.most_boxes]]
    pieces = tokenizer(s.vocabulary, s.language.words)
    while len(told) > 1 and len(pieces.encode(" ".join(told))) > limit:
        told.pop()
    absent = s.most_absent
    seed = int(draw.integers(2**31))
    while True:
        again = np.random.default_rng(seed)
        prompt = fill("detect", classes=objects.classes_to_detect(found, absent, again))
        if not absent or len(pieces.encode(prompt)) < s.prompt_tokens:
            return Example(prompt, " ".join(told))
        absent -= 1


TASKS: dict[str, Callable[[Sample, PaliSettings, np.random.Generator], Example]] = {
    "split_caption": split_caption,
    "ocr": ocr,
    "caption": caption,
    "vqa": vqa,
    "vqg": vqg,
    "objects": object_questions,
    "detect": detect,
}
"""Those with images."""


def read(stream: str, sample: Sample, s: PaliSettings, draw: np.random.Generator) -> Row:
    """A sample as model inputs: `source` and `target` int64, as long as they are, </s> at the end,
    and `pixels` uint8 [P, P, 3]; of texts alone `ids`, for `join`.

    Raises:
        SampleError: the sample cannot be used for this task.
    """
    if stream == TEXT_TASK:
        return _text(sample, s)
    example = TASKS[stream](sample, s, draw)
    pieces = tokenizer(s.vocabulary, s.language.words)
    source = encode(example.prompt, s)
    if len(source) > s.prompt_tokens:
        raise SampleError(f"a prompt of {len(source)} tokens", "too_long")
    limit = answer_tokens(stream, s)
    target = [*pieces.encode(example.answer), END]
    if len(target) == 1:
        raise SampleError("an answer without text", "no_answer")
    if len(target) > limit:
        if not example.cut:
            raise SampleError(f"an answer of {len(target)} tokens", "too_long")
        target = target[:limit]  # Without </s>: the text goes on.
        note(sample, "cut")
    pixels = square(images.decode(image_file(sample), s.vision.image_size), s.vision.image_size)
    return {"source": source, "target": np.array(target, np.int64), "pixels": pixels}


def answer_tokens(task: str, s: PaliSettings) -> int:
    """Most tokens of a task's answer, </s> included."""
    return {"ocr": s.ocr_tokens, "detect": s.detect_tokens}.get(task, s.answer_tokens)


def encode(prompt: str, s: PaliSettings) -> NDArray[np.int64]:
    """A prompt's ids, `<extra_id_0>` in place of each `BLANK`, </s> at the end."""
    pieces = tokenizer(s.vocabulary, s.language.words)
    ids: list[int] = []
    for number, part in enumerate(prompt.split(BLANK)):
        ids += [pieces.sentinel(0)] * (number > 0) + pieces.encode(part)
    return np.array([*ids, END], np.int64)


def square(image: images.Pixels, side: int) -> images.Pixels:
    """The whole image, resized to `side` x `side` whatever its proportions: bilinear, as ViT-e's
    second cool-down has it (sheet of big_vision's `resize`)."""
    if image.shape[:2] == (side, side):
        return np.ascontiguousarray(image)
    nchw = torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2)
    found = F.interpolate(nchw, (side, side), mode="bilinear", antialias=True)
    return np.ascontiguousarray(found.permute(0, 2, 3, 1)[0].numpy())


def example(kind: str, rows: int, s: PaliSettings) -> Batch:
    """An empty batch of what `read` gives, at its longest."""
    if kind == TEXT_TASK:
        source, target = spans.lengths(spans.raw_length(s.span_tokens))
    else:
        source = s.prompt_tokens
        target = max(s.answer_tokens, s.ocr_tokens, s.detect_tokens)
    data = {
        "source": torch.ones(rows, source, dtype=torch.int64),
        "target": torch.ones(rows, target, dtype=torch.int64),
    }
    if kind != TEXT_TASK:
        side = s.vision.image_size
        data["pixels"] = torch.zeros(rows, side, side, 3, dtype=torch.uint8)
    return Batch(kind, data, places={"tokens": torch.arange(rows * target)})


def _text(sample: Sample, s: PaliSettings) -> Row:
    """A text as it is, to be joined."""
    ids = tokenizer(s.vocabulary, s.language.words).encode(text(sample))
    if len(ids) < 2:
        raise SampleError("a text without two tokens", "empty_text")
    return {"ids": np.array(ids, np.int64)}


def join(
    rows: Iterable[Row], s: PaliSettings, draw: np.random.Generator
) -> tuple[Row, Sequence[Change]]:
    """Texts one behind the other with spans hidden, `source` and `target` int64, </s> at the end of
    both: so many texts as fill a row, and of those a random part as long as the row."""
    most = spans.raw_length(s.span_tokens)
    ids = np.empty(0, np.int64)
    for row in rows:
        ids = np.concatenate([ids, row["ids"]])
        if len(ids) >= most:
            break
    begin = int(draw.integers(max(len(ids) - most, 0) + 1))
    pieces = tokenizer(s.vocabulary, s.language.words)
    source, target = spans.corrupt(ids[begin : begin + most], draw, pieces)
    return {"source": source, "target": target}, ["cut"] if len(ids) > most else []


def stream_of(name: str, s: PaliSettings, otherwise: tuple[str, ...]) -> Stream:
    """What a task reads, and which tasks may use what it cannot."""
    t = s.language_temperature
    languages = None if t == 1 else Languages(t)
    if name == TEXT_TASK:
        lengths = _lengths(*spans.lengths(spans.raw_length(s.span_tokens)))
        return Stream(("txt",), lengths=lengths, joins=s.span_texts, languages=languages)
    longest = max(s.answer_tokens, s.ocr_tokens, s.detect_tokens)
    return Stream(
        (IMAGE, "txt", "json"), COLUMNS.get(name, ()), tokens=s.vision.grid**2,
        lengths=_lengths(s.prompt_tokens, longest), otherwise=otherwise, languages=languages,
    )  # fmt: skip


def _lengths(source: int, target: int) -> dict[str, Lengths]:
    return {"source": Lengths.up_to(source), "target": Lengths.up_to(target)}


def _caption(sample: Sample) -> str:
    told = text(sample).replace(BLANK, "").strip()
    if not told:
        raise SampleError("the caption is empty", "empty_text")
    return told


def asked_question(sample: Sample, draw: np.random.Generator) -> Question:
    """One of a sample's questions.

    Raises:
        SampleError: it has none.
    """
    pairs = read_object(sample["questions"]).get("pairs") or []
    if not pairs:
        raise SampleError("no question", "no_answer")
    return Question.from_json(pairs[int(draw.integers(len(pairs)))])


def _objects(value: dict[str, Any], s: PaliSettings, draw: np.random.Generator) -> objects.Objects:
    classes = _classes(s.classes) if s.classes else []
    return objects.known_objects(value["labels"], value["absent"], classes, draw)


_classes = lru_cache(4)(read_labels)


def read_object(data: bytes) -> dict[str, Any]:
    """A member that is a JSON object.

    Raises:
        SampleError: it is none.
    """
    if not data:
        raise SampleError("a column without a value", "no_value")
    try:
        found = json.loads(data)
    except ValueError as error:
        raise SampleError(f"a value that is no JSON: {error}", "no_value") from error
    if not isinstance(found, dict):
        raise SampleError("a value that is no JSON object", "no_value")
    return found
