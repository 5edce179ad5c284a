"""Image codes back to images, a JSON object a line: `python -m septet.preprocess.codes.decoding
WEIGHTS`, for programs that are not to hold torch."""

import base64
import sys
from functools import cache
from typing import Any, TextIO

import numpy as np

from septet.preprocess.annotators.codes import decoded, png
from septet.preprocess.answering import answer_lines
from septet.preprocess.codes.load import load_tokenizer
from septet.preprocess.codes.vqgan import Vqgan


def decode_lines(weights: str, questions: TextIO, answers: TextIO) -> None:
    """Answer `{"codes": rows of whole numbers}` by `{"png": base 64}`, or `{"error": why}`.

    Args:
        weights: A file of a VQGAN's weights, with its decoder.
        questions: Lines to answer.
        answers: Where a line is written for each.
    """

    @cache
    def tokenizer() -> Vqgan:
        found = load_tokenizer("vqgan", weights, decoder=True)
        assert isinstance(found, Vqgan)
        return found

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        return {"png": base64.b64encode(_decoded(tokenizer(), asked)).decode()}

    answer_lines(answer, questions, answers)


def _decoded(tokenizer: Vqgan, asked: dict[str, Any]) -> bytes:
    codes = np.asarray(asked.get("codes", []))
    if codes.ndim != 2 or codes.dtype != np.int64 or not codes.size:
        raise ValueError("expected rows of codes")
    if codes.min() < 0 or codes.max() >= tokenizer.codebook_size:
        raise ValueError(f"the codebook has {tokenizer.codebook_size:,} codes, not {codes.max():,}")
    return png(decoded(tokenizer, codes))


if __name__ == "__main__":
    decode_lines(sys.argv[1], sys.stdin, sys.stdout)
