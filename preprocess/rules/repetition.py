"""Rules about repetition: of words, of pieces of characters, of marks."""

import numpy as np
import pyarrow as pa

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.rule import Verdict
from septet.preprocess.rules.shares import at_most, share
from septet.preprocess.rules.tokens import grouped, hash_windows
from septet.preprocess.text.characters import DIGIT, LETTER, SPACE
from septet.schemas.filter import Filter

_PIECE = 10
"""Characters of a piece (Laurençon et al. 2022, ROOTS)."""


def repeated_words(captions: Captions, settings: Filter) -> Verdict:
    """Captions whose share of words that have stood there before is more than
    `max_word_repetition`."""
    tokens = captions.tokens
    texts, _ = grouped(tokens.texts, tokens.hashes, len(captions))
    count = np.bincount(tokens.texts, minlength=len(captions))
    distinct = np.bincount(texts, minlength=len(captions))
    return at_most(share(count - distinct, count), settings.max_word_repetition)


def repeated_chars(captions: Captions, settings: Filter) -> Verdict:
    """Captions whose most frequent pieces of ten characters have a larger share of all such pieces
    than `max_char_repetition`."""
    found = captions.characters
    pieces = np.maximum(found.lengths - _PIECE + 1, 0)
    firsts = np.cumsum(pieces) - pieces
    starts = np.arange(pieces.sum()) + np.repeat(found.starts - firsts, pieces)
    hashes = hash_windows(found.codes, _PIECE)[starts]
    texts, counts = grouped(np.repeat(np.arange(len(pieces)), pieces), hashes, len(captions))
    distinct = np.bincount(texts, minlength=len(captions))
    most = np.sqrt(distinct).astype(np.int64)
    repeated = counts > 1
    texts, counts = texts[repeated], counts[repeated]
    order = np.lexsort((-counts, texts))
    texts, counts = texts[order], counts[order]
    rank = np.arange(len(texts)) - np.searchsorted(texts, texts)
    frequent = rank < most[texts]
    summed = np.bincount(texts[frequent], weights=counts[frequent], minlength=len(captions))
    return at_most(share(summed, pieces), settings.max_char_repetition)


def punctuation_run(captions: Captions, settings: Filter) -> Verdict:
    """Captions in which a mark is repeated more often in a row than `max_punctuation_run`."""
    codes, kinds = captions.characters.codes, captions.characters.kinds
    mark = (kinds & (LETTER | DIGIT | SPACE)) == 0
    begins = mark.copy()
    begins[1:] &= ~mark[:-1] | (codes[1:] != codes[:-1])
    ends = mark.copy()
    ends[:-1] &= ~mark[1:] | (codes[1:] != codes[:-1])
    starts = np.flatnonzero(begins)
    lengths = np.flatnonzero(ends) + 1 - starts
    longest = np.zeros(len(captions), np.int64)
    np.maximum.at(longest, captions.characters.text_of(starts), lengths)
    most = settings.max_punctuation_run or np.iinfo(np.int64).max
    return Verdict(pa.array(longest > most), pa.array(longest))
