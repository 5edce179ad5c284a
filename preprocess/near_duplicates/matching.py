"""Compiled code: how alike captions are, what hangs together, and who is kept.

Its functions call none of another file (see `minhash`).
"""

import numpy as np
from numba import njit

from septet.preprocess.near_duplicates.minhash import FILLER, NUMBER, SLOT_SHIFT

_LEADERS = 256
"""The number of captions of one group that others are compared with."""
_FEWEST = 3
"""The number of different words that stand in one place, from which on they are fillers."""
_LONGEST, _LOOK_BACK = 8, 64
_LEFT = 32
_NOTHING, _LOW, _END = np.uint64(0), np.uint64(0xFFFFFFFF), np.uint64(0x5BF03635)
_KIND, _PAIRS = np.uint64(3), np.uint64((1 << 30) - 1)
_S2, _S32 = np.uint64(2), np.uint64(32)


@njit(nogil=True, cache=True)
def _weight(token: np.uint64, weights: np.ndarray) -> np.float32:
    """The weight of a token; numbers have all of it."""
    if token & np.uint64(3) == np.uint64(NUMBER):
        return np.float32(1)
    return weights[token >> np.uint64(SLOT_SHIFT)]


@njit(nogil=True, cache=True)
def sort_tokens(tokens: np.ndarray, starts: np.ndarray) -> None:
    """Sort the tokens of each caption in place."""
    for row in range(len(starts) - 1):
        first, end = starts[row], starts[row + 1]
        if end - first > 48:
            tokens[first:end] = np.sort(tokens[first:end])
            continue
        for i in range(first + 1, end):
            token, j = tokens[i], i - 1
            while j >= first and tokens[j] > token:
                tokens[j + 1] = tokens[j]
                j -= 1
            tokens[j + 1] = token


@njit(nogil=True, cache=True)
def _count(bits: np.uint64) -> int:
    count = 0
    while bits:
        bits &= bits - np.uint64(1)
        count += 1
    return count


@njit(nogil=True, cache=True)
def _same_word(a: np.uint64, b: np.uint64) -> bool:
    """Whether two words differ as a slip of the pen or an ending does: by most of their pairs of
    letters being the same."""
    first, second = (a >> _S2) & _PAIRS, (b >> _S2) & _PAIRS
    most = max(_count(first), _count(second))
    both = _count(first & second)
    filler = a & _KIND == np.uint64(FILLER) or b & _KIND == np.uint64(FILLER)
    return most >= (7 if filler else 5) and both * 10 >= most * 7


@njit(nogil=True, cache=True)
def compare(
    a: np.ndarray, b: np.ndarray, weights: np.ndarray, replaced: float, extended: float,
    left_a: np.ndarray, left_b: np.ndarray,
) -> float:  # fmt: skip
    """The similarity of two captions, of whose tokens both are sorted; 0 where they are apart.

    It is the weight of the tokens that both have, by that of all tokens of either. Words that
    differ by a slip of the pen count as the same. Captions are apart, whatever else they share,
    where each has a number that the other lacks, and where one has a template's filler that the
    other lacks.

    Args:
        a, b: Sorted tokens, uint64.
        weights: Of the slots, float32.
        replaced, extended: See `Limits`.
        left_a, left_b: Room for what is left over, uint64 [32].
    """
    i = j = na = nb = 0
    common = alone_a = alone_b = 0.0
    numbers_a = numbers_b = 0
    fillers = 0
    while i < len(a) or j < len(b):
        if j == len(b) or (i < len(a) and a[i] >> _S32 < b[j] >> _S32):
            alone_a += _weight(a[i], weights)
            if a[i] & _KIND == np.uint64(NUMBER):
                numbers_a += 1
            fillers += a[i] & _KIND == np.uint64(FILLER)
            if na < _LEFT:
                left_a[na] = a[i]
            na += 1
            i += 1
        elif i == len(a) or b[j] >> _S32 < a[i] >> _S32:
            alone_b += _weight(b[j], weights)
            if b[j] & _KIND == np.uint64(NUMBER):
                numbers_b += 1
            fillers += b[j] & _KIND == np.uint64(FILLER)
            if nb < _LEFT:
                left_b[nb] = b[j]
            nb += 1
            j += 1
        else:
            common += _weight(a[i], weights)
            i += 1
            j += 1
    if numbers_a and numbers_b:
        return 0.0
    if na and nb and na <= _LEFT and nb <= _LEFT:
        for x in range(na):
            for y in range(nb):
                if _same_word(left_a[x], left_b[y]):
                    wx, wy = _weight(left_a[x], weights), _weight(left_b[y], weights)
                    common += (wx + wy) / 2
                    alone_a -= wx
                    alone_b -= wy
                    fillers -= left_a[x] & _KIND == np.uint64(FILLER)
                    fillers -= left_b[y] & _KIND == np.uint64(FILLER)
                    left_b[y] = np.uint64(0)  # taken
                    break
    if fillers > 0:
        return 0.0
    whole = common + alone_a + alone_b
    if common <= 0 or whole <= 0:
        return 0.0
    similarity = common / whole
    if alone_a > 1e-3 and alone_b > 1e-3:
        if similarity < replaced or numbers_a or numbers_b:
            return 0.0
        return similarity
    if similarity < extended:
        return 0.0
    return min(similarity, 1.0)


@njit(nogil=True, cache=True)
def mark_fillers(tokens: np.ndarray, starts: np.ndarray) -> None:
    """Mark, in captions that hang together, the tokens that fill a template's places.

    A place begins after a token that has several successors of which none stands in half of the
    captions, and ends before one whose predecessors are such. It is 8 tokens long at most.

    Args:
        tokens, starts: Tokens in the captions' order; those marked become of the kind `FILLER`.
    """
    if len(starts) <= _FEWEST:
        return
    opens = _varied(tokens, starts, False)
    closes = _varied(tokens, starts, True)
    if not len(opens) or not len(closes):
        return
    for row in range(len(starts) - 1):
        first, end = starts[row], starts[row + 1]
        for i in range(first, end):
            if _has(opens, _context(tokens, first, end, i - 1)):
                for j in range(i, min(i + _LONGEST, end)):
                    if _has(closes, _context(tokens, first, end, j + 1)):
                        for k in range(i, j + 1):
                            if tokens[k] & _KIND != np.uint64(NUMBER):
                                tokens[k] |= np.uint64(FILLER)
                        break


@njit(nogil=True, cache=True)
def _context(tokens: np.ndarray, first: int, end: int, at: int) -> np.uint64:
    """A hash of the token at `at` (the end's, beyond `first` and `end`) and of how many of the same
    stand before it in the caption."""
    if at < first or at >= end:
        return _END
    token = tokens[at] >> _S32
    same = 0
    for i in range(max(first, at - _LOOK_BACK), at):
        same += tokens[i] >> _S32 == token
    return (token + np.uint64(same) * np.uint64(0x9E3779B1)) & _LOW


@njit(nogil=True, cache=True)
def _has(ascending: np.ndarray, value: np.uint64) -> bool:
    at = np.searchsorted(ascending, value)
    return bool(at < len(ascending) and ascending[at] == value)


@njit(nogil=True, cache=True)
def _varied(tokens: np.ndarray, starts: np.ndarray, backwards: bool) -> np.ndarray:
    """The hashes of tokens with several successors (predecessors) of which none stands in half of
    the captions that have the token; ascending."""
    rows = len(starts) - 1
    pairs = np.empty(len(tokens) + rows, np.uint64)
    owners = np.empty(len(tokens) + rows, np.uint64)
    found = holders = 0
    for row in range(rows):
        first, end = starts[row], starts[row + 1]
        mine = np.empty(end - first + 1, np.uint64)
        for i in range(end - first + 1):
            if backwards:
                owner = _context(tokens, first, end, first + i)
                other = tokens[first + i - 1] >> _S32 if i else _END
            else:
                owner = _context(tokens, first, end, first + i - 1)
                other = tokens[first + i] >> _S32 if first + i < end else _END
            mine[i] = owner << _S32 | other
        mine.sort()
        for i in range(len(mine)):
            if not i or mine[i] != mine[i - 1]:
                pairs[found] = mine[i]
                found += 1
            if not i or mine[i] >> _S32 != mine[i - 1] >> _S32:
                owners[holders] = mine[i] >> _S32
                holders += 1
    pairs, owners = np.sort(pairs[:found]), np.sort(owners[:holders])
    varied = np.empty(len(owners), np.uint64)
    count = at = 0
    start = 0
    while start < len(owners):
        owner, end = owners[start], start
        while end < len(owners) and owners[end] == owner:
            end += 1
        distinct = most = empty = 0
        while at < found and pairs[at] >> _S32 == owner:
            same = at
            while at < found and pairs[at] == pairs[same]:
                at += 1
            distinct += 1
            most = max(most, at - same)
            if pairs[same] & _LOW == _END:
                empty = at - same
        replaced = distinct >= _FEWEST and 4 * most < 3 * (end - start)
        if replaced and 8 * empty < end - start:  # else it was added, as a site's name is
            varied[count] = owner
            count += 1
        start = end
    return varied[:count]


@njit(nogil=True, cache=True)
def verify_edges(
    tokens: np.ndarray, starts: np.ndarray, members: np.ndarray, heads: np.ndarray,
    weights: np.ndarray, replaced: float, extended: float, near: np.ndarray,
) -> None:  # fmt: skip
    """Write whether the two ends of each edge are near-copies, bool [n]."""
    left_a, left_b = np.empty(32, np.uint64), np.empty(32, np.uint64)
    for i in range(len(members)):
        a = tokens[starts[heads[i]] : starts[heads[i] + 1]]
        b = tokens[starts[members[i]] : starts[members[i] + 1]]
        near[i] = compare(a, b, weights, replaced, extended, left_a, left_b) > 0


@njit(nogil=True, cache=True)
def keep_best_of_groups(
    tokens: np.ndarray, starts: np.ndarray, groups: np.ndarray, weights: np.ndarray,
    replaced: float, extended: float, stays: np.ndarray, kept: np.ndarray, similarity: np.ndarray,
) -> None:  # fmt: skip
    """`keep_best` for several groups: `groups` says where each begins among the members, int64
    [g + 1]; `kept` gets numbers among all members."""
    for g in range(len(groups) - 1):
        first, end = groups[g], groups[g + 1]
        begin = starts[first]
        here = tokens[begin : starts[end]]
        mine = kept[first:end]
        keep_best(
            here, starts[first : end + 1] - begin, weights, replaced, extended, stays[first:end],
            mine, similarity[first:end],
        )  # fmt: skip
        mine += first


@njit(nogil=True, cache=True)
def keep_best(
    tokens: np.ndarray, starts: np.ndarray, weights: np.ndarray, replaced: float, extended: float,
    stays: np.ndarray, kept: np.ndarray, similarity: np.ndarray,
) -> None:  # fmt: skip
    """Decide, within what hangs together, who is kept in whose stead: each member that goes is near
    to the one that is kept, not to another that goes.

    Args:
        tokens, starts: Tokens of the members in their order, the best member first. Fillers of
            templates are marked and the tokens sorted in place.
        weights, replaced, extended: See `compare`.
        stays: Members that stay whatever they are near to, bool [n].
        kept: Room for the number of the member that is kept in each one's stead, int64 [n].
        similarity: Room for how near it is, float32 [n].
    """
    mark_fillers(tokens, starts)
    sort_tokens(tokens, starts)
    left_a, left_b = np.empty(32, np.uint64), np.empty(32, np.uint64)
    kept[:] = -1
    led = 0
    for leader in range(len(kept)):
        if kept[leader] >= 0:
            continue
        kept[leader], similarity[leader] = leader, 1
        if led == _LEADERS:
            continue
        led += 1
        a = tokens[starts[leader] : starts[leader + 1]]
        for i in range(leader + 1, len(kept)):
            if kept[i] < 0 and not stays[i]:
                b = tokens[starts[i] : starts[i + 1]]
                near = compare(a, b, weights, replaced, extended, left_a, left_b)
                if near > 0:
                    kept[i], similarity[i] = leader, near
