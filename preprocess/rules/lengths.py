"""Rules of length, in characters, words and ideographs, by script."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.rule import Verdict
from septet.schemas.filter import Filter

_ELIDED = r"^[^\pL]*(?i:l|un|dell|all|dall|nell|sull|d|qu)['’]\pL"
"""An elided article in front, of Italian, French, Catalan, Occitan."""


def too_short(captions: Captions, settings: Filter) -> Verdict:
    """Captions of fewer characters than `min_chars`; `min_chars_compact` and `min_chars_unspaced`
    hold instead by script and language."""
    least = np.array(
        [settings.min_chars, settings.min_chars_compact, settings.min_chars_unspaced], np.int32
    )[captions.writing]
    failed = pc.less(captions.lengths, pa.array(least))
    return Verdict(failed, captions.lengths, captions.writing)


def too_long(captions: Captions, settings: Filter) -> Verdict:
    """Captions of more characters than `max_chars`."""
    return Verdict(pc.greater(captions.lengths, settings.max_chars), captions.lengths)


def too_few_words(captions: Captions, settings: Filter) -> Verdict:
    """Captions of fewer words than `min_words`, or `min_words_compact` by script and language; an
    article that an apostrophe joins to the first word ("L'arbre") counts as a word."""
    held_to = np.minimum(captions.writing, 1)
    least = np.array([settings.min_words, settings.min_words_compact])[held_to]
    words = captions.words.to_numpy()
    few = np.flatnonzero(words < least)
    elided = pc.match_substring_regex(captions.text.take(pa.array(few)), _ELIDED)
    words = words.copy()
    words[few] += elided.to_numpy(zero_copy_only=False)
    return Verdict(pa.array(words < least), pa.array(words), held_to)


def too_many_words(captions: Captions, settings: Filter) -> Verdict:
    """Captions of more words than `max_words`."""
    return Verdict(pc.greater(captions.words, settings.max_words), captions.words)


def too_few_ideographs(captions: Captions, settings: Filter) -> Verdict:
    """Captions of fewer Chinese characters than `min_ideographs`."""
    count = pc.count_substring_regex(captions.text, r"\p{Han}")
    return Verdict(pc.less(count, settings.min_ideographs), count)
