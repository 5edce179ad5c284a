"""Masks of patches and words, which are hidden from the model. All are drawn from a generator."""

import math

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ids = NDArray[np.int64]

LEAST_ASPECT = 0.3
"""Least height / width of a block; the greatest is its inverse."""


def block_mask(draw: np.random.Generator, grid: int, most: int, least: int) -> Mask:
    """Blocks of patches as BEiT draws them (Bao et al., arXiv 2106.08254, algorithm 1, in the form
    that FLAVA's code has).

    Blocks are added until `most` patches are masked or ten tries in a row fail; so it is at most
    `most`.

    Args:
        draw: Source of randomness.
        grid: Patches on each axis.
        most: Patches to mask.
        least: Fewest patches of a block, as drawn; it may overlap others.

    Returns:
        [grid * grid], row by row.
    """
    mask = np.zeros((grid, grid), np.bool_)
    low = math.log(LEAST_ASPECT)
    count = 0
    while count < most:
        for _ in range(10):
            # Near the end the range is upside down; then larger blocks fit where they overlap.
            area = least + (most - count - least) * draw.random()
            aspect = math.exp(draw.uniform(low, -low))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h >= grid or w >= grid:
                continue
            y, x = int(draw.integers(grid - h + 1)), int(draw.integers(grid - w + 1))
            block = mask[y : y + h, x : x + w]
            new = h * w - int(block.sum())
            if 0 < new <= most - count:
                block[:] = True
                count += new
                break
        else:
            break
    return mask.reshape(-1)


def choose_words(
    draw: np.random.Generator, count: int, share: float, starts: list[bool] | None = None
) -> Mask:
    """Tokens to predict: max(1, round(share * count)) of them (BERT's `create_pretraining_data`).

    Args:
        draw: Source of randomness.
        count: Tokens of the text, special ones left out.
        share: Of the tokens.
        starts: Which tokens begin a word: words are then chosen whole, short and long ones equally
            likely, and as many tokens in the mean.

    Returns:
        bool [count].
    """
    chosen = np.zeros(count, np.bool_)
    if not count:
        return chosen
    wanted = max(1, round(share * count))
    if starts is None:
        chosen[draw.permutation(count)[:wanted]] = True
        return chosen
    firsts = np.flatnonzero(np.asarray(starts, np.bool_))
    ends = np.append(firsts[1:], count)
    order = draw.permutation(len(firsts))
    sizes = (ends - firsts)[order]
    # Words in a ring, and of its tokens `wanted` in a row: a word is chosen where its first token
    # is among them, so each with the same probability, however long it is.
    begins = np.cumsum(sizes) - sizes
    inside = (begins - int(draw.integers(count))) % count < wanted
    for word in order[inside]:
        chosen[firsts[word] : ends[word]] = True
    return chosen


def hide_words(
    draw: np.random.Generator, ids: Ids, chosen: Mask, mask: int, words: int, first: int = 0
) -> Ids:
    """Ids with those chosen replaced: 80 % by the mask token, 10 % by any token of [first, words),
    10 % not (BERT, section 3.1)."""
    dice = draw.random(len(ids))
    anything = draw.integers(first, words, size=len(ids))
    hidden = np.where(dice < 0.8, mask, np.where(dice < 0.9, anything, ids))
    return np.where(chosen, hidden, ids)
