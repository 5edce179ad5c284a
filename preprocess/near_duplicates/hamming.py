"""Pairs of 64-bit hashes within a Hamming radius, all of them: by bands.

A hash is cut into four bands of 16 bits. Of two hashes that differ in at most r bits, one band
differs in at most r // 4 (pigeonhole principle). So for each band, and each way to flip so few
bits of it, hashes are looked up that have the flipped band. A pair is reported by the first band
that finds it.

Many hashes can be dealt out over partitions, one a band and a range of its values: a hash goes to
the partition where it is at *home*, and *visits* those of the bands that differ in few bits.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.text.ids import by_bucket

BANDS, BAND_BITS = 4, 16
MAX_RADIUS = 11
"""Within it a band differs in two bits at most, of which there are 137 ways."""
_PAIRS_AT_ONCE = 2_000_000

Hashes = NDArray[np.uint64]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]
"""Rows of the one side, rows of the other, and the bits in which their hashes differ."""


def near_pairs(
    hashes: Hashes, radius: int, others: Hashes | None = None, bands: Sequence[int] = range(BANDS)
) -> Iterator[Pairs]:
    """Find the pairs within a radius, each once, some at a time.

    Args:
        hashes: uint64 [n].
        radius: The most bits in which a pair differs, 0 to `MAX_RADIUS`.
        others: Hashes to pair them with, uint64 [m]; each other when None.
        bands: The bands that are looked into; pairs that an earlier band finds are not reported.

    Raises:
        ValueError: the radius is out of its range.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(f"radius must be from 0 to {MAX_RADIUS}, not {radius}")
    flips = radius // BANDS
    for band in bands:
        left = right = _Sorted(hashes, band)
        if others is not None:
            right = _Sorted(others, band)
        for mask in flipped(BAND_BITS, flips):
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
                    apart = np.bitwise_count(band_of(differing[near], earlier))
                    near = near[apart > flips]
                if len(near):
                    yield left.order[i[near]], right.order[j[near]], bits[near]


class _Sorted:
    """Hashes by the value of one band: the order, the hashes and values in it, and where each value
    starts."""

    def __init__(self, hashes: Hashes, band: int):
        keys = band_of(hashes, band).astype(np.int64)
        self.order = np.argsort(keys, kind="stable")
        self.hashes, self.keys = hashes[self.order], keys[self.order]
        self.starts = np.searchsorted(self.keys, np.arange(2**BAND_BITS + 1))


def band_of(hashes: Hashes, band: int) -> NDArray[np.uint64]:
    """The bits of one band of each hash."""
    return (hashes >> np.uint64(BAND_BITS * band)) & np.uint64(2**BAND_BITS - 1)


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


def partitions(
    hashes: Hashes, radius: int, prefix_bits: int
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield partitions (of `BANDS << prefix_bits`) with the rows of the hashes that are at home
    there or visit it. Hashes visit partitions before their home only, so that each pair meets once
    a band."""
    for band in range(BANDS):
        home = band_of(hashes, band).astype(np.int64) >> (BAND_BITS - prefix_bits)
        for mask in flipped(prefix_bits, min(radius // BANDS, prefix_bits)):
            there = home ^ mask
            going = np.flatnonzero(there <= home)
            for prefix, rows in by_bucket(there[going]):
                yield band << prefix_bits | prefix, going[rows]


def pairs_of_partition(
    hashes: Hashes, radius: int, partition: int, prefix_bits: int
) -> Iterator[Pairs]:
    """Find the pairs that one partition is to report, of all hashes that `partitions` sent there:
    those at home with each other, and with visitors."""
    band, prefix = partition >> prefix_bits, partition & ((1 << prefix_bits) - 1)
    homes = band_of(hashes, band).astype(np.int64) >> (BAND_BITS - prefix_bits)
    home, visitors = np.flatnonzero(homes == prefix), np.flatnonzero(homes != prefix)
    for i, j, bits in near_pairs(hashes[home], radius, bands=(band,)):
        yield home[i], home[j], bits
    if len(visitors):
        for i, j, bits in near_pairs(hashes[home], radius, hashes[visitors], (band,)):
            yield home[i], visitors[j], bits
