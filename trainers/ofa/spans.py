"""Spans of a text that <mask> stands for, as BART draws them (Lewis et al., arXiv 1910.13461,
section 2.2; fairseq's `DenoisingDataset`)."""

import math

import numpy as np
from numpy.typing import NDArray

from septet.trainers.inputs.masks import Ids

MEAN, LONGEST = 3.0, 17
"""Of the words of a span, which are drawn from a Poisson distribution."""


def lengths(draw: np.random.Generator, words: int) -> NDArray[np.int64]:
    """Lengths of spans that come to so many words in all, the last one cut; some are 0."""
    found: list[int] = []
    while sum(found) < words:
        length = int(draw.poisson(MEAN))
        if length <= LONGEST:
            found.append(min(length, words - sum(found)))
    return np.array(found, np.int64)


def hide_spans(
    draw: np.random.Generator, ids: Ids, starts: NDArray[np.bool_], share: float, mask: int
) -> Ids:
    """A text with one <mask> for each span.

    Spans begin at words and do not go beyond the text; one that begins within another
    has no <mask> of its own. A span of length 0 is a <mask> between tokens.

    Args:
        draw: Source of randomness.
        ids: int64 [T], pieces alone.
        starts: bool [T], pieces that begin a word.
        share: Of the words to hide, rounded up.
        mask: The id of <mask>.
    """
    firsts = np.flatnonzero(starts)
    budget = math.ceil(share * len(firsts))
    if not budget:
        return ids
    spans = lengths(draw, budget)
    inserted = int((spans == 0).sum())
    spans = spans[spans > 0]
    found, kept = ids.copy(), np.ones(len(ids), np.bool_)
    ends = np.append(firsts[1:], len(ids))
    for word, length in zip(draw.permutation(len(firsts))[: len(spans)], spans, strict=False):
        last = ends[min(word + length, len(firsts)) - 1]
        kept[firsts[word] + 1 : last] = False
        found[firsts[word]] = mask
    found = found[kept]
    places = draw.integers(0, len(found) + 1, inserted)
    return np.insert(found, places, mask)
