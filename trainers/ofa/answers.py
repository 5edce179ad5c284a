"""What a trained OFA can be asked, and how it answers: the instructions that it was trained with,
written out and read back."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from torch import nn

from septet.schemas.languages import require_language
from septet.trainers.generate.cache import Generative
from septet.trainers.generate.decoding import Decoding, Groups
from septet.trainers.generate.write import write
from septet.trainers.inputs.masks import Ids
from septet.trainers.loader.batches import BatchBuffer
from septet.trainers.ofa import samples, views
from septet.trainers.ofa.drawing import drawn_image, filled
from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.samples import Example, ask
from septet.trainers.ofa.settings import END, PAD, START, OfaSettings
from septet.trainers.ofa.tokens import ENGLISH, instructions, vocabulary
from septet.trainers.prediction import Ability, Answer, Asked
from septet.trainers.task import Batch

ABILITIES = {
    "caption": Ability("says what an image shows", may=("language",)),
    "vqa": Ability("answers a question about an image", ("image", "question")),
    "ground": Ability("finds the region that a text describes", ("image", "text"), gives="boxes"),
    "describe": Ability("says what a region is", ("image", "box"), ("language",)),
    "detect": Ability("finds the objects of an image and names them", gives="boxes"),
    "match": Ability("says yes or no: whether a text describes an image", ("image", "text")),
    "infill": Ability("draws the middle of an image anew", gives="image"),
    "generate": Ability("draws what a text describes", ("text",), gives="image"),
    "infill_text": Ability(
        "writes a text whole of which parts are hidden, each a _", ("text",), text="a _ circle"
    ),
}


def abilities(s: OfaSettings) -> dict[str, Ability]:
    """What a model of these settings can be asked, with a language of its own for an example."""
    language = (s.languages or (ENGLISH,))[-1]
    return {name: replace(each, language=language) for name, each in ABILITIES.items()}


PLAIN = ("detect", "infill_text", "infill", "generate")
"""Those that go with images of `plain_size`."""

DRAWS = ("infill", "generate")
"""Those that are answered in image codes."""

GAP = "_"


def side(ability: str, s: OfaSettings) -> int:
    """Pixels of a side of the image that is asked about."""
    return s.plain_size if ability in PLAIN else s.image_size


def source(ability: str, asked: Asked, s: OfaSettings) -> Ids:
    """The ids of a question.

    Raises:
        ValueError: its text has no word, or it is in a language that was not trained.
    """
    words, known = vocabulary(s), s.languages or (ENGLISH,)
    language = require_language(asked.language or known[0])
    if language not in known:
        raise ValueError(f"this model answers in {', '.join(known)}; found {language}")
    text = samples.clean(asked.text, s.source_words)
    question = samples.clean(asked.question, s.source_words, question=True)
    if (ability in ("ground", "match", "generate") and not text) or (
        ability == "vqa" and not question
    ):
        raise ValueError(f"{ability} needs a {'question' if ability == 'vqa' else 'text'} of words")
    if ability == "ground":
        return ask(s, "ground", phrase=text)
    if ability == "match":
        return ask(s, "match_caption", caption=text)
    if ability == "generate":
        return ask(s, "generate", caption=text)
    if ability == "describe":
        bins = words.boxes(np.array([asked.box]), s.image_size)[0]
        return np.concatenate([ask(s, "describe", language), bins])
    if ability == "infill_text":
        parts = asked.text.strip().lower().split(GAP)
        if not any(part.strip() for part in parts):
            raise ValueError(f"infill_text needs a text of words, with {GAP} for what is hidden")
        before, after = instructions().fill("infill_text", text="\0").split("\0")
        found = [words.encode(before)]
        for i, part in enumerate(parts):
            found += [np.array([s.mask])] if i else []
            found += [words.encode(f" {part.strip()}")] if part.strip() else []
        return np.concatenate([*found, words.encode(after)])
    return ask(s, ability, language, question=question)


def answers(
    s: OfaSettings, module: nn.Module, ability: str, asked: Sequence[Asked], beams: int
) -> list[Answer]:
    """What the module says; see `Task.predict`."""
    assert isinstance(module, Ofa)
    plain, words = ability in PLAIN, vocabulary(s)
    kind, pixels_a_side = "plain" if plain else "pairs", side(ability, s)
    buffer = BatchBuffer(len(asked), samples.lengths(kind, s))
    for i, each in enumerate(asked):
        pixels = np.zeros((pixels_a_side, pixels_a_side, 3), np.uint8)
        if each.image is not None:
            pixels = views.square(each.image, pixels_a_side)
        ids = source(ability, each, s)
        if len(ids) + 2 > s.source_positions:
            raise ValueError(f"a question of {len(ids)} tokens; {s.source_positions - 2} are read")
        example = Example(ids, np.array([END]))
        codes = ability in DRAWS if plain else None
        buffer.put(i, samples.row(pixels, each.image is not None, [example], s, None, codes))
    order = np.argsort(buffer.found.sum(0), kind="stable")  # as `cut` has rows
    ((data, _),) = buffer.cut(len(asked))
    batch = Batch(kind, data).to(next(module.parameters()).device)
    decoding = Decoding(most=s.target_tokens + 1, beams=beams)
    if ability == "ground":
        bins = range(words.first_bin, words.first_bin + s.bins)
        decoding = Decoding(5, beams=beams, allowed=Groups(bins, 4), among_allowed=True)
    if ability in DRAWS:
        each_code = range(words.first_code, words.first_code + s.codes)
        grid = Groups(each_code, s.code_grid**2)
        decoding = Decoding(grid.longest + 1, beams=beams, allowed=grid, among_allowed=True)
    writer = cast(Generative, module)
    written = write(writer, samples.model_inputs(batch, s), decoding, START, END, PAD)
    found = [Answer()] * len(asked)
    for place, ids, score in zip(
        order.tolist(), written.ids[:, 0].cpu().numpy(), written.scores[:, 0].tolist(), strict=True
    ):
        found[place] = _answer(ability, asked[place], ids, float(np.exp(score)), s)
    return found


def _answer(ability: str, asked: Asked, ids: Ids, score: float, s: OfaSettings) -> Answer:
    words = vocabulary(s)
    if ability in DRAWS:
        drawn = drawn_image(words.image_codes(ids).reshape(s.code_grid, -1), s)
        if ability == "infill" and asked.image is not None:
            drawn = filled(asked.image, drawn, s)
        return Answer(image=drawn, score=score)
    if ability == "ground":
        x0, y0, x1, y1 = (float(x) for x in words.corners(ids[:4], s.image_size)[0])
        return Answer(boxes=(((x0, y0, x1, y1), asked.text),), score=score)
    if ability == "detect":
        boxes = []
        for corners, label in words.objects(ids, s.plain_size):
            x0, y0, x1, y1 = (float(x) for x in corners)
            boxes.append(((x0, y0, x1, y1), label))
        return Answer(boxes=tuple(boxes), score=score)
    return Answer(words.decode(ids), score=score)
