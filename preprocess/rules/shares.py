"""Rules about the share of some characters in a caption: letters, digits, a script, capitals.

Shares of an empty caption are 0.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.rule import Verdict
from septet.preprocess.text.characters import CAPITAL, DIGIT, LETTER, SMALL
from septet.schemas.filter import Filter


def at_least(share: np.ndarray, least: float | None) -> Verdict:
    """The verdict on shares [n] that must not be less."""
    return Verdict(pa.array(share < (least or 0.0)), pa.array(share))


def at_most(share: np.ndarray, most: float | None) -> Verdict:
    """The verdict on shares [n] that must not be more."""
    return Verdict(pa.array(share > (1.0 if most is None else most)), pa.array(share))


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Parts of wholes, float64 [n]; 0 of an empty one."""
    return part / np.maximum(whole, 1)


def few_letters(captions: Captions, settings: Filter) -> Verdict:
    """Captions whose share of letters among all characters is less than `min_letters`."""
    found = captions.characters
    return at_least(share(found.count(LETTER), found.lengths), settings.min_letters)


def many_digits(captions: Captions, settings: Filter) -> Verdict:
    """Captions whose share of digits among all characters is more than `max_digits`."""
    found = captions.characters
    return at_most(share(found.count(DIGIT), found.lengths), settings.max_digits)


def other_script(captions: Captions, settings: Filter) -> Verdict:
    """Captions whose share of letters of `scripts` among all letters is less than `min_script`."""
    members = "".join(rf"\p{{{script}}}" for script in settings.scripts)
    found = pc.count_substring_regex(captions.text, f"[{members}]").to_numpy()
    letters = captions.characters.count(LETTER)
    return at_least(share(found, np.maximum(letters, found)), settings.min_script)


def small_initial(captions: Captions, settings: Filter) -> Verdict:
    """Captions whose first letter is a small one."""
    first = pc.struct_field(
        pc.extract_regex(captions.text, r"^[^\p{L}]*(?P<letter>\p{L})"), "letter"
    )
    return Verdict(pc.fill_null(pc.match_substring_regex(first, r"^\p{Ll}"), False), first)


def many_capitalised(captions: Captions, settings: Filter) -> Verdict:
    """Captions whose share of words that begin with a capital is more than `max_capitalised`."""
    tokens, kinds = captions.tokens, captions.characters.kinds
    count = np.bincount(tokens.texts, minlength=len(captions))
    begin = np.bincount(
        tokens.texts, weights=(kinds[tokens.starts] & CAPITAL) != 0, minlength=len(captions)
    )
    return at_most(share(begin, count), settings.max_capitalised)


def many_capitals(captions: Captions, settings: Filter) -> Verdict:
    """Captions whose share of capitals among letters that have case is more than `max_capitals`."""
    found = captions.characters
    return at_most(share(found.count(CAPITAL), found.count(CAPITAL | SMALL)), settings.max_capitals)
