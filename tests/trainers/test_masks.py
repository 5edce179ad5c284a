import numpy as np
import pytest
from transformers.models.flava.image_processing_pil_flava import FlavaMaskingGenerator

from septet.trainers.inputs.masks import block_mask, choose_words, hide_words


def draw(seed=0):
    return np.random.default_rng(seed)


def test_block_masks_are_distributed_as_flavas():
    counts = np.array([block_mask(draw(i), 14, 75, 16).sum() for i in range(600)])
    theirs = FlavaMaskingGenerator()
    expected = np.array([int(theirs().sum()) for _ in range(500)])
    assert counts.max() == 75 == expected.max() and counts.min() >= 60
    assert counts.mean() == pytest.approx(expected.mean(), abs=0.3)
    assert (counts == 75).mean() == pytest.approx((expected == 75).mean(), abs=0.08)
    where = np.mean([block_mask(draw(i), 14, 75, 16) for i in range(600)], 0).reshape(14, 14)
    assert where[7, 7] > where[0, 0] > 0.01  # Blocks lie more often in the middle.


@pytest.mark.parametrize("grid,most,least", [(4, 6, 2), (2, 1, 1), (14, 75, 16), (30, 400, 16)])
def test_block_masks_never_hold_more_than_asked(grid, most, least):
    for i in range(200):
        mask = block_mask(draw(i), grid, most, least)
        assert mask.shape == (grid * grid,) and 0 <= mask.sum() <= most
    assert (block_mask(draw(3), grid, most, least) == block_mask(draw(3), grid, most, least)).all()


def test_words_are_chosen_alone_or_whole():
    for count in (1, 3, 10, 75):
        chosen = choose_words(draw(count), count, 0.15)
        assert chosen.sum() == max(1, round(0.15 * count))
    starts = [True, False, False, True, True, False] * 10
    words = np.cumsum(starts)
    hits = np.zeros(60)
    for i in range(400):
        chosen = choose_words(draw(i), 60, 0.15, starts)
        assert chosen.sum() <= 9 + 3
        for word in np.unique(words[chosen]):
            assert chosen[words == word].all()
        hits += chosen
    assert hits.min() > 20


def test_an_empty_text_has_nothing_to_choose():
    assert choose_words(draw(), 0, 0.15, []).shape == (0,)


def test_hidden_words_are_masked_swapped_or_kept():
    ids = np.full(40_000, 7, np.int64)
    chosen = np.arange(40_000) % 2 == 0
    hidden = hide_words(draw(), ids, chosen, mask=4, words=1000)
    assert (hidden[~chosen] == 7).all()
    at = hidden[chosen]
    assert (at == 4).mean() == pytest.approx(0.8, abs=0.01)
    assert (at == 7).mean() == pytest.approx(0.1, abs=0.01)
    others = at[(at != 4) & (at != 7)]
    assert len(others) / len(at) == pytest.approx(0.1, abs=0.01)
    assert others.min() < 20 and others.max() > 980
