"""Hidden spans of a text, each of which one [MASK] stands for (M6, section 3.3, after BART's text
infilling: Lewis et al., arXiv 1910.13461). What the paper leaves open is fixed here: spans' lengths
are Poisson of 3 and at least 1, and between two of them a token stays."""

import math

import numpy as np
from numpy.typing import NDArray

from septet.trainers.inputs.masks import Ids, Mask

MEAN = 3.0
"""Of the Poisson distribution of spans' lengths, in tokens."""


def hidden_tokens(draw: np.random.Generator, count: int, share: float) -> Mask:
    """Which tokens are hidden: ceil(share * count) of them, in spans that do not touch. Where the
    spans are is drawn evenly from all places that they can have.

    Args:
        draw: Source of randomness.
        count: Tokens of the text, at least 1.
        share: Of the tokens.

    Returns:
        bool [count].
    """
    budget = math.ceil(share * count)
    kept = count - budget
    lengths: list[int] = []
    left = budget
    while left:
        length = min(max(int(draw.poisson(MEAN)), 1), left)
        if len(lengths) == kept:  # One more would touch another: the last takes what is left.
            length = left
        lengths.append(length)
        left -= length
    # A span before each of some of the tokens that stay, or behind all of them.
    gaps = np.sort(draw.permutation(kept + 1)[: len(lengths)])
    begins = gaps + np.cumsum([0, *lengths[:-1]])
    found = np.zeros(count, np.bool_)
    for begin, length in zip(begins.tolist(), lengths, strict=True):
        found[begin : begin + length] = True
    return found


def with_masks(ids: Ids, hidden: Mask, mask: int) -> Ids:
    """The ids with one `mask` for each span of those hidden."""
    found = np.where(hidden, mask, ids)
    return found[~(hidden & _goes_on(hidden))]


def masked_alone(ids: Ids, hidden: Mask, mask: int) -> Ids:
    """The hidden ids alone, each span behind a `mask`."""
    begins: NDArray[np.int64] = np.flatnonzero((hidden & ~_goes_on(hidden))[hidden])
    return np.insert(ids[hidden], begins, mask)


def _goes_on(hidden: Mask) -> Mask:
    """Which tokens have a hidden one just before them."""
    return np.concatenate([[False], hidden[:-1]])
