"""Span corruption (Raffel et al., arXiv 1910.10683, section 3.1.4, in the form of T5's code)."""

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.tokenizers.mt5 import END, Mt5Tokenizer

DENSITY = 0.15
"""Share of the tokens that are hidden."""
MEAN_SPAN = 3
"""Tokens of a hidden span, in the mean."""

Ids = NDArray[np.int64]


def counts(length: int) -> tuple[int, int]:
    """How many of `length` tokens are hidden, in how many spans."""
    hidden = min(max(round(length * DENSITY), 1), length - 1)
    return hidden, min(max(round(hidden / MEAN_SPAN), 1), length - hidden)


def lengths(length: int) -> tuple[int, int]:
    """Tokens of the source and of the target of `length` tokens, </s> of each included."""
    hidden, spans = counts(length)
    return length - hidden + spans + 1, hidden + spans + 1


def raw_length(source: int) -> int:
    """The most tokens whose source has at most `source` tokens: 568 of 512."""
    length = source
    while lengths(length + 1)[0] <= source:
        length += 1
    return length


def corrupt(ids: Ids, draw: np.random.Generator, pieces: Mt5Tokenizer) -> tuple[Ids, Ids]:
    """Source and target of a text, </s> at the end of both.

    Spans that stay and spans that are hidden take turns; a text begins with one that stays, and
    ends with a hidden one. The k-th hidden span gives way to sentinel k, behind which the target
    has it.

    Args:
        ids: Two tokens or more.
        draw: Source of randomness.
        pieces: Gives sentinels.
    """
    hidden, spans = counts(len(ids))
    stays = _parts(len(ids) - hidden, spans, draw)
    gone = _parts(hidden, spans, draw)
    ends = np.cumsum(np.stack([stays, gone], 1).reshape(-1))
    source: list[int] = []
    target: list[int] = []
    for k, (stay, part) in enumerate(zip(*[iter(np.split(ids, ends[:-1]))] * 2, strict=True)):
        source += [*stay.tolist(), pieces.sentinel(k)]
        target += [pieces.sentinel(k), *part.tolist()]
    return np.array([*source, END], np.int64), np.array([*target, END], np.int64)


def _parts(total: int, parts: int, draw: np.random.Generator) -> Ids:
    """Numbers of at least 1 that sum to `total`, all such sequences equally likely."""
    cuts = np.sort(draw.permutation(total - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)
