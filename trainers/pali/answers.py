"""What a trained PaLI can be asked, and how it answers: the prompts that it was trained with, and
answers read back."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from septet.preprocess.boxes.tokens import Pali as Coordinates
from septet.preprocess.tokenizers.mt5 import END, PAD
from septet.schemas.languages import require_language
from septet.trainers.generate import write
from septet.trainers.generate.cache import Generative
from septet.trainers.generate.decoding import Decoding
from septet.trainers.inputs.images import normalise
from septet.trainers.pali.samples import MEAN, STD, answer_tokens, encode, fill, square
from septet.trainers.pali.settings import PaliSettings
from septet.trainers.pali.words import tokenizer, word_starts
from septet.trainers.prediction import Ability, Answer, Asked

ABILITIES = {
    "caption": Ability("says what an image shows, in a language", may=("language",)),
    "split_caption": Ability(
        "goes on with a caption whose first words are given",
        ("image", "text"),
        ("language",),
        text="a red",
    ),
    "vqa": Ability("answers a question in any language, in English", ("image", "question")),
    "ocr": Ability("reads the text in an image", may=("language",)),
    "objects": Ability("lists the objects of an image"),
    "detect": Ability(
        "finds objects by their names, with | between them",
        ("image", "text"),
        gives="boxes",
        text="red circle|blue star",
    ),
}

ENGLISH = "en"
"""Asked in where no language is given."""


def prompt(ability: str, asked: Asked) -> str:
    """A question as training has it, with `samples.BLANK`.

    Raises:
        ValueError: it has no word, or its language is none.
    """
    text, question = asked.text.strip(), asked.question.strip()
    language = require_language(asked.language or ENGLISH)
    if ability == "split_caption":
        if not text:
            raise ValueError("split_caption needs a caption's first words: --text 'a red'")
        return fill(ability, language, position=str(len(word_starts(text))), caption=text)
    if ability == "vqa":
        if not question:
            raise ValueError("vqa needs a question: --question 'what is red?'")
        return fill(ability, question=question)
    if ability == "objects":
        return fill("list_objects")
    if ability == "detect":
        names = [name.strip() for name in text.split("|") if name.strip()]
        if not names:
            raise ValueError(
                "detect needs names of what to find, with | between them: --text 'cat'"
            )
        return fill(ability, classes=" and ".join(names))
    return fill(ability, language)


def source(ability: str, asked: Asked, s: PaliSettings) -> Tensor:
    """A question's ids, int64 [S].

    Raises:
        ValueError: it cannot be asked, or is too long.
    """
    ids = encode(prompt(ability, asked), s)
    if len(ids) > s.prompt_tokens:
        raise ValueError(f"a question of {len(ids)} tokens; at most {s.prompt_tokens} are read")
    return torch.from_numpy(ids)


def answers(
    s: PaliSettings, module: nn.Module, ability: str, asked: Sequence[Asked], beams: int
) -> list[Answer]:
    """What the module says; see `Task.predict`."""
    device, side = next(module.parameters()).device, s.vision.image_size
    ids = [source(ability, each, s) for each in asked]
    images = [square(each.image, side) for each in asked if each.image is not None]
    pixels = torch.from_numpy(np.stack(images)).to(device)
    inputs = {
        "source": pad_sequence(ids, batch_first=True, padding_value=PAD).to(device),
        "pixels": normalise(pixels, MEAN, STD),
    }
    if ability == "detect":
        return [
            Answer(boxes=read_boxes(text), score=score)
            for text, score in texts(s, module, ability, inputs, beams)
        ]
    return [Answer(text, score=x) for text, x in texts(s, module, ability, inputs, beams)]


def texts(
    s: PaliSettings, module: nn.Module, task: str, inputs: Mapping[str, Tensor], beams: int = 1
) -> list[tuple[str, float]]:
    """What the module writes for each row of `model.Pali.encode`'s inputs, with the probability of
    a token (their geometric mean)."""
    decoding = Decoding(most=answer_tokens(task, s), beams=beams)
    pieces = tokenizer(s.vocabulary, s.language.words)
    return write.texts(cast(Generative, module), inputs, decoding, (PAD, END, PAD), pieces.decode)


def read_boxes(text: str) -> tuple[tuple[tuple[float, float, float, float], str], ...]:
    """The boxes that a text writes, as shares of the sides, each with its label; those without
    an area are left out."""
    tokens, labels = Coordinates().parse(text)
    found = []
    for (x0, y0, x1, y1), label in zip(Coordinates().decode(tokens).tolist(), labels, strict=True):
        if x0 < x1 and y0 < y1:
            found.append(((x0, y0, x1, y1), label))
    return tuple(found)
