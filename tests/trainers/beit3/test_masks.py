import numpy as np
import pytest

from septet.preprocess.tokenizers.xlmr import END, FIRST_PIECE, PAD, START
from septet.trainers.beit3.masks import mask_patches, mask_words
from septet.trainers.beit3.samples import tokenizer
from septet.trainers.inputs.masks import block_mask


def draw(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("grid,count,least", [
    (14, 78, 16), (16, 102, 16), (4, 6, 2), (2, 1, 1), (14, 195, 16), (30, 400, 16),
])  # fmt: skip
def test_images_hide_an_exact_number_of_patches(grid, count, least):
    for seed in range(100):
        mask = mask_patches(draw(seed), grid, count, least)
        assert mask.shape == (grid * grid,) and mask.dtype == np.bool_ and mask.sum() == count
        assert (mask == mask_patches(draw(seed), grid, count, least)).all()


def test_blocks_come_first_then_single_patches():
    short = 0
    for seed in range(300):
        blocks, mask = block_mask(draw(seed), 14, 78, 16), mask_patches(draw(seed), 14, 78, 16)
        assert (mask | ~blocks).all()  # What blocks hide is hidden.
        short += blocks.sum() < 78
    assert 20 < short < 280
    where = np.mean([mask_patches(draw(i), 14, 78, 16) for i in range(400)], 0).reshape(14, 14)
    assert where[7, 7] > where[0, 0] > 0.05  # Blocks lie more often in the middle.


def row(count: int, length: int):
    ids = np.full(length, PAD, np.int64)
    ids[: count + 2] = [START, *range(10, 10 + count), END]
    return ids


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_texts_hide_a_share_of_their_pieces_and_no_special_one(share):
    words = tokenizer("scenes", 256)
    kept = masked = others = 0
    for seed in range(400):
        count = seed % 30
        ids = row(count, 34)
        hidden, places = mask_words(draw(seed), ids, count, share, words)
        assert places.sum() == (max(1, round(share * count)) if count else 0)
        assert not places[0] and not places[count + 1 :].any()
        assert (hidden[~places] == ids[~places]).all()
        found, true = hidden[places], ids[places]
        assert ((found >= FIRST_PIECE) & (found <= words.mask)).all()
        masked += (found == words.mask).sum()
        kept += (found == true).sum()
        others += ((found != words.mask) & (found != true)).sum()
    total = kept + masked + others
    assert masked / total == pytest.approx(0.8, abs=0.03)
    assert kept / total == pytest.approx(0.1, abs=0.03)
    assert others / total == pytest.approx(0.1, abs=0.03)
