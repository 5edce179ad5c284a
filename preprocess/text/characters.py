"""The characters of many texts in one row, with what kind each is: shares and counts of them by
array operations instead of a regular expression each."""

from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that write no spaces between words, as members of an RE2 character class."""

_SYLLABLES = (
    r"\p{Hangul}\p{Ethiopic}\p{Canadian_Aboriginal}\p{Cherokee}\p{Yi}"
    r"\p{Arabic}\p{Hebrew}\p{Syriac}\p{Thaana}"
)
"""Scripts with spaces in which a character is a syllable, or that leave out short vowels."""

LETTER: Final = 1
DIGIT: Final = 2
CAPITAL: Final = 4
SMALL: Final = 8
SPACE: Final = 16
DENSE: Final = 32
LATIN: Final = 64
UNSPACED_LETTER: Final = 128
MARK: Final = 256
BLANK: Final = 512
_CLASSES = {
    LETTER: r"[\p{L}\p{M}]",
    DIGIT: r"\p{N}",
    CAPITAL: r"[\p{Lu}\p{Lt}]",
    SMALL: r"\p{Ll}",
    SPACE: r"[\s\p{Z}]",
    DENSE: f"[{UNSPACED}{_SYLLABLES}]",
    LATIN: r"\p{Latin}",
    UNSPACED_LETTER: f"[{UNSPACED}]",
    MARK: r"\p{M}",
    BLANK: r"\s",
}
"""Bits of a character's kind, and what each stands for. Marks count as letters: vowels are marks in
many scripts. DENSE are scripts in which a character is a syllable or a word, or that write no
spaces or no short vowels: two letters are a word there. BLANK are the spaces of ASCII alone."""

_PLANES = 0x40000
"""Code points that are looked at; behind them there are tags, selectors and private use alone."""


@lru_cache(maxsize=1)
def _kinds() -> np.ndarray:
    """The kind of every code point, uint16 [0x110000]."""
    points = np.arange(_PLANES, dtype="<u4")
    points[0xD800:0xE000] = 0  # surrogates are no characters
    text = pa.array([chr(point) for point in points.tolist()])
    kinds = np.zeros(0x110000, np.uint16)
    for bit, pattern in _CLASSES.items():
        found = pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)
        kinds[:_PLANES][found] |= bit
    return kinds


@lru_cache(maxsize=1)
def _small_letters() -> np.ndarray:
    """The small letter of every code point, uint32 [0x110000]; itself where there is none, or where
    it is more than one character."""
    small = np.arange(0x110000, dtype=np.uint32)
    for point in np.flatnonzero(_kinds() & CAPITAL).tolist():
        lower = chr(point).lower()
        if len(lower) == 1:
            small[point] = ord(lower)
    return small


class Characters:
    """The characters of texts, each text with a space behind it.

    Args:
        texts: Strings [n] without nulls.
    """

    def __init__(self, texts: pa.Array):
        self._texts = texts

    @cached_property
    def codes(self) -> np.ndarray:
        """Code points, uint32 [m]."""
        whole = pa.ListArray.from_arrays(pa.array([0, len(self._texts)], pa.int32()), self._texts)
        joined = pc.binary_join(whole, " ")[0].as_py() + " " if len(self._texts) else ""
        return np.frombuffer(joined.encode("utf-32-le"), "<u4")

    def small(self) -> np.ndarray:
        """A new array of the code points, with capitals made small, uint32 [m]."""
        return _small_letters().take(self.codes, mode="clip")

    @cached_property
    def kinds(self) -> np.ndarray:
        """The kind of each character, uint16 [m]."""
        return _kinds().take(self.codes, mode="clip")

    @cached_property
    def lengths(self) -> np.ndarray:
        """Characters of each text, int64 [n]."""
        return pc.utf8_length(self._texts).to_numpy().astype(np.int64)

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each text begins, int64 [n]."""
        return np.cumsum(self.lengths + 1) - self.lengths - 1

    def count(self, bits: int) -> np.ndarray:
        """Count the characters of each text that are of one of the kinds, int32 [n]."""
        found = self.sums((self.kinds & bits) != 0)
        return found - 1 if bits & SPACE else found

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of a value a character [m] over each text, integers [n]."""
        if not len(self.starts):
            return np.zeros(0, np.int32)
        if values.dtype == bool:  # twice as fast, and no text has 2**31 characters
            return np.add.reduceat(values.view(np.int8), self.starts, dtype=np.int32)
        return np.add.reduceat(values, self.starts, dtype=np.int64)

    def text_of(self, places: np.ndarray) -> np.ndarray:
        """The text in which each of some characters stands, int64, by their places."""
        return np.searchsorted(self.starts, places, side="right") - 1
