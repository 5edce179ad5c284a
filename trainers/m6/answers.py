"""What a trained M6 can be asked, and how it answers: by writing a target text behind an image, a
source text, both or none, as in training."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from septet.preprocess.annotators.patches import pieces, resnet_trunk
from septet.preprocess.weights import read_state
from septet.trainers.generate.cache import Cache, Generative
from septet.trainers.generate.decoding import Decoding, Groups
from septet.trainers.generate.write import write
from septet.trainers.inputs.codes import COLOURS, image_of_codes
from septet.trainers.inputs.images import Pixels, normalise
from septet.trainers.inputs.masks import Ids
from septet.trainers.m6.samples import MEAN, STD, square, tokenizer
from septet.trainers.m6.settings import END, MASK, PAD, START, M6Settings
from septet.trainers.prediction import Ability, Answer, Asked

GAP = "_"
"""Stands for what is hidden of a text."""

_ABILITIES = {
    "caption": Ability("says what an image shows"),
    "infill": Ability(
        "writes an image's caption whole of which parts are hidden, each a _",
        ("image", "text"),
        text="红色的_",
    ),
    "infill_text": Ability(
        "writes a text whole of which parts are hidden, each a _", ("text",), text="红色的_"
    ),
    "continue": Ability("goes on with a text", ("text",), text="一个红色的"),
}
_DRAW = Ability("draws what a text describes", ("text",), gives="image", text="红色的圆形")


def abilities(s: M6Settings) -> dict[str, Ability]:
    """What a model of these settings can be asked."""
    return _ABILITIES | ({"draw": _DRAW} if s.codes else {})


def source(ability: str, asked: Asked, s: M6Settings) -> Ids:
    """The ids of a question's text.

    Raises:
        ValueError: it has no word, or is too long.
    """
    words = tokenizer(s)
    gaps = ability.startswith("infill")
    parts = asked.text.split(GAP) if gaps else [asked.text]
    found: list[int] = []
    for number, part in enumerate(parts):
        found += [MASK] * (number > 0) + words.encode(part).ids
    if not any(i != MASK for i in found) and not (gaps and "image" in _ABILITIES[ability].needs):
        raise ValueError(f"{ability} needs a text of words")
    most = s.hidden_tokens if gaps else s.text_tokens
    if len(found) > most:
        raise ValueError(f"a text of {len(found)} tokens; at most {most} are read")
    return np.array(found, np.int64)


def answers(
    s: M6Settings, module: nn.Module, ability: str, asked: Sequence[Asked], beams: int
) -> list[Answer]:
    """What the module says; see `Task.predict`."""
    device = next(module.parameters()).device
    inputs: dict[str, Tensor] = {}
    if "image" in abilities(s)[ability].needs:
        images = [each.image for each in asked if each.image is not None]
        inputs |= {name: x.to(device) for name, x in image_inputs(images, s).items()}
    if "text" in abilities(s)[ability].needs:
        ids = [torch.from_numpy(source(ability, each, s)) for each in asked]
        if ability == "continue":
            return [_continued(s, module, each.to(device), beams) for each in ids]
        inputs["source"] = pad_sequence(ids, batch_first=True, padding_value=PAD).to(device)
    if ability == "draw":
        decoder = s.vqgan if s.codes_column else COLOURS
        return [
            Answer(image=image_of_codes(codes, s.code_side, decoder), score=score)
            for codes, score in draw(s, module, inputs, beams)
        ]
    if ability.startswith("infill") and s.target == "masked":
        found = written_ids(s, module, inputs, beams)
        return [
            Answer(tokenizer(s).decode(filled(row, ids)), score=score)
            for row, (ids, score) in zip(inputs["source"].tolist(), found, strict=True)
        ]
    return [Answer(text, score=score) for text, score in texts(s, module, inputs, beams)]


def filled(source: Sequence[int], spans: Sequence[int]) -> list[int]:
    """A text with its gaps filled in.

    Args:
        source: Its ids, [MASK] for each gap.
        spans: What is written for the gaps alone, each behind a [MASK]. A gap without one stays;
            what is behind more [MASK]s than there are gaps, or before the first, is left out.
    """
    begins = [place for place, i in enumerate(spans) if i == MASK]
    ends = [*begins[1:], len(spans)]
    fillings = iter([spans[a + 1 : b] for a, b in zip(begins, ends, strict=False)])
    found: list[int] = []
    for i in source:
        found += next(fillings, [MASK]) if i == MASK else [i]
    return found


def image_inputs(images: Sequence[Pixels], s: M6Settings) -> dict[str, Tensor]:
    """What the model sees of images: `pixels`, or the features that a column would have.

    Raises:
        ValueError: it is not said where the weights are that make them.
    """
    if s.stages:
        pixels = torch.from_numpy(np.stack([square(image, s.image_size) for image in images]))
        return {"pixels": normalise(pixels, MEAN, STD)}
    if s.resnet is None:
        raise ValueError(
            f"the model reads column {s.patches_column}; to see an image it needs the ResNet-50 "
            "that made it: --set model.resnet=FILE"
        )
    trunk, found = _trunk(s.resnet), []
    for image in images:
        tiles = torch.from_numpy(pieces(Image.fromarray(image), s.image_size))
        with torch.no_grad():
            found.append(trunk(tiles.permute(0, 3, 1, 2).float() / 255).half())
    return {"patches": torch.stack(found)}


@lru_cache(1)
def _trunk(path: str) -> nn.Module:
    return resnet_trunk(read_state(path))


def texts(
    s: M6Settings, module: nn.Module, inputs: Mapping[str, Tensor], beams: int = 1
) -> list[tuple[str, float]]:
    """What the module writes for each row of `model.M6.encode`'s inputs, with the probability of a
    token (their geometric mean)."""
    words = tokenizer(s)
    return [(words.decode(ids), p) for ids, p in written_ids(s, module, inputs, beams)]


def written_ids(
    s: M6Settings, module: nn.Module, inputs: Mapping[str, Tensor], beams: int = 1
) -> list[tuple[list[int], float]]:
    """The same as ids, [PAD] behind the end: of `target=masked` the hidden spans alone."""
    writer, decoding = cast(Generative, module), Decoding(most=s.longest_target, beams=beams)
    written = write(writer, inputs, decoding, START, END, PAD)
    return list(zip(written.ids[:, 0].tolist(), written.scores[:, 0].exp().tolist(), strict=True))


def draw(
    s: M6Settings, module: nn.Module, inputs: Mapping[str, Tensor], beams: int = 1
) -> list[tuple[Ids, float]]:
    """The image codes [grid, grid] that the module writes for each row, among codes alone."""
    grid = Groups(range(s.words, s.words + s.codes), s.code_grid**2)
    decoding = Decoding(grid.longest + 1, beams=beams, allowed=grid, among_allowed=True)
    written = write(cast(Generative, module), inputs, decoding, START, END, PAD)
    codes = written.ids[:, 0, : grid.longest].reshape(-1, s.code_grid, s.code_grid) - s.words
    return list(zip(codes.cpu().numpy(), written.scores[:, 0].exp().tolist(), strict=True))


class _Begun:
    """A module that has written the first tokens of its targets already."""

    def __init__(self, module: nn.Module):
        self._module = cast(Generative, module)
        self.decode, self.logits = self._module.decode, self._module.logits

    def encode(self, begun: Tensor) -> Cache:
        """A cache with the tokens `begun`, int64 [B, t], in it."""
        cache = self._module.encode(rows=begun)
        self._module.decode(begun, cache)
        return cache


def _continued(s: M6Settings, module: nn.Module, ids: Tensor, beams: int) -> Answer:
    """A text, and how it goes on."""
    whole = torch.cat([ids.new_tensor([START]), ids])
    most = max(1, s.text_tokens + 1 - len(ids))
    written = write(
        _Begun(module), {"begun": whole[None, :-1]}, Decoding(most=most, beams=beams),
        int(whole[-1]), END, PAD,
    )  # fmt: skip
    told = tokenizer(s).decode([*ids.tolist(), *written.ids[0, 0].tolist()])
    return Answer(told, score=float(written.scores[0, 0].exp()))
