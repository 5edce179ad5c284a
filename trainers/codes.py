"""Image codes made while training, where no column has them."""

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from preprocess.codes.load import load_tokenizer

COLOURS = "colours"
STRIDE = 8
"""Pixels on each axis of a code, of the dVAE and of `MeanColours`."""


class Tokenizer(Protocol):
    """Pictures to codes."""

    codebook_size: int

    def codes(self, pixels: Tensor) -> Tensor:
        """float32 [B, 3, h, w] in [0, 1] to int64 [B, h / 8, w / 8]."""
        ...


class MeanColours:
    """A cell's mean colour in eight steps of red, green and blue: codes that need no weights and
    can be learnt in a minute, for trying out."""

    codebook_size = 512

    def codes(self, pixels: Tensor) -> Tensor:
        """See `Tokenizer`."""
        steps = (F.avg_pool2d(pixels, STRIDE) * 8).long().clamp(0, 7)
        red, green, blue = steps.unbind(1)
        return (red * 8 + green) * 8 + blue


def make_tokenizer(name: str, codes: int, device: torch.device) -> Tokenizer:
    """`colours`, or the dVAE whose weights lie at a path: frozen, and no part of the model.

    Raises:
        ValueError: no weights of a dVAE, or of a codebook larger than `codes`.
    """
    found: Tokenizer = MeanColours() if name == COLOURS else load_tokenizer("dvae", name, device)
    if found.codebook_size > codes:
        raise ValueError(
            f"the tokenizer has {found.codebook_size} codes, but model.codes is {codes}"
        )
    return found


def codes_of(data: Mapping[str, Tensor], tokenizer: Tokenizer | None) -> Tensor:
    """int64 [B, N]: `codes` where the batch has them, else those of `code_pixels` uint8
    [B, 8 grid, 8 grid, 3]."""
    if "codes" in data:
        return data["codes"]
    assert tokenizer is not None
    pixels = data["code_pixels"].permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        return tokenizer.codes(pixels).flatten(1)
