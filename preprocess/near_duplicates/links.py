"""Compiled code: which captions meet under a key, which of them are linked, and what hangs together
by the links.

Its functions call none of another file (see `minhash`).
"""

import numpy as np
from numba import njit

_LEADERS_A_KEY = 8
_MOST_BITS_APART = 22  # of a sketch's 64: a similarity of 0.3
_ONE, _BASE = np.uint64(1), np.uint64(0x9E3779B97F4A7C15)
_S6, _LOW6 = np.uint64(6), np.uint64(63)
_BITS_A_KEY = 8


@njit(nogil=True, cache=True)
def packed_shared(keys: np.ndarray, row_mask: np.uint64) -> np.ndarray:
    """The keys that several rows have, and a few others, ascending; uint64 [k].

    Most keys are one row's alone. These are told by a table of bits, without being sorted.

    Args:
        keys: uint64 [n].
        row_mask: Low bits, enough for n; they hold the row's number in what is returned.
    """
    bits = 6
    while (1 << bits) < _BITS_A_KEY * len(keys):
        bits += 1
    shift = np.uint64(64 - bits)
    once, twice = np.zeros((2, 1 << (bits - 6)), np.uint64)
    for i in range(len(keys)):
        slot = (keys[i] & ~row_mask) * _BASE >> shift
        bit = _ONE << (slot & _LOW6)
        twice[slot >> _S6] |= once[slot >> _S6] & bit
        once[slot >> _S6] |= bit
    found = np.empty(len(keys), np.uint64)
    count = 0
    for i in range(len(keys)):
        slot = (keys[i] & ~row_mask) * _BASE >> shift
        if twice[slot >> _S6] >> (slot & _LOW6) & _ONE:
            found[count] = keys[i] & ~row_mask | np.uint64(i)
            count += 1
    return np.sort(found[:count])


@njit(nogil=True, cache=True)
def _differing(a: np.uint64, b: np.uint64) -> int:
    bits = a ^ b
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + (
        (bits >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(nogil=True, cache=True)
def star_edges(
    packed: np.ndarray, row_mask: np.uint64, sketches: np.ndarray, members: np.ndarray,
    heads: np.ndarray, follows: np.ndarray,
) -> int:  # fmt: skip
    """Link each row to the nearest of the first rows under the same key, if that is near by its
    sketch. A row that is near to none of them is one of these first, of which a key has eight.

    Args:
        packed: Of `packed_shared`, uint64 [k].
        row_mask: See there.
        sketches: Of all rows, uint64 [n].
        members, heads: Room for the rows of the edges, uint64 [k] each.
        follows: Becomes true for rows that are none of the first under their key, bool [n].

    Returns:
        The number of edges.
    """
    found = 0
    leaders = np.empty(_LEADERS_A_KEY, np.uint64)
    start = 0
    while start < len(packed):
        key, end = packed[start] & ~row_mask, start + 1
        while end < len(packed) and packed[end] & ~row_mask == key:
            end += 1
        leaders[0], led = packed[start] & row_mask, 1
        for i in range(start + 1, end):
            row = packed[i] & row_mask
            best, least = 0, _MOST_BITS_APART + 1
            for k in range(led):
                bits = _differing(sketches[row], sketches[leaders[k]])
                if bits < least:
                    best, least = k, bits
            if least <= _MOST_BITS_APART:
                members[found], heads[found] = row, leaders[best]
                found += 1
                follows[row] = True
            elif led < _LEADERS_A_KEY:
                leaders[led] = row
                led += 1
            else:
                follows[row] = True
        start = end
    return found


@njit(nogil=True, cache=True)
def distinct_links(
    rows: np.ndarray, others: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bring the links of each row together.

    Args:
        rows: The rows that have them, int64 [e], repetitions allowed.
        others: What each is linked with, uint64 [e].
        count: The number of rows.

    Returns:
        Where the links of each row begin, int64 [count + 1], and what it is linked with, ascending
        and distinct for each, uint64.
    """
    ends = np.zeros(count + 1, np.int64)
    for row in rows:
        ends[row + 1] += 1
    ends = np.cumsum(ends)
    at = ends[:-1].copy()
    found = np.empty(len(others), np.uint64)
    for i in range(len(rows)):
        found[at[rows[i]]] = others[i]
        at[rows[i]] += 1
    starts = np.zeros(count + 1, np.int64)
    kept = 0
    for row in range(count):
        first, end = ends[row], ends[row + 1]
        if end - first > 1:
            found[first:end] = np.sort(found[first:end])
        for i in range(first, end):
            if i == first or found[i] != found[i - 1]:
                found[kept] = found[i]
                kept += 1
        starts[row + 1] = kept
    return starts, found[:kept].copy()


@njit(nogil=True, cache=True)
def lower_labels(
    starts: np.ndarray, others: np.ndarray, base: np.uint64, labels: np.ndarray
) -> None:
    """Lower the labels of linked rows to the least, as far as links lead from row to row.

    Args:
        starts, others: Of `distinct_links`, each link told at both ends; a row's number as one of
            `others` is `base` + row, all else is elsewhere.
        labels: Lowered in place, uint64 [n].
    """
    count = np.uint64(len(labels))
    changed = True
    while changed:
        changed = False
        for row in range(len(labels)):
            for i in range(starts[row], starts[row + 1]):
                other = others[i] - base  # wraps around where it is less
                if other < count and labels[other] != labels[row]:
                    labels[other] = labels[row] = min(labels[other], labels[row])
                    changed = True


@njit(nogil=True, cache=True)
def least_labels(count: int, members: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """The least node that hangs together with each of `count` nodes; int64 [count]."""
    labels = np.arange(count)
    changed = True
    while changed:
        changed = False
        for i in range(len(members)):
            a, b = members[i], heads[i]
            least = min(labels[a], labels[b])
            least = min(least, labels[least])
            if labels[a] != least or labels[b] != least:
                labels[a] = labels[b] = least
                changed = True
    return labels


def stars_of(keys: np.ndarray, sketches: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Link rows that have the same key to one of its first rows, see `star_edges`.

    Args:
        keys: Of one band, uint64 [n].
        sketches: uint64 [n].

    Returns:
        The rows of the links' two ends, uint64 [e] each, and whether each row is none of the first
        under its key, bool [n].
    """
    row_mask = np.uint64((1 << len(keys).bit_length()) - 1)
    packed = packed_shared(keys, row_mask)
    members, heads = np.empty((2, len(packed)), np.uint64)
    follows = np.zeros(len(keys), np.bool_)
    found = star_edges(packed, row_mask, sketches, members, heads, follows)
    return members[:found], heads[:found], follows
