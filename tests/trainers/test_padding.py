"""What padding costs on real captions: those of the demo's pages, 1,063 texts of one to 188 tokens
of CLIP's (median 11, mean 17, a tenth above 38) in twelve languages."""

from pathlib import Path

import numpy as np
import pytest

from examples.demo.count_pairs import responses
from examples.demo.page_images import page_images
from septet.preprocess.tokenizers.clip import clip_tokenizer
from septet.trainers.loader.buffers import BatchBuffer
from septet.trainers.task import Lengths

PAGES = Path(__file__).parents[2] / "examples/demo/pages"
MOST, PATCHES = 64, 256
"""The longest caption, and an image's tokens, as PaLI has them."""


@pytest.fixture(scope="module")
def lengths() -> np.ndarray:
    bodies = (
        body
        for path in sorted(PAGES.glob("*.warc.gz"))
        for _, kind, body in responses(path)
        if kind.startswith("text/html")
    )
    texts = {found.text for body in bodies for found in page_images(body) if len(found.text) > 1}
    pieces = clip_tokenizer()
    found = np.array([len(pieces.encode(text)) + 1 for text in sorted(texts)])
    assert len(found) == 1063 and np.median(found) == 11
    return np.minimum(found, MOST)


def places(lengths: np.ndarray, rows: int, micro: int, buckets: Lengths) -> tuple[int, int]:
    """Of 30 steps: the places of the batches that the loader makes, and how many hold a token."""
    draw, found, real = np.random.default_rng(0), 0, 0
    for _ in range(30):
        buffer = BatchBuffer(rows, {"ids": buckets})
        for i, n in enumerate(draw.choice(lengths, rows)):
            buffer.put(i, {"ids": np.ones(n, np.int64)})
        for data, tokens in buffer.cut(micro):
            assert data["ids"].sum() == tokens
            found, real = found + data["ids"].numel(), real + tokens
    return found, real


@pytest.mark.parametrize("rows,micro,text", [(128, 16, 0.27), (512, 32, 0.18)])
def test_padding_of_captions(lengths, rows, micro, text):
    """A rank's rows of a step, and at once."""
    found, real = places(lengths, rows, micro, Lengths.up_to(MOST))
    least, _ = places(lengths, rows, micro, Lengths(tuple(range(1, MOST + 1))))
    assert 1 - real / found < text
    assert 1 - least / found < 0.10  # What buckets add to the longest row of each batch.
    images = 30 * rows * PATCHES
    assert (found - real) / (found + images) < 0.03  # Of all tokens that a pass computes.


def test_buckets_rise_by_an_eighth_in_the_mean():
    assert Lengths.up_to(100, 1, {17}).buckets == (
        4, 8, 12, 16, 17, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 100
    )  # fmt: skip
    assert Lengths.up_to(3).buckets == (3,) and Lengths.up_to(64).buckets[-2:] == (56, 64)
