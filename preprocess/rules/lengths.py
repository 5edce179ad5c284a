"""Rules of length, in characters, words and ideographs, by script."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.rule import Verdict
from septet.schemas.filter import Filter


def too_short(captions: Captions, settings: Filter) -> Verdict:
    """Captions of fewer characters than `min_chars`; `min_chars_compact` and `min_chars_unspaced`
    hold instead by script and language."""
    least = np.full(len(captions), settings.min_chars)
    least[captions.compact] = settings.min_chars_compact
    least[captions.unspaced] = settings.min_chars_unspaced
    return Verdict(pc.less(captions.lengths, pa.array(least)), captions.lengths)


def too_long(captions: Captions, settings: Filter) -> Verdict:
    """Captions of more characters than `max_chars`."""
    return Verdict(pc.greater(captions.lengths, settings.max_chars), captions.lengths)


def too_few_words(captions: Captions, settings: Filter) -> Verdict:
    """Captions of fewer words than `min_words`, or `min_words_compact` by script and language."""
    least = np.full(len(captions), settings.min_words)
    least[captions.compact | captions.unspaced] = settings.min_words_compact
    return Verdict(pc.less(captions.words, pa.array(least)), captions.words)


def too_many_words(captions: Captions, settings: Filter) -> Verdict:
    """Captions of more words than `max_words`."""
    return Verdict(pc.greater(captions.words, settings.max_words), captions.words)


def too_few_ideographs(captions: Captions, settings: Filter) -> Verdict:
    """Captions of fewer Chinese characters than `min_ideographs`."""
    count = pc.count_substring_regex(captions.text, r"\p{Han}")
    return Verdict(pc.less(count, settings.min_ideographs), count)
