"""From a sample's bytes to what OFA is asked, what it is to answer, and what it sees
(OFA-Sys/OFA, `data/pretrain_data/unify_dataset.py`).

Everything random comes from a generator that is a pure function of (seed, stream, key, epoch). A
sample gives one or two examples, which share its image: of a caption also whether a text describes
the image, of a question also whether an answer is right, of a region also what it is called.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from septet.preprocess.questions.pairs import Question
from septet.preprocess.shards.reader import Sample
from septet.trainers.inputs import images
from septet.trainers.inputs.codes import CodeGrid, MeanColours
from septet.trainers.inputs.masks import Ids
from septet.trainers.inputs.members import image_file, note, text
from septet.trainers.ofa import views
from septet.trainers.ofa.lists import Negatives
from septet.trainers.ofa.settings import CODE_SIDE, END, PAD, START, OfaSettings
from septet.trainers.ofa.spans import hide_spans
from septet.trainers.ofa.tokens import ENGLISH, instructions, vocabulary
from septet.trainers.task import Batch, Lengths, Row, SampleError, places

PAIRS = ("captions", "questions", "regions")
PLAIN = ("texts", "images", "detection")
"""Streams of the two forward passes of a step."""

EXAMPLES = {"pairs": 2, "plain": 1}
"""Of a row of a pass."""

INFILLED = 0.3
"""Share of a text's words that are hidden."""
READ = 512
"""Tokens that are read of a text, before its end is taken."""

Draw = np.random.Generator | None

_HERE = "\0"
"""Where in an instruction ids stand that are no text."""


class Example(NamedTuple):
    """A question to the model, and its answer."""

    source: Ids
    """Without <s> and </s>."""
    target: Ids
    """Without <s>, with </s>."""
    weight: float = 1.0
    """Factor on its tokens' loss."""
    unscored: int = 0
    """Tokens at the target's start whose loss does not count."""


def clean(caption: str, words: int, question: bool = False) -> str:
    """A caption, or a question, as OFA reads it: lower case, no marks at the start, hyphens and
    slashes as spaces, at most so many words."""
    found = caption.lower().lstrip(",.!?*#:;~").replace("-", " ").replace("/", " ")
    if not question:
        found = found.replace("<person>", "person")
    return " ".join(found.split()[:words])


def ask(s: OfaSettings, task: str, language: str = ENGLISH, **parts: str) -> Ids:
    """The ids of an instruction."""
    return vocabulary(s).encode(instructions().fill(task, language, **parts))


def language_of(sample: Sample, s: OfaSettings) -> str:
    """The language that a sample's texts are asked for in."""
    return (getattr(sample, "language", None) if s.languages else None) or ENGLISH


def answer(s: OfaSettings, told: str) -> Ids:
    """A text to write, cut to `target_tokens`, with </s>."""
    return np.append(vocabulary(s).encode(f" {told}")[: s.target_tokens], END)


def described(sample: Sample, s: OfaSettings) -> str:
    """The sample's caption.

    Raises:
        SampleError: it has no word.
    """
    found = text(sample)
    if not clean(found, 1):
        raise SampleError("the caption is empty", "empty_text")
    return found


def captions(sample: Sample, s: OfaSettings, draw: Draw, negatives: Negatives) -> list[Example]:
    """What the image shows, and whether a caption describes it: its own, or with equal probability
    another (or its own with an object exchanged)."""
    told = described(sample, s)
    corpus = getattr(sample, "corpus", "")
    if len(told.split()) > s.target_words:
        note(sample, "cut")
    target = answer(s, clean(told, s.target_words))
    unscored = 2 if corpus in s.unscored else 0
    asked = ask(s, "caption", language_of(sample, s))
    found = [Example(asked, target, unscored=unscored)]
    if draw is None:
        return found
    wrong = draw.random() < 0.5
    if wrong:
        told = negatives.caption(draw, corpus, told, _objects(sample, s))
    source = ask(s, "match_caption", caption=clean(told, s.source_words))
    return [*found, Example(source, answer(s, "no" if wrong else "yes"), s.matching)]


def _objects(sample: Sample, s: OfaSettings) -> list[str]:
    value = sample.get(s.objects_column, b"") if s.objects_column else b""
    return [str(each) for each in json.loads(value)["objects"]] if value else []


def pair_of(sample: Sample, s: OfaSettings, draw: Draw) -> tuple[str, str, str, float]:
    """A question of the sample's, its likeliest answer, its kind, and the share of those asked
    who gave that answer.

    Raises:
        SampleError: there is none with an answer.
    """
    given = [Question.from_json(p) for p in _json(sample, s.questions_column)["pairs"]]
    if not given:
        raise SampleError("there is no question", "no_answer")
    asked = given[int(draw.integers(len(given))) if draw else 0]
    counts = dict(asked.answers) or {asked.answer: 1}
    best = max(counts, key=lambda each: counts[each])
    question = clean(asked.question, s.source_words, question=True)
    if not question or not best.strip():
        raise SampleError("the question or its answer is empty", "no_answer")
    return question, best.lower(), asked.kind, counts[best] / sum(counts.values())


def questions(sample: Sample, s: OfaSettings, draw: Draw, negatives: Negatives) -> list[Example]:
    """An answer to a question, and whether an answer to it is right."""
    question, right, kind, sure = pair_of(sample, s, draw)
    found = [Example(ask(s, "vqa", question=question), answer(s, right), sure)]
    if draw is None:
        return found
    wrong, told = draw.random() < 0.5, right
    if wrong:
        told = negatives.answer(draw, getattr(sample, "corpus", ""), right, kind, sure)
    source = ask(s, "match_answer", question=question, answer=told)
    return [*found, Example(source, answer(s, "no" if wrong else "yes"), sure * s.matching)]


def boxed(sample: Sample, column: str) -> tuple[views.Boxes, list[str]]:
    """Boxes within the image, of some area, with their labels or phrases, from a column of the
    kind `boxes` or `phrases`.

    Raises:
        SampleError: there is none.
    """
    value = _json(sample, column)
    given = np.array(value["boxes"], np.float64).reshape(-1, 4)
    corners = np.clip(given, 0, 1)
    labels = [str(label) for label in value.get("phrases") or value.get("labels") or ()]
    kept = [i for i in np.flatnonzero(_areas(corners) > 0) if labels[i].strip()]
    if not kept:
        raise SampleError(f"column {column} has no box within the image", "no_box")
    if len(kept) < len(given):
        note(sample, "box_outside")
    return corners[kept], [labels[i] for i in kept]


def _areas(corners: views.Boxes) -> Any:
    return np.prod(corners[:, 2:] - corners[:, :2], 1)


def regions(phrase: str, box: views.Boxes, s: OfaSettings, language: str) -> list[Example]:
    """Where a phrase's region is, and what the region is called; `box` [1, 4] in the input.

    Raises:
        SampleError: the phrase has no word.
    """
    if not clean(phrase, 1):
        raise SampleError(f"the phrase {phrase!r} has no word", "empty_text")
    bins = vocabulary(s).boxes(box, s.image_size)[0]
    source = ask(s, "ground", phrase=clean(phrase, s.source_words))
    told = answer(s, clean(phrase, s.target_words))
    return [
        Example(source, np.append(bins, END)),
        Example(np.concatenate([ask(s, "describe", language), bins]), told),
    ]


def detection(boxes: views.Boxes, labels: Sequence[str], s: OfaSettings) -> Example:
    """The objects of an image, the largest first: four bins and the label of each; no object is
    cut in two where the target would be too long.

    Raises:
        SampleError: none is left, as no box is within the image.
    """
    words, parts, room = vocabulary(s), [], s.target_tokens
    areas = _areas(boxes)
    for i in np.argsort(-areas, kind="stable"):
        if areas[i] <= 0:
            break
        part = np.concatenate(
            [words.boxes(boxes[i : i + 1], s.plain_size)[0], words.encode(f" {labels[i].lower()}")]
        )
        if len(part) > room:
            break
        parts.append(part)
        room -= len(part)
    if not parts:
        raise SampleError("no box is within the part of the image that is seen", "no_box")
    return Example(ask(s, "detect"), np.append(np.concatenate(parts), END))


def texts(sample: Sample, s: OfaSettings, draw: Draw) -> Example:
    """The whole of a text of which spans are hidden; without `draw` nothing is.

    Raises:
        SampleError: it has no word.
    """
    words = vocabulary(s)
    ids, begins = words.encode_words(f" {text(sample).strip().lower()}")
    if len(ids) > s.text_tokens:
        note(sample, "cut")
    ids, begins = ids[:READ][-s.text_tokens :], begins[:READ][-s.text_tokens :]
    if not begins.any() or not text(sample).strip():
        raise SampleError("text is empty", "empty_text")
    hidden = ids
    if draw is not None:
        hidden = hide_spans(draw, ids, begins, INFILLED, s.mask)
    before, after = instructions().fill("infill_text", text=_HERE).split(_HERE)
    source = np.concatenate([words.encode(before), hidden, words.encode(after)])
    return Example(source, np.append(ids, END))


def code_grid(s: OfaSettings) -> CodeGrid:
    """The codes that are written: of the middle half of an image."""
    return CodeGrid("vqgan", CODE_SIDE, s.code_grid, s.codes)


def filled(sample: Sample, s: OfaSettings, draw: Draw) -> tuple[images.Pixels, Example]:
    """An image of `plain_size`, and the codes of its middle half.

    Raises:
        SampleError: the image cannot be decoded, or the column is another image's.
    """
    data, side = image_file(sample), s.plain_size
    if s.codes_column:
        row = code_grid(s).stored_view(data, sample[s.codes_column], s.codes_column, side, draw)
        pixels, codes = row["pixels"], row["codes"]
    else:
        pixels = views.square(images.decode(data), side)
        middle = torch.from_numpy(pixels[s.hole, s.hole].copy()).permute(2, 0, 1)[None]
        stride = middle.shape[-1] // s.code_grid
        codes = MeanColours(stride).codes(middle.float() / 255).numpy()
    return pixels, Example(ask(s, "infill"), np.append(vocabulary(s).codes(codes), END))


def read(stream: str, sample: Sample, s: OfaSettings, draw: Draw, negatives: Negatives) -> Row:
    """A sample as model inputs. E is 2 for pairs in training, else 1.

    | input | |
    |---|---|
    | `pixels` | uint8 [P, P, 3] |
    | `seen` | bool [], whether there is an image |
    | `source`, `target` | int64 [T, E], padded behind |
    | `weight` | float32 [E] |
    | `unscored` | int64 [E], tokens at the target's start that do not count |
    | `patches` | int64 [E, n], image tokens that are kept; pairs, where `model.patches` is set |
    | `codes` | bool [], whether the target is image codes; of the other streams |
    """
    plain = stream in PLAIN
    side = s.plain_size if plain else s.image_size
    seen, whole = stream != "texts", None
    if stream == "texts":
        pixels, examples = np.zeros((side, side, 3), np.uint8), [texts(sample, s, draw)]
    elif stream == "images":
        pixels, example = filled(sample, s, draw)
        examples = [example]
    else:
        whole = images.decode(image_file(sample))
    if stream == "detection":
        assert whole is not None
        boxes, labels = boxed(sample, s.boxes_column)
        pixels = views.square(whole, side)
        if draw is not None:
            pixels, boxes = views.jittered(draw, whole, boxes, side)
        examples = [detection(boxes, labels, s)]
    elif whole is not None:
        pixels = views.square(whole, side)
        if stream == "regions":
            boxes, phrases = boxed(sample, s.phrases_column)
            i = int(draw.integers(len(boxes))) if draw else 0
            box = boxes[i : i + 1]
            if draw is not None:
                pixels, box = views.around(draw, whole, box, side, s.largest)
            examples = regions(phrases[i], box, s, language_of(sample, s))[: 2 if draw else 1]
        else:
            make = captions if stream == "captions" else questions
            examples = make(sample, s, draw, negatives)
            if draw is not None:
                pixels = views.centre(draw, whole, side, s.largest, s.augmentations)
    return row(pixels, seen, examples, s, draw, None if not plain else stream == "images")


def row(
    pixels: images.Pixels,
    seen: bool,
    examples: Sequence[Example],
    s: OfaSettings,
    draw: Draw,
    codes: bool | None,
) -> Row:
    """Examples of one image as model inputs, see `read`.

    Raises:
        SampleError: what is asked is too long.
    """
    longest = max(len(each.source) for each in examples) + 2
    if longest > s.source_positions:
        raise SampleError(
            f"what is asked has {longest} tokens; {s.source_positions} are read", "too_long"
        )
    found: Row = {
        "pixels": pixels,
        "seen": np.asarray(seen),
        "source": _columns([np.concatenate([[START], e.source, [END]]) for e in examples]),
        "target": _columns([e.target for e in examples]),
        "weight": np.array([e.weight for e in examples], np.float32),
        "unscored": np.array([e.unscored for e in examples], np.int64),
    }
    if codes is not None:
        found["codes"] = np.asarray(codes)
    elif draw is not None and s.patches is not None:
        tokens = s.tokens(s.image_size)
        kept = [np.sort(draw.permutation(tokens)[: s.patches]) for _ in examples]
        found["patches"] = np.stack(kept).astype(np.int64)
    return found


def _columns(ids: Sequence[Ids]) -> Ids:
    found = np.full((max(map(len, ids)), len(ids)), PAD, np.int64)
    for i, each in enumerate(ids):
        found[: len(each), i] = each
    return found


def _json(sample: Sample, column: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sample[column])
    return found


def lengths(kind: str, s: OfaSettings) -> dict[str, Lengths]:
    """Buckets of sources and targets."""
    codes = s.code_grid**2 + 1
    longest = {
        "source": s.source_positions,
        "target": max(s.target_tokens + 1, s.text_tokens + 1, codes if kind == "plain" else 0),
    }
    own = {codes} if kind == "plain" else set()
    return {name: Lengths.up_to(most, PAD, own) for name, most in longest.items()}


def example(kind: str, rows: int, s: OfaSettings) -> Batch:
    """An empty batch of the shapes and types that `read` gives, inputs at their longest."""
    each, side = EXAMPLES[kind], s.image_size if kind == "pairs" else s.plain_size
    buckets = lengths(kind, s)
    data = {
        "pixels": torch.zeros(rows, side, side, 3, dtype=torch.uint8),
        "seen": torch.ones(rows, dtype=torch.bool),
        **{
            name: torch.full((rows, buckets[name].buckets[-1], each), START)
            for name in ("source", "target")
        },
        "weight": torch.ones(rows, each),
        "unscored": torch.zeros(rows, each).long(),
    }
    if kind == "plain":
        data["codes"] = torch.zeros(rows, dtype=torch.bool)
    elif s.patches is not None:
        kept = torch.arange(s.patches).expand(rows, each, -1)
        data["patches"] = kept.contiguous()
    length = buckets["target"].buckets[-1]
    known = {kind: torch.zeros(rows * each * length).long(), "seen": torch.arange(rows)}
    return Batch(kind, data, places=known)


def _flat(x: Tensor) -> Tensor:
    """Tokens of examples [B, T, E] as rows [B E, T]."""
    return x.transpose(1, 2).flatten(0, 1)


def model_inputs(batch: Batch, s: OfaSettings) -> dict[str, Tensor]:
    """The arguments of `model.Ofa.encode`. What is to be filled in is grey, as is an image that is
    not there."""
    data = batch.data
    pixels = images.normalise(data["pixels"], views.MEAN, views.STD)
    known = places({"seen": data["seen"]}) if batch.places is None else batch.places
    found = {"ids": _flat(data["source"]), "seen": data["seen"], "shown": known["seen"]}
    blank = ~data["seen"].view(-1, 1, 1, 1)
    if "codes" in data:
        found["codes"] = data["codes"]
        hole = torch.zeros(pixels.shape[2:], dtype=torch.bool, device=pixels.device)
        hole[s.hole, s.hole] = True
        blank = blank | (data["codes"].view(-1, 1, 1, 1) & hole)
    if "patches" in data:
        found["patches"] = data["patches"].flatten(0, 1)
    found["pixels"] = pixels.masked_fill(blank, 0)
    return found


def kind_of(batch: Batch) -> str:
    """The forward pass that a batch is of, `pairs` or `plain`."""
    return "plain" if "codes" in batch.data else "pairs"


def masks(batch: Batch) -> dict[str, Tensor]:
    """See `Task.masks`: tokens that count, under the batch's kind, and `seen`."""
    return {kind_of(batch): targets(batch)[2], "seen": batch.data["seen"]}


def targets(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the examples of a batch: tokens before each one to write int64 [B E, T], those to write,
    which of them count bool [B E, T], and their factors float32 [B E, T]."""
    target = _flat(batch.data["target"])
    before = torch.cat([torch.full_like(target[:, :1], START), target[:, :-1]], 1)
    place = torch.arange(target.shape[1], device=target.device)
    late = place >= batch.data["unscored"].flatten()[:, None]
    scored = (target != PAD) & (late | (target == END))
    return before, target, scored, batch.data["weight"].flatten()[:, None].expand(target.shape)
