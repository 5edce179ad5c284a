"""Compiled code: captions cut into tokens, and tokens made into MinHash bands.

Numba keeps what it compiled until the file of the function changes, whatever else the function
calls: so compiled functions call none of another file, and share constants alone.
"""

import numpy as np
from numba import njit

BREAK, LETTER, DIGIT, IDEOGRAPH, SYLLABLE, UNSPACED, SKIPPED, POINT = range(8)
"""Classes of characters: what ends a token; letters of scripts with spaces; digits; characters of
scripts without spaces of which one makes a token (Han), two (kana), or three (Thai, Lao, Burmese,
Khmer); marks that do not count; points and commas, which belong to a number between two digits.

A break's letter is `BEFORE_SIGN`, or that of a sign, or 0."""
BEFORE_SIGN = 1
"""The letter of breaks behind which a minus belongs to the number that follows; behind a word or a
digit it is a hyphen."""
CLASS_SHIFT = 25
NUMERAL = 1 << 24
"""The bit of a character that is an ideograph and means a number."""
LETTER_MASK = (1 << 21) - 1

WORD, NUMBER, GRAM, FILLER = range(4)
"""Kinds of tokens, in their lowest bits: words, numbers, characters of scripts without spaces, and
what fills a place of a template."""

BANDS, ROWS = 25, 5
PERMUTATIONS = 128
"""Of which the first 125 make bands."""
_SKETCH_BITS = 64

SLOT_SHIFT = 44
"""By which a token becomes the number of its slot in a table of weights."""

_BASE, _SEED = np.uint64(0x9E3779B97F4A7C15), np.uint64(0x51ED270B3A7F1D27)
_NOTHING, _ONE, _PAIR_BITS = np.uint64(0), np.uint64(1), np.uint64(30)
_TOP, _TWO = np.uint64(0xFFFFFFFF00000000), np.uint64((1 << 42) - 1)
_S2, _S7, _S21, _S29, _S32 = (np.uint64(bits) for bits in (2, 7, 21, 29, 32))


@njit(nogil=True, cache=True)
def mixed(value: np.uint64) -> np.uint64:
    """A uint64 whose every bit depends on all of the argument's."""
    value = (value ^ (value >> _S32)) * np.uint64(0xD6E8FEB86659FD93)
    value = (value ^ (value >> _S29)) * np.uint64(0xD6E8FEB86659FD93)
    return value ^ (value >> _S32)


@njit(nogil=True, cache=True)
def _token(value: np.uint64, pairs: np.uint64, kind: np.uint64) -> np.uint64:
    return (mixed(value) & _TOP) | (pairs << _S2) | kind


@njit(nogil=True, cache=True)
def _pair(first: np.uint64, second: np.uint64) -> np.uint64:
    """The bit that stands for a pair of letters."""
    return _ONE << ((((first << _S21 | second) * _BASE) >> _S32) * _PAIR_BITS >> _S32)


@njit(nogil=True, cache=True)
def _is_cut(data: np.ndarray, at: int, end: int) -> bool:
    """Whether a text that was read up to `at`, the first mark behind a word, ends with an ellipsis
    there: the word is then cut."""
    if at == end and end >= 3:
        return data[end - 3] == 0xE2 and data[end - 2] == 0x80 and data[end - 1] == 0xA6
    return at == end - 2 and data[at - 1] == 46 and data[at] == 46 and data[at + 1] == 46


@njit(nogil=True, cache=True)
def cut_captions(
    data: np.ndarray, offsets: np.ndarray, table: np.ndarray, tokens: np.ndarray, starts: np.ndarray
) -> None:
    """Write the tokens of captions in UTF-8.

    Args:
        data, offsets: The captions' bytes [b], and where each begins, int [n + 1].
        table: Of `letter_table`.
        tokens, starts: Room for twice as many tokens as bytes, and for n + 1 starts.
    """
    k = 0
    for row in range(len(offsets) - 1):
        starts[row] = k
        at, end = offsets[row], offsets[row + 1]
        open_kind = -1  # of the word or number that is being read
        value, pairs, before = _NOTHING, _NOTHING, _NOTHING
        run, run_class, last = 0, np.int64(BREAK), _NOTHING  # of characters without spaces
        sign_may_follow, minus = True, _NOTHING
        while True:
            if at < end:
                byte = np.int64(data[at])
                if byte < 0x80:
                    if open_kind == WORD:  # most letters of most captions
                        entry = np.int64(table[byte])
                        if entry >> CLASS_SHIFT == LETTER:
                            letter = np.uint64(entry & np.int64(LETTER_MASK))
                            value = (value ^ letter) * _BASE
                            pairs |= _pair(before, letter)
                            before = letter
                            at += 1
                            continue
                    code, size = byte, 1
                elif byte < 0xE0:
                    code, size = (byte & 0x1F) << 6 | np.int64(data[at + 1]) & 0x3F, 2
                elif byte < 0xF0:
                    code = (byte & 0xF) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6
                    code, size = code | np.int64(data[at + 2]) & 0x3F, 3
                else:
                    code = (byte & 7) << 18 | (np.int64(data[at + 1]) & 0x3F) << 12
                    code |= (np.int64(data[at + 2]) & 0x3F) << 6
                    code, size = code | np.int64(data[at + 3]) & 0x3F, 4
                at += size
                if code < len(table):
                    entry = np.int64(table[code])
                elif code < 0x40000:
                    entry = np.int64(IDEOGRAPH << CLASS_SHIFT | code)
                else:
                    entry = np.int64(BREAK << CLASS_SHIFT)
                kind = entry >> CLASS_SHIFT
                letter = np.uint64(entry & np.int64(LETTER_MASK))
            else:
                kind, letter, entry = np.int64(-1), _NOTHING, np.int64(0)
            if kind == SKIPPED:
                continue
            if kind == POINT:
                if open_kind == NUMBER and at < end and 48 <= data[at] < 58:
                    value = (value ^ letter) * _BASE
                    continue
                kind, letter = np.int64(BREAK), np.uint64(BEFORE_SIGN)
            before_minus, minus_before = sign_may_follow, minus
            sign_may_follow, minus = kind != LETTER and kind != DIGIT, _NOTHING
            if kind == BREAK and letter != np.uint64(BEFORE_SIGN):
                sign_may_follow = False
                if before_minus:
                    minus = letter
            wanted = WORD if kind == LETTER else NUMBER if kind == DIGIT else -1
            if open_kind >= 0 and wanted != open_kind:
                if open_kind == NUMBER or not _is_cut(data, at, end):
                    tokens[k] = _token(value, pairs, np.uint64(open_kind))
                    k += 1
                open_kind = -1
            if run and kind != run_class:
                if run < run_class - SYLLABLE + 2:  # too few for a pair, or for three
                    tokens[k] = _token(last * _BASE ^ _SEED, _NOTHING, np.uint64(GRAM))
                    k += 1
                run, last = 0, _NOTHING
            if wanted >= 0:
                if open_kind < 0:
                    open_kind = wanted
                    value, pairs, before = _SEED, _NOTHING, _NOTHING
                    if wanted == NUMBER and minus_before:
                        value = (value ^ minus_before) * _BASE
                value = (value ^ letter) * _BASE
                if wanted == WORD:
                    pairs |= _pair(before, letter)
                    before = letter
            elif kind == IDEOGRAPH:
                of = NUMBER if entry & NUMERAL else GRAM
                tokens[k] = _token(letter * _BASE, _NOTHING, np.uint64(of))
                k += 1
            elif kind in (SYLLABLE, UNSPACED):
                gram = last << _S21 | letter
                if run > kind - SYLLABLE:
                    tokens[k] = _token((gram ^ _SEED) * _BASE, _NOTHING, np.uint64(GRAM))
                    k += 1
                run, run_class = run + 1, kind
                last = gram & _TWO if kind == UNSPACED else letter
            if kind < 0:
                break
    starts[len(offsets) - 1] = k


@njit(nogil=True, cache=True)
def _minima(
    tokens: np.ndarray, factors: np.ndarray, summands: np.ndarray, least: np.ndarray
) -> None:
    least[:] = np.uint32(0xFFFFFFFF)
    before = np.uint64(0)
    for i in range(len(tokens)):
        value = tokens[i] >> _S32
        feature = np.uint32(value)
        for p in range(128):
            least[p] = min(least[p], np.uint32(feature * factors[p] + summands[p]))
        if i:
            feature = np.uint32(((before << _S32 | value) * _BASE) >> _S32)
            for p in range(128):
                least[p] = min(least[p], np.uint32(feature * factors[p] + summands[p]))
        before = value


@njit(nogil=True, cache=True)
def sign(
    tokens: np.ndarray,
    starts: np.ndarray,
    factors: np.ndarray,
    summands: np.ndarray,
    found: np.ndarray,
) -> None:
    """Write MinHash signatures, uint32 [n, 128]."""
    for row in range(len(found)):
        _minima(tokens[starts[row] : starts[row + 1]], factors, summands, found[row])


@njit(nogil=True, cache=True)
def fill_bands(
    tokens: np.ndarray,
    starts: np.ndarray,
    factors: np.ndarray,
    summands: np.ndarray,
    scopes: np.ndarray,
    keys: np.ndarray,
    sketches: np.ndarray,
) -> None:
    """Write the keys and sketches of `band_keys`."""
    least = np.empty(128, np.uint32)
    for row in range(len(sketches)):
        _minima(tokens[starts[row] : starts[row + 1]], factors, summands, least)
        sketch = np.uint64(0)
        for p in range(_SKETCH_BITS):
            sketch = sketch << _ONE | np.uint64(least[p] >> _S7) & _ONE
        sketches[row] = sketch
        for band in range(BANDS):
            key = mixed(scopes[row] + np.uint64(band))
            for p in range(band * ROWS, band * ROWS + ROWS):
                key = (key ^ np.uint64(least[p])) * _BASE
                key ^= key >> _S32
            keys[band, row] = key
