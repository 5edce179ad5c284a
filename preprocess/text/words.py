"""The length of captions in words, for scripts with and without spaces."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.text.characters import (
    BLANK,
    DIGIT,
    LETTER,
    MARK,
    UNSPACED,
    UNSPACED_LETTER,
    Characters,
)

__all__ = ["UNSPACED", "count_words", "unspaced_letters", "words_of"]

_SPACE, _LETTER_OR_DIGIT = 0, 1
_KINDS = bytes(  # of ASCII; spaces are RE2's \s
    _SPACE if char in "\t\n\f\r " else _LETTER_OR_DIGIT if char.isalnum() else 2
    for char in map(chr, range(128))
).ljust(256)
"""What a byte of ASCII is: a space, a letter or digit, or another."""
_STEPS = 32


def count_words(captions: pa.ChunkedArray) -> pa.ChunkedArray:
    """Count the words of each caption, int64 [n].

    Words are runs between spaces that hold a letter or a digit. Letters of scripts without spaces
    do not belong to such runs: two of them count as one word (the usual length of a Chinese word).
    """
    return pa.chunked_array([_count(chunk) for chunk in captions.chunks], pa.int64())


def _count(captions: pa.Array) -> pa.Array:
    is_ascii = pc.fill_null(pc.string_is_ascii(captions), False)
    if pc.all(is_ascii, min_count=0).as_py():
        return _count_ascii(captions)
    others = captions.filter(pc.invert(is_ascii))
    words = words_of(Characters(pc.fill_null(others, ""))).astype(np.int64)
    rest = pa.array(words, mask=_nulls(others))
    counts = pc.replace_with_mask(
        pa.nulls(len(captions), pa.int64()), is_ascii, _count_ascii(captions.filter(is_ascii))
    )
    return pc.replace_with_mask(counts, pc.invert(is_ascii), rest)


def _nulls(values: pa.Array) -> np.ndarray:
    return pc.is_null(values).to_numpy(zero_copy_only=False)


def unspaced_letters(captions: pa.ChunkedArray) -> pa.ChunkedArray:
    """Count the letters of scripts without spaces in each caption, int32 [n]."""
    return pc.count_substring_regex(captions, f"[{UNSPACED}]")


def words_of(characters: Characters) -> np.ndarray:
    """Count the words of each text, int32 [n], as `count_words` does."""
    kinds = characters.kinds
    gap = (kinds & (BLANK | UNSPACED_LETTER)) != 0
    letter = ((kinds & (LETTER | MARK)) == LETTER) | ((kinds & DIGIT) != 0)
    letter &= ~gap
    words = characters.sums(_words(gap, letter))
    return words + (characters.count(UNSPACED_LETTER) + 1) // 2


def _words(gap: np.ndarray, letter: np.ndarray) -> np.ndarray:
    """The first character of each run between gaps that holds a letter or digit, bool [m].

    Args:
        gap: Whether each character is one, bool [m]; the last one is.
        letter: Whether each is a letter or digit, bool [m]; none is a gap.
    """
    begins = ~gap
    begins[1:] &= gap[:-1]
    words = begins & letter
    at = begin = np.flatnonzero(begins & ~letter)
    for _ in range(_STEPS):  # most runs that begin with a mark have few
        if not len(at):
            return words
        at = at + 1
        words[begin[letter[at]]] = True
        on = ~(letter[at] | gap[at])
        at, begin = at[on], begin[on]
    gaps, letters = np.flatnonzero(gap), np.append(np.flatnonzero(letter), len(gap))
    before = letters[np.searchsorted(letters, at)] < gaps[np.searchsorted(gaps, at)]
    words[begin[before]] = True
    return words


def _count_ascii(captions: pa.Array) -> pa.Array:
    """Words of captions of ASCII alone, without nulls, [n]: in a fifth of the time that regular
    expressions take."""
    if not len(captions):
        return pa.array([], pa.int64())
    lengths = pc.binary_length(captions).to_numpy()
    starts = np.cumsum(lengths + 1) - lengths - 1
    whole = pa.ListArray.from_arrays(pa.array([0, len(captions)], pa.int32()), captions)
    text = pc.binary_join(whole, " ")[0].as_buffer().to_pybytes()
    kinds = np.frombuffer(text.translate(_KINDS) + bytes([_SPACE]), np.uint8)
    words = _words(kinds == _SPACE, kinds == _LETTER_OR_DIGIT)
    counts = np.add.reduceat(words.view(np.int8), starts, dtype=np.int32)
    return pa.array(counts.astype(np.int64))
