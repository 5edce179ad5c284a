"""Rules about words: those of a stop list, and those that are not frequent."""

import numpy as np
import pyarrow as pa

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.lists import made_of, phrases
from septet.preprocess.rules.rule import Verdict
from septet.schemas.filter import Filter


def stop_list(captions: Captions, settings: Filter) -> Verdict:
    """Captions that hold a word or phrase of `stop_list`."""
    tokens = captions.tokens
    first = [(first[found], words) for found, first, words in
             made_of("stop_list", settings, phrases).found_in(tokens)]  # fmt: skip
    return _verdict(captions, first)


def rare_word(captions: Captions, settings: Filter) -> Verdict:
    """Captions with a word that is not among `frequent`, or with two neighbouring words whose pair
    is not, where pairs are listed."""
    tokens = captions.tokens
    frequent = made_of("frequent", settings, phrases)
    first = [(first[~found], words) for found, first, words in frequent.found_in(tokens)
             if words <= 2]  # fmt: skip
    return _verdict(captions, first)


def _verdict(captions: Captions, hits: list[tuple[np.ndarray, int]]) -> Verdict:
    """The verdict on captions that hold one of some runs of words: the first word of each and how
    many it has."""
    tokens, text = captions.tokens, captions.characters
    failed = np.zeros(len(captions), bool)
    values: dict[int, tuple[int, int]] = {}
    for first, words in hits:
        places = tokens.texts[first]
        failed[places] = True
        fresh, at = np.unique(places, return_index=True)
        for caption, word in zip(fresh.tolist(), first[at].tolist(), strict=True):
            values.setdefault(caption, (word, words))
    rows = np.flatnonzero(failed)
    found = []
    for row in rows.tolist():
        word, words = values[row]
        codes = text.codes[tokens.starts[word] : tokens.stops[word + words - 1]]
        found.append(codes.tobytes().decode("utf-32-le"))
    spread = np.full(len(captions), None, object)
    spread[rows] = found
    return Verdict(pa.array(failed), pa.array(spread, pa.string()))
