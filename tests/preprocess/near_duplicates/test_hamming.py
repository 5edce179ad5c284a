"""All pairs within a radius, beside brute force."""

import numpy as np
import pytest

from septet.preprocess.near_duplicates.hamming import (
    MAX_RADIUS,
    near_pairs,
    pairs_of_partition,
    partitions,
)


def planted(count: int, seed: int = 0) -> np.ndarray:
    """Random hashes, half of them others with some bits flipped, 0 to 14 of them."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 2**64, count // 2, dtype=np.uint64)
    second = first[rng.integers(0, len(first), count - len(first))].copy()
    flips = rng.integers(0, 15, len(second))
    for number in range(14):
        flipped = flips > number
        bits = rng.integers(0, 64, int(flipped.sum())).astype(np.uint64)
        second[flipped] ^= np.uint64(1) << bits
    return np.concatenate([first, second])


def brute_force(hashes: np.ndarray, radius: int) -> dict[tuple[int, int], int]:
    found = {}
    for start in range(0, len(hashes), 1000):
        bits = np.bitwise_count(hashes[start : start + 1000, None] ^ hashes[None])
        rows, columns = np.nonzero(bits <= radius)
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            if i + start < j:
                found[i + start, j] = int(bits[i, j])
    return found


def gathered(pairs, rows=None) -> list[tuple[tuple[int, int], int]]:
    found = []
    for i, j, bits in pairs:
        if rows is not None:
            i, j = rows[i], rows[j]
        ends = zip(np.minimum(i, j).tolist(), np.maximum(i, j).tolist(), strict=True)
        found += zip(ends, bits.tolist(), strict=True)
    return found


@pytest.mark.parametrize("radius", [0, 1, 3, 4, 7, 8, 10, 11])
def test_pairs_are_those_of_brute_force_each_once(radius: int) -> None:
    hashes = planted(3000, radius)
    expected = brute_force(hashes, radius)
    found = gathered(near_pairs(hashes, radius))
    assert len(found) == len(expected) >= 100
    assert dict(found) == expected


def test_pairs_of_20_000_are_those_of_brute_force() -> None:
    hashes = planted(20_000)
    found = gathered(near_pairs(hashes, MAX_RADIUS))
    assert len(found) == len(dict(found)) and dict(found) == brute_force(hashes, MAX_RADIUS)


def test_pairs_of_two_lists() -> None:
    hashes = planted(2000)
    left, right = hashes[:700], hashes[700:]
    expected = {
        (i, j - 700): bits
        for (i, j), bits in brute_force(hashes, 9).items()
        if i < 700 <= j
    }  # fmt: skip
    found = [
        ((i, j), b)
        for a, c, bits in near_pairs(left, 9, right)
        for i, j, b in zip(a.tolist(), c.tolist(), bits.tolist(), strict=True)
    ]
    assert len(found) == len(expected) > 50 and dict(found) == expected


def test_equal_hashes_are_pairs_too() -> None:
    assert len(gathered(near_pairs(np.full(30, 7, np.uint64), 0))) == 30 * 29 // 2
    assert gathered(near_pairs(np.empty(0, np.uint64), 4)) == []


@pytest.mark.parametrize("radius", [3, 11])
def test_partitions_report_each_pair_once(radius: int) -> None:
    hashes = planted(2000)
    sent = dict(partitions(hashes))
    assert np.bincount(np.concatenate([*sent.values()])).tolist() == [12] * len(hashes)
    assert max(map(len, sent.values())) < len(hashes) / 20
    found = []
    for partition, rows in sent.items():
        found += gathered(pairs_of_partition(hashes[rows], radius, partition), rows)
    expected = brute_force(hashes, radius)
    assert len(found) == len(expected) and dict(found) == expected


@pytest.mark.parametrize("radius", [-1, 12])
def test_a_radius_that_bands_cannot_find_is_refused(radius: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 11"):
        list(near_pairs(np.zeros(2, np.uint64), radius))
