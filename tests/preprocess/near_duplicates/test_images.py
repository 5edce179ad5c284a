"""Who goes for whom: in the order of rank, near to the one that is kept, never over a third."""

import random

import numpy as np
import pytest

from septet.preprocess.near_duplicates.images import (
    EDGE,
    FATE,
    HASHED,
    decide,
    pairs_beside_captions,
)

NONE = np.empty(0, FATE)


_FIRST_RANK = np.uint64(1 << 31)
"""Less are samples of earlier corpora."""


def edges(*pairs: tuple[int, int]) -> np.ndarray:
    """Edges (better, worse) between members whose rank is their number."""
    found = np.zeros(len(pairs), EDGE)
    for row, (better, worse) in zip(found, pairs, strict=True):
        row["better_rank"] = row["better_rest"] = better
        row["worse_rank"] = row["worse_rest"] = worse
        row["bits"] = worse - better
    return found


def gone(lost: np.ndarray) -> dict[int, int]:
    return dict(zip(lost["rest"].tolist(), lost["kept_rest"].tolist(), strict=True))


FREE = np.array([(0, 0, True), (0, 5, True)], FATE)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (((0, 1),), {1: 0}),
        (((0, 1), (1, 2)), {1: 0}),  # 2 is near to 1 alone, which is gone
        (((0, 1), (1, 2), (2, 3)), {1: 0, 3: 2}),
        (((0, 2), (5, 7), (2, 7)), {2: 0, 7: 5}),
        (((0, 6), (5, 6)), {6: 0}),  # the best one, not the nearest
        (((0, 1), (0, 2), (1, 2), (0, 3), (2, 3)), {1: 0, 2: 0, 3: 0}),
    ],
)
def test_a_member_goes_for_a_better_one_that_is_kept(pairs, expected) -> None:
    fates, lost, undecided = decide(edges(*pairs), FREE)
    assert gone(lost) == expected and undecided == 0
    worse = {worse for _, worse in pairs}
    kept = dict(zip(fates["rest"].tolist(), fates["kept"].tolist(), strict=True))
    assert kept == {one: one not in expected for one in worse}


def test_a_member_waits_for_the_fate_of_a_better_one() -> None:
    mine = edges((3, 4), (1, 4), (0, 2))
    _, lost, undecided = decide(mine, FREE)
    assert (gone(lost), undecided) == ({2: 0}, 1)
    one = np.array([(0, 1, False)], FATE)
    _, lost, undecided = decide(mine, np.concatenate([FREE, one]))
    assert (gone(lost), undecided) == ({2: 0}, 1)
    three = np.array([(0, 3, True)], FATE)
    _, lost, undecided = decide(mine, np.concatenate([FREE, one, three]))
    assert (gone(lost), undecided) == ({2: 0, 4: 3}, 0)
    assert decide(edges(), NONE)[2] == 0


def test_buckets_and_rounds_decide_what_one_task_decides() -> None:
    rng = random.Random(3)
    pairs = sorted({tuple(sorted(rng.sample(range(120), 2))) for _ in range(260)})
    kept: dict[int, int] = {}
    for member in range(120):
        near = [better for better, worse in pairs if worse == member and kept[better] == better]
        kept[member] = near[0] if near else member
    expected = {member: other for member, other in kept.items() if other != member}

    free = [n for n in range(120) if n not in {worse for _, worse in pairs}]
    known = np.array([(0, n, True) for n in free], FATE)
    rounds = 0
    while True:
        rounds += 1
        fresh, found, left = [known[: len(free)]], {}, 0
        for bucket in range(7):
            mine = [pair for pair in pairs if pair[1] % 7 == bucket]
            rng.shuffle(mine)
            fates, lost, undecided = decide(edges(*mine), known)
            fresh.append(fates)
            found |= gone(lost)
            left += undecided
        known = np.concatenate(fresh)
        if not left:
            break
    assert found == expected and 1 < rounds < 20


def test_pairs_beside_captions_are_those_of_one_caption() -> None:
    some = np.zeros(6, HASHED)
    some["rest"] = [1, 2, 3, 4, 5, 6]
    some["rank"] = _FIRST_RANK + np.array([6, 5, 4, 3, 2, 1], np.uint64)
    some["caption"] = [8, 8, 9, 9, 8, 7]
    some["phash"] = [0, 1, 0, 2**12 - 1, 3, 0]
    found = np.concatenate([*pairs_beside_captions(some, 11)])
    assert sorted(zip(found["better_rest"].tolist(), found["worse_rest"].tolist(),
                      found["bits"].tolist(), strict=True)) == [
        (2, 1, 1), (5, 1, 2), (5, 2, 1)
    ]  # fmt: skip


def test_of_a_hash_that_very_many_have_the_best_ones_lead() -> None:
    some = np.zeros(100_000, HASHED)
    some["rest"] = np.arange(len(some))
    some["rank"] = _FIRST_RANK + some["rest"]
    found = np.concatenate([*pairs_beside_captions(some, 0)])
    assert sorted(set(found["better_rest"].tolist())) == list(range(20))
    assert len(found) == 20 * len(some) - sum(range(1, 21))


def test_what_an_earlier_corpus_has_stays() -> None:
    some = np.zeros(3, HASHED)
    some["rest"], some["phash"], some["caption"] = [1, 2, 3], [0, 1, 2], 5
    some["rank"] = [0, 1, _FIRST_RANK]  # of the first corpus, of the second, of the build
    found = np.concatenate([*pairs_beside_captions(some, 11)])
    pairs = zip(found["better_rest"].tolist(), found["worse_rest"].tolist(), strict=True)
    assert sorted(pairs) == [(1, 3), (2, 3)]
