"""The words of many texts and their hashes; lists of words and phrases are looked up by hash.

A word is a run of letters, marks, digits and apostrophes between them; a letter of a script without
spaces is a word of its own, so that phrases of Chinese are found wherever they stand.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from septet.preprocess.text.characters import DIGIT, LETTER, SPACE, UNSPACED_LETTER, Characters

_ODD = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ALONE = [ord(mark) for mark in ",.;:?!`"]
_APOSTROPHES = (ord("'"), 0x2019)


def mix(values: np.ndarray) -> np.ndarray:
    """Mix the bits of uint64 values (the finalizer of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=2)
def _powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Powers of an odd number modulo 2**64 and of its inverse, from 0 on, uint64 [size] each."""
    tables = []
    for base in (_ODD, np.uint64(pow(int(_ODD), -1, 2**64))):
        table = np.full(size, base)
        table[0] = 1
        tables.append(np.cumprod(table))
    return tables[0], tables[1]


@lru_cache(maxsize=1)
def _mixed() -> np.ndarray:
    """Code points with their bits mixed, uint64 [0x110000]."""
    return mix(np.arange(0x110000, dtype=np.uint64) + _ODD)


def _running_sums(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running sums of mixed code points times powers, uint64 [m + 1], and the inverse powers."""
    powers, inverses = _powers(1 << len(codes).bit_length())
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(_mixed()[codes] * powers[: len(codes)], out=sums[1:])
    return sums, inverses


def hash_ranges(codes: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Hash ranges of code points, uint64 [k]: equal ranges have equal hashes wherever they stand.

    A polynomial modulo 2**64 over mixed code points: a range's hash is a difference of running
    sums, divided by the power at its start.

    Args:
        codes: Code points, integers [m].
        starts: First of each range, [k].
        stops: One behind the last, [k].
    """
    sums, inverses = _running_sums(codes)
    return mix((sums[stops] - sums[starts]) * inverses[starts])


def hash_windows(codes: np.ndarray, size: int) -> np.ndarray:
    """Hash every run of so many code points, uint64 [m - size + 1]; as `hash_ranges` does."""
    sums, inverses = _running_sums(codes)
    count = max(len(codes) - size + 1, 0)
    return mix((sums[size : size + count] - sums[:count]) * inverses[:count])


def grouped(texts: np.ndarray, hashes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct pairs of text and hash, and how often each stands.

    Args:
        texts: Numbers below `count`, int64 [k].
        hashes: uint64 [k]; as many high bits count as numbers of texts leave, 51 of a batch of
            8,192.

    Returns:
        The text of each pair, ascending, and its count, int64.
    """
    low = np.uint64(64 - max(count, 2).bit_length())
    keys = np.sort((texts.astype(np.uint64) << low) | (hashes >> (np.uint64(64) - low)))
    fresh = np.ones(len(keys), bool)
    fresh[1:] = keys[1:] != keys[:-1]
    places = np.flatnonzero(fresh)
    return (keys[places] >> low).astype(np.int64), np.diff(np.append(places, len(keys)))


@dataclass(frozen=True)
class Tokens:
    """The words of n texts, k in all, in their order."""

    hashes: np.ndarray
    """Hash of each word, uint64 [k]; of either apostrophe one."""
    texts: np.ndarray
    """The number of the text in which it stands, ascending, int64 [k]."""
    starts: np.ndarray
    """Where it begins among the characters, int64 [k]."""
    stops: np.ndarray
    """Where it ends, int64 [k]."""

    @classmethod
    def of(cls, characters: Characters) -> "Tokens":
        """The words of texts, with capitals made small."""
        kinds, codes = characters.kinds, characters.codes
        inside = (kinds & (LETTER | DIGIT)) != 0
        marks = np.flatnonzero((codes == _APOSTROPHES[0]) | (codes == _APOSTROPHES[1]))
        marks = marks[(marks > 0) & (marks < len(codes) - 1)]
        inside[marks] = inside[marks - 1] & inside[marks + 1]
        alone = (kinds & UNSPACED_LETTER) != 0
        before, after = np.roll(inside, 1), np.roll(inside, -1)
        bound = alone | np.roll(alone, 1)  # between a letter without spaces and its neighbours
        starts = np.flatnonzero(inside & (~before | bound))
        stops = np.flatnonzero(inside & (~after | np.roll(bound, -1))) + 1
        folded = characters.small()
        folded[marks] = _APOSTROPHES[0]
        return cls(hash_ranges(folded, starts, stops), characters.text_of(starts), starts, stops)

    @classmethod
    def by_spaces(cls, characters: Characters) -> "Tokens":
        """Runs between spaces, with capitals as they are; some marks are words of their own, as in
        MetaCLIP."""
        codes = characters.codes
        inside = (characters.kinds & SPACE) == 0
        alone = np.isin(codes, _ALONE)
        bound = alone | np.roll(alone, 1)
        starts = np.flatnonzero(inside & (~np.roll(inside, 1) | bound))
        stops = np.flatnonzero(inside & (~np.roll(inside, -1) | np.roll(bound, -1))) + 1
        return cls(hash_ranges(codes, starts, stops), characters.text_of(starts), starts, stops)

    def phrases(self, words: int) -> tuple[np.ndarray, np.ndarray]:
        """Hash every run of so many neighbouring words within a text.

        Returns:
            Hashes, uint64 [p], and the number of the first word of each, int64 [p].
        """
        if words == 1:
            return self.hashes, np.arange(len(self.hashes))
        count = max(len(self.hashes) - words + 1, 0)
        whole = np.flatnonzero(self.texts[:count] == self.texts[words - 1 :][:count])
        hashes = self.hashes[whole]
        with np.errstate(over="ignore"):
            for offset in range(1, words):
                hashes = mix(hashes * _ODD + self.hashes[whole + offset])
        return hashes, whole
