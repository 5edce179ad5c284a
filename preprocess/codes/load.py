"""Image tokenizers by name, with weights from a file."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from septet.preprocess.codes.dvae import Dvae
from septet.preprocess.codes.tokenizer import ImageTokenizer
from septet.preprocess.codes.vqgan import Vqgan
from septet.preprocess.codes.vqkd import Vqkd
from septet.preprocess.weights import read_state

TOKENIZERS: dict[str, type[ImageTokenizer]] = {"vqgan": Vqgan, "dvae": Dvae, "vqkd": Vqkd}


def load_tokenizer(
    name: str, path: str, device: str | torch.device = "cpu", decoder: bool = False
) -> ImageTokenizer:
    """Load a tokenizer with published weights, on a device.

    Args:
        name: vqgan, dvae or vqkd.
        path: See `read_state`.
        device: The device of the tokenizer.
        decoder: Whether a VQGAN's `decode` will be needed.

    Raises:
        ValueError: there is no such tokenizer, or the file does not hold its weights.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"expected a tokenizer of {', '.join(TOKENIZERS)}; found {name!r}")
    state = read_state(path)
    try:
        if name == "vqgan":
            return Vqgan.from_state(state, decoder).to(device)
        return TOKENIZERS[name].from_state(state).to(device)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@dataclass(frozen=True)
class Form:
    """The form of the codes that a tokenizer gives."""

    codebook_size: int
    stride: int


@lru_cache(4)
def tokenizer_form(name: str, path: str) -> Form:
    """Find the form of the codes that a file of weights gives, from its shapes alone.

    Raises:
        ValueError: as `load_tokenizer`.
    """
    tokenizer = load_tokenizer(name, path)
    return Form(tokenizer.codebook_size, tokenizer.stride)
