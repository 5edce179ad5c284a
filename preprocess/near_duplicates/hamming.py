"""Pairs of 64-bit hashes within a Hamming radius, all of them: by bands.

A hash is cut into four bands of 16 bits. Of two hashes that differ in at most r bits, one band
differs in at most r // 4 (pigeonhole principle). So for each band, and each way to flip so few
bits of it, hashes are looked up that have the flipped band. A pair is reported by the first band
that finds it.

Many hashes are dealt out over partitions first, one a value of each of twelve slices: two hashes
that differ in eleven bits have one slice in common. A hash goes to twelve partitions, however many
hashes there are, and a partition holds some thirtieth of them.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.text.ids import by_bucket

BANDS, BAND_BITS = 4, 16
MAX_RADIUS = 11
"""Within it a band differs in two bits at most, of which there are 137 ways."""
SLICES = MAX_RADIUS + 1
_SLICE_BITS = (6, 6, 6, 6, 5, 5, 5, 5, 5, 5, 5, 5)
_LESS_BITS = 15
"""The bits of a band of what is left of a hash without a slice."""
_PAIRS_AT_ONCE = 2_000_000
_FEW_PAIRS = 100_000
"""So many are gone through faster than bands are sorted."""

Hashes = NDArray[np.uint64]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]
"""Rows of the one side, rows of the other, and the bits in which their hashes differ."""


def near_pairs(
    hashes: Hashes, radius: int, others: Hashes | None = None, band_bits: int = BAND_BITS
) -> Iterator[Pairs]:
    """Find the pairs within a radius, each once, some at a time.

    Args:
        hashes: uint64 [n].
        radius: The most bits in which a pair differs, 0 to `MAX_RADIUS`.
        others: Hashes to pair them with, uint64 [m]; each other when None.
        band_bits: The bits of a band; four of them hold all bits that differ.

    Raises:
        ValueError: the radius is out of its range.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(f"radius must be from 0 to {MAX_RADIUS}, not {radius}")
    if len(hashes) * len(hashes if others is None else others) <= _FEW_PAIRS:
        yield from _by_brute_force(hashes, radius, others)
        return
    flips = radius // BANDS
    for band in range(BANDS):
        left = right = _Sorted(hashes, band, band_bits)
        if others is not None:
            right = _Sorted(others, band, band_bits)
        for mask in flipped(band_bits, flips):
            keys = left.keys ^ mask
            first, counts = right.starts[keys], right.starts[keys + 1] - right.starts[keys]
            if others is None and mask:  # the one of a pair that has not the mask's highest bit
                counts = np.where(left.keys >> (mask.bit_length() - 1) & 1, 0, counts)
            elif others is None:  # those that follow it
                ends = first + counts
                first = np.arange(1, len(keys) + 1)
                counts = ends - first
            for rows in _runs(counts):
                some = counts[rows]
                i = np.repeat(np.arange(rows.start, rows.stop), some)
                before = np.cumsum(some) - some
                j = np.arange(len(i)) + np.repeat(first[rows] - before, some)
                differing = left.hashes[i] ^ right.hashes[j]
                bits = np.bitwise_count(differing)
                near = np.flatnonzero(bits <= radius)
                for earlier in range(band):
                    apart = np.bitwise_count(_band_of(differing[near], earlier, band_bits))
                    near = near[apart > flips]
                if len(near):
                    yield left.order[i[near]], right.order[j[near]], bits[near]


def _by_brute_force(hashes: Hashes, radius: int, others: Hashes | None) -> Iterator[Pairs]:
    bits = np.bitwise_count(hashes[:, None] ^ (hashes if others is None else others))
    near = bits <= radius
    i, j = np.nonzero(np.triu(near, 1) if others is None else near)
    yield i, j, bits[i, j]


class _Sorted:
    """Hashes by the value of one band: the order, the hashes and values in it, and where each value
    starts."""

    def __init__(self, hashes: Hashes, band: int, bits: int):
        keys = _band_of(hashes, band, bits).astype(np.int64)
        self.order = np.argsort(keys, kind="stable")
        self.hashes, self.keys = hashes[self.order], keys[self.order]
        self.starts = np.searchsorted(self.keys, np.arange(2**bits + 1))


def _band_of(hashes: Hashes, band: int, bits: int) -> Hashes:
    """The bits of one band of each hash."""
    return (hashes >> np.uint64(bits * band)) & np.uint64(2**bits - 1)


@lru_cache(maxsize=64)
def flipped(bits: int, most: int) -> tuple[int, ...]:
    """All masks of at most so many of so many bits, ascending."""
    return tuple(mask for mask in range(2**bits) if mask.bit_count() <= most)


def _runs(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of rows that have about `_PAIRS_AT_ONCE` pairs together."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = int(total[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(total, done + _PAIRS_AT_ONCE, "right")))
        if total[end - 1] > done:
            yield slice(start, end)
        start = end


def partitions(hashes: Hashes) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield partitions with the rows of the hashes that go there, each to one a slice."""
    for number in range(SLICES):
        for value, rows in by_bucket(slice_of(hashes, number).astype(np.int64)):
            yield number << max(_SLICE_BITS) | value, rows


def slice_of(hashes: Hashes, number: int) -> Hashes:
    """The bits of one slice of each hash."""
    bits = np.uint64(2 ** _SLICE_BITS[number] - 1)
    return (hashes >> np.uint64(sum(_SLICE_BITS[:number]))) & bits


def pairs_of_partition(hashes: Hashes, radius: int, partition: int) -> Iterator[Pairs]:
    """Find the pairs of one partition, of all hashes that `partitions` sent there, but for those
    that one of an earlier slice has."""
    number = partition >> max(_SLICE_BITS)
    below = sum(_SLICE_BITS[:number])
    low = hashes & np.uint64(2**below - 1)
    less = hashes >> np.uint64(below + _SLICE_BITS[number]) << np.uint64(below) | low
    for i, j, bits in near_pairs(less, radius, band_bits=_LESS_BITS):
        differing = hashes[i] ^ hashes[j]
        fresh = np.ones(len(i), bool)
        for earlier in range(number):
            fresh &= slice_of(differing, earlier) != 0
        if fresh.any():
            yield i[fresh], j[fresh], bits[fresh]
