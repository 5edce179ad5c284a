"""What a trained model says of scenes that it was not trained on.

    python -m examples.seven.shown RUN CORPUS HELD_OUT FILE

writes a `cards.Shown` as JSON.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from examples.seven.cards import Card, Line, Mark, Part, Shown, State, View
from septet.preprocess import files
from septet.preprocess.boxes.annotated import read_extra
from septet.preprocess.columns.base import IMAGE
from septet.preprocess.columns.members import unpack_arrays
from septet.preprocess.columns.reader import ColumnShardReader
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.synthetic.languages import WORDINGS, caption, questions
from septet.preprocess.synthetic.scenes import Scene
from septet.trainers.beit3.samples import tokenizer as sentence_pieces
from septet.trainers.commands.trained import Trained, run_record
from septet.trainers.ernie_vil.model import KINDS
from septet.trainers.ernie_vil.samples import REGIONS
from septet.trainers.ernie_vil.task import ErnieVilTask
from septet.trainers.flava.task import FlavaTask
from septet.trainers.inputs import images
from septet.trainers.inputs.codes import COLOURS, image_of_codes
from septet.trainers.inputs.wordpieces import tokenizer as word_pieces
from septet.trainers.loader.kept import Kept
from septet.trainers.loader.languages import SampleLanguages
from septet.trainers.measures.parts import parts
from septet.trainers.prediction import Answer, Asked
from septet.trainers.task import Batch, Task

CARDS = 4
LOOKED_AT = 256
"""Held-out samples that cards are chosen of, and captions that the nearest are looked for in."""

RIGHT, WRONG = "with its own image", "with another image"


class Held(NamedTuple):
    """A held-out scene."""

    number: int
    pixels: images.Pixels
    caption: str
    language: str
    scene: Scene


def read_held(corpus: Corpus) -> list[Held]:
    """The first samples, in the corpus's order."""
    found = []
    for i in range(min(len(corpus), LOOKED_AT)):
        sample = corpus[i]
        metadata = json.loads(sample["json"])
        pixels = images.decode(next(sample[ext] for ext in IMAGE.split("|") if ext in sample))
        scene = Scene.from_truth(read_extra(metadata))
        told = sample["txt"].decode()
        found.append(Held(i, pixels, told, str(metadata["language"])[:2], scene))
    return found


def chosen(held: Sequence[Held], language: str = "", most: int = CARDS) -> list[Held]:
    """Those that are shown: of a language, if one is given, and of two things where there are."""
    own = [each for each in held if not language or each.language == language]
    return sorted(own, key=lambda each: -len(each.scene.things))[:most]


def judged(said: bool) -> State:
    """The state of what a model says."""
    return "right" if said else "wrong"


class Model(NamedTuple):
    """A trained model, and what it is asked about."""

    task: Task
    module: nn.Module
    corpus: Corpus
    held: list[Held]

    def ask(self, ability: str, asked: Sequence[Asked]) -> list[Answer]:
        """What it answers to questions about whole images."""
        ready = [
            Asked(
                None if each.image is None else self.task.view(ability, each.image),
                each.question, each.text, each.box, each.language,
            )
            for each in asked
        ]  # fmt: skip
        return list(self.task.predict(self.module, ability, ready))


def others(shown: Sequence[Held]) -> list[images.Pixels]:
    """For each scene the image of the one before it."""
    return [shown[i - 1].pixels for i in range(len(shown))]


# CLIP and FLAVA


def nearest(model: Model) -> list[Card]:
    """The three captions nearest to an image, of all that are looked at."""
    (part,) = parts(model.task, "pairs", model.corpus, LOOKED_AT, LOOKED_AT)
    outputs = model.task.forward(model.module, part.batch)
    scores = outputs["image"] @ outputs["text"].T
    cards = []
    for each in chosen(model.held):
        lines = [Line.of("its caption", each.caption, language=each.language)]
        values, places = scores[each.number].topk(3)
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            told = model.held[place]
            state = judged(told.caption == each.caption)
            lines.append(Line.of(f"near: {value:.2f}", told.caption, state, told.language))
        cards.append(Card(views=[View.of(each.pixels)], lines=lines))
    return cards


def nearest_and_filled(model: Model) -> list[Card]:
    """The nearest captions, and images with hidden patches filled in."""
    settings = model.task.settings.model_copy(update={"mismatched": 0.0})
    matching = model._replace(task=FlavaTask(settings, LOOKED_AT))
    masked = _filled(matching, "mmm_image", "mmm_text", chosen(model.held), word_names(model.task))
    return [
        Card(views=card.views, lines=[*near.lines, *card.lines])
        for near, card in zip(nearest(model), masked, strict=True)
    ]


# Hidden pieces and patches: BEiT-3, FLAVA and ERNIE-ViL


class Pieces(Protocol):
    """A tokenizer."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, special ones left out."""
        ...


def spelled(pieces: Pieces, begin: int) -> Callable[[int], str]:
    """How a piece is written within a text, with the blank before it where it begins a word.

    Args:
        pieces: The tokenizer.
        begin: A piece of Latin letters.
    """
    before = len(pieces.decode([begin]))
    return lambda i: pieces.decode([begin, i])[before:]


def word_names(task: Task) -> Callable[[int], str]:
    """`spelled` of models with word pieces."""
    pieces = word_pieces(task.settings.vocabulary, task.settings.words)
    return spelled(pieces, pieces.encode("a").ids[0])


def sentence_names(task: Task) -> Callable[[int], str]:
    """`spelled` of models with a SentencePiece model."""
    pieces = sentence_pieces(task.settings.vocabulary, task.settings.words)
    return spelled(pieces, pieces.encode("a")[-1])


def filled(model: Model) -> list[Card]:
    """Images with hidden patches, and captions with hidden words, filled in."""
    return _filled(model, "mvlm_image", "mvlm_text", chosen(model.held), sentence_names(model.task))


def _filled(
    model: Model,
    patches: str,
    words: str,
    shown: Sequence[Held],
    name: Callable[[int], str],
) -> list[Card]:
    task = model.task
    count = len(model.held) // 2 * 2
    (part,) = parts(task, "pairs", model.corpus, count, count, drawn=True)
    batch = task.exchange(part.batch)
    outputs = task.forward(model.module, batch)
    labels, places = task.labels(batch), task.places(batch)  # type: ignore[attr-defined]
    grid, length = task.settings.grid, batch.data["ids"].shape[1]
    cards = []
    for each in shown:
        pixels, row = batch.data["pixels"][each.number].numpy(), each.number
        side = task.settings.patch
        seen, painted = pixels.copy(), pixels.copy()
        told = _of_row(places[patches], outputs[patches], labels[patches], row, grid**2)
        for place, code, _ in told:
            y, x = (side * n for n in divmod(place, grid))
            seen[y : y + side, x : x + side] = 128
            painted[y : y + side, x : x + side] = image_of_codes(np.array([[code]]), side, COLOURS)
        right = sum(code == label for _, code, label in told)
        hidden = _of_row(places[words], outputs[words], labels[words], row, length)
        cards.append(
            Card(
                views=[
                    View.of(pixels, "image"),
                    View.of(seen, "seen"),
                    View.of(painted, f"filled in: {right} of {len(told)}"),
                ],
                lines=[_line("hidden words", batch.data["ids"][row], hidden, name)],
            )
        )
    return cards


def _of_row(
    places: Tensor, scores: Tensor, labels: Tensor, row: int, length: int
) -> list[tuple[int, int, int]]:
    """Of one row each place that is predicted, what is said and what is right."""
    said = scores.argmax(1)
    return [
        (int(place) % length, int(code), int(label))
        for place, code, label in zip(places, said, labels, strict=True)
        if int(place) // length == row
    ]


def _line(
    title: str, ids: Tensor, hidden: Sequence[tuple[int, int, int]], name: Callable[[int], str],
    language: str = "",
) -> Line:  # fmt: skip
    """A text whose hidden pieces are filled in."""
    said = {place: (code, label) for place, code, label in hidden}
    found: list[Part] = []
    for place, i in enumerate(ids.tolist()):
        code, label = said.get(place, (i, i))
        text = name(code)
        if found and text.startswith(" "):
            found.append(Part(text=" "))
        if place in said:
            found.append(Part(text=text.strip(), state=judged(code == label)))
        elif text:
            found.append(Part(text=text.strip()))
    return Line(name=title, parts=found, language=language)


# ERNIE-ViL


def told_by_regions(model: Model) -> list[Card]:
    """Captions whose objects, attributes and relations are hidden, filled in by an image's regions;
    and by those of another."""
    assert isinstance(model.task, ErnieVilTask)
    s = model.task.settings.model_copy(
        update={"mismatched": 0.0, "masked_nodes": 0.7, "shown_words": 0.0, "masked_regions": 0.0}
    )
    task = ErnieVilTask(s, model.task.global_batch)
    count = len(model.held) // 2 * 2
    (part,) = parts(task, "pairs", model.corpus, count, count, drawn=True)
    batch = task.exchange(part.batch)
    moved = {name: batch.data[name].roll(1, 0) for name in REGIONS}
    views = {RIGHT: batch, WRONG: Batch("pairs", {**batch.data, **moved})}
    outputs = {title: task.forward(model.module, seen) for title, seen in views.items()}
    places, labels = task.places(batch), task.labels(batch)
    length, name = s.text_tokens, word_names(task)
    cards = []
    for each in chosen(model.held, "en"):
        lines = []
        for title, found in outputs.items():
            hidden = [
                told
                for kind in KINDS
                for told in _of_row(places[kind], found[kind], labels[kind], each.number, length)
            ]
            ids = batch.data["ids"][each.number]
            lines.append(_line(title, ids, hidden, name, "en"))
        regions = _boxes(model.corpus, "regions", each.number)
        marks = [Mark(box=box, label=str(n)) for n, box in enumerate(regions[: s.most_regions], 1)]
        cards.append(Card(views=[View.of(each.pixels, "regions", marks)], lines=lines))
    return cards


def _boxes(corpus: Corpus, column: str, number: int) -> list[tuple[float, float, float, float]]:
    shard, row = corpus.locate(number)
    with ColumnShardReader(corpus, column, shard) as reader:
        value = unpack_arrays(reader.value(row))
    return [tuple(box) for box in value["boxes"].tolist()]


# Those that write


def chinese(model: Model) -> list[Card]:
    """What M6 writes of an image and of another, and how it fills a gap in its caption."""
    shown = chosen(model.held, "zh")
    gaps = [_with_gap(each.caption) for each in shown]
    written = {
        title: (
            model.ask("caption", [Asked(image) for image in seen]),
            model.ask(
                "infill", [Asked(image, text=g) for image, g in zip(seen, gaps, strict=True)]
            ),
        )
        for title, seen in ((RIGHT, [each.pixels for each in shown]), (WRONG, others(shown)))
    }
    cards = []
    for i, each in enumerate(shown):
        lines = [Line.of("its caption", each.caption, language="zh")]
        for title, (captions, _) in written.items():
            text = captions[i].text
            lines.append(Line.of(f"caption {title}", text, judged(text == each.caption), "zh"))
        lines.append(Line.of("with a gap", gaps[i], language="zh"))
        for title, (_, infilled) in written.items():
            text = infilled[i].text
            lines.append(Line.of(f"filled in {title}", text, judged(text == each.caption), "zh"))
        cards.append(Card(views=[View.of(each.pixels)], lines=lines))
    return cards


def _with_gap(text: str) -> str:
    """A Chinese caption whose first thing's colour is hidden."""
    words = WORDINGS["zh"].words  # type: ignore[attr-defined]
    first = min((w for w in words.values() if w.endswith("色") and w in text), key=text.index)
    return text.replace(first, "_", 1)


def answers(model: Model) -> list[Card]:
    """What OFA answers, finds and says."""
    shown = chosen(model.held)
    asked = [questions(each.scene, "en")[:2] for each in shown]
    things = [WORDINGS["en"].the(each.scene.things[0]) for each in shown]
    boxes = model.ask(
        "ground", [Asked(e.pixels, text=t) for e, t in zip(shown, things, strict=True)]
    )
    told = model.ask("caption", [Asked(e.pixels, language=e.language) for e in shown])
    cards = []
    for i, each in enumerate(shown):
        lines = [
            Line.of("its caption", each.caption, language=each.language),
            Line.of("says", told[i].text, judged(told[i].text == each.caption.lower()),
                    each.language),
            *_answered(model, each, [(q.question, q.answer) for q in asked[i]]),
            Line.of("finds", things[i], language="en"),
        ]  # fmt: skip
        marks = [Mark(box=box, label=label, state="hidden") for box, label in boxes[i].boxes]
        cards.append(Card(views=[View.of(each.pixels, "", marks)], lines=lines))
    return cards


def _answered(model: Model, each: Held, asked: Sequence[tuple[str, str]]) -> list[Line]:
    found = model.ask("vqa", [Asked(each.pixels, question=question) for question, _ in asked])
    return [
        Line.of(question, answer.text, judged(answer.text == right))
        for (question, right), answer in zip(asked, found, strict=True)
    ]


def many_languages(model: Model) -> list[Card]:
    """What PaLI says of an image in five languages, and answers to questions in them."""
    cards = []
    for each in chosen(model.held, most=3):
        told = model.ask("caption", [Asked(each.pixels, language=code) for code in WORDINGS])
        lines = [
            Line.of(code, answer.text, judged(answer.text == caption(each.scene, code)), code)
            for code, answer in zip(WORDINGS, told, strict=True)
        ]
        asked = [questions(each.scene, code)[-1] for code in ("en", "zh")]
        lines += _answered(model, each, [(q.question, q.answer) for q in asked])
        cards.append(Card(views=[View.of(each.pixels)], lines=lines))
    return cards


SHOW: Mapping[str, Callable[[Model], list[Card]]] = {
    "clip": nearest, "ernie_vil": told_by_regions, "flava": nearest_and_filled, "beit3": filled,
    "m6": chinese, "ofa": answers, "pali": many_languages,
}  # fmt: skip


def readable(task: Task, stream: str, corpus: Corpus) -> int:
    """The samples of a corpus that a stream can use."""
    wanted = task.streams[stream]
    others_ = [task.streams[name].columns for name in wanted.otherwise]
    kept = Kept(corpus, wanted.columns, others_)
    if not (wanted.languages and wanted.languages.only):
        return int(sum(kept.counts))
    told = SampleLanguages.of(corpus).parts(kept)
    return sum(sum(told[code].counts) for code in wanted.languages.only if code in told)


def shown(run: str, corpus: str, held_out: str) -> Shown:
    """See `cards.Shown`."""
    record = run_record(run)
    trained = Trained(run)
    task, module, held = trained.task, trained.module().eval(), Corpus(held_out)
    train = record["settings"]["train"]
    with torch.no_grad():
        cards = SHOW[trained.model](Model(task, module, held, read_held(held)))
    streams = task.streams.values()
    reads = [name for stream in streams for name in (*stream.members, *stream.columns)]
    reads += [name for stream in streams for name in stream.optional]
    return Shown(
        parameters=sum(x.numel() for x in module.parameters()),
        samples=max(readable(task, name, Corpus(corpus)) for name in task.streams),
        rows=sum(
            sub.total for step in range(train["steps"]) for sub in task.plan(train["seed"], step)
        ),
        reads=["image" if "|" in name else name for name in dict.fromkeys(reads)],
        cards=cards,
    )


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: python -m examples.seven.shown RUN CORPUS HELD_OUT FILE")
    *given, out = sys.argv[1:]
    files.write_bytes(out, shown(*given).model_dump_json().encode())
