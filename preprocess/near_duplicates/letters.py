"""The classes of characters by which captions are cut into tokens, and the form in which letters
are compared."""

import unicodedata
from functools import lru_cache

import numpy as np

from septet.preprocess.near_duplicates.minhash import (
    BEFORE_SIGN,
    BREAK,
    CLASS_SHIFT,
    DIGIT,
    IDEOGRAPH,
    LETTER,
    NUMERAL,
    POINT,
    SKIPPED,
    SYLLABLE,
    UNSPACED,
)

_NUMERALS = "二三四五六七八九十百千兩两"
_HAN = ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
_KANA = ((0x3040, 0x30FF), (0x31F0, 0x31FF))
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xA9E0, 0xA9FF),
             (0xAA60, 0xAA7F))  # fmt: skip
"""Thai, Lao, Burmese, Khmer."""
_MARKS = ((0x0300, 0x036F), (0x0591, 0x05C7), (0x0610, 0x061A), (0x064B, 0x065F), (0x0670, 0x0670),
          (0x06D6, 0x06ED), (0xFE00, 0xFE0F))  # fmt: skip
"""Accents, and the points of Hebrew and Arabic, which many writers leave out."""
_WITHIN_WORDS = "'’ʼ\u00ad\u200b\u200c\u200d\u0640"
_SIGNS = dict.fromkeys("-−–－﹣", ord("-")) | {"±": ord("±")}
"""Before a number, where nothing that they could join stands before them. A plus says nothing."""
_BEFORE_SIGNS = '":;=~<>|/*'
_SAME = {"ı": "i", "ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ё": "е"}
"""Letters that writers of one language use for each other."""


@lru_cache(1)
def letter_table() -> np.ndarray:
    """The class of each code point of the first two planes (bits 25 and up), whether it is a
    numeral, and its folded form (bits 0 to 20); uint32 [0x20000]. Planes 2 and 3 are ideographs."""
    table = np.zeros(0x20000, np.uint32)
    for code in range(0x20000):
        table[code] = _entry(chr(code))
    return table


def _entry(char: str) -> int:
    category = unicodedata.category(char)
    if char in ".,٫٬":
        return POINT << CLASS_SHIFT | ord(".")
    if char in _WITHIN_WORDS or _within(ord(char), _MARKS):
        return SKIPPED << CLASS_SHIFT
    if char in _SIGNS:
        return BREAK << CLASS_SHIFT | _SIGNS[char]
    if category in ("Zs", "Zl", "Zp", "Cc", "Ps", "Pi", "Sc") or char in _BEFORE_SIGNS:
        return BREAK << CLASS_SHIFT | BEFORE_SIGN
    if category in ("Cn", "Co", "Cs") or category[0] not in "LNM":
        return BREAK << CLASS_SHIFT
    digit = unicodedata.digit(char, None)
    if digit is not None:
        return DIGIT << CLASS_SHIFT | ord(str(digit))
    if category in ("No", "Nl") and not _within(ord(char), _HAN):
        return DIGIT << CLASS_SHIFT | ord(char)  # ½, Ⅷ, ⑩
    folded = unicodedata.normalize("NFKD", char).casefold()[0]
    folded = _SAME.get(folded, folded)
    code = ord(folded)
    if _within(code, _HAN):
        numeral = NUMERAL if folded in _NUMERALS else 0
        return IDEOGRAPH << CLASS_SHIFT | numeral | code
    kind = SYLLABLE if _within(code, _KANA) else LETTER
    kind = UNSPACED if _within(code, _UNSPACED) else kind
    return kind << CLASS_SHIFT | code


def _within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code <= last for first, last in ranges)
