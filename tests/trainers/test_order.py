import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from septet.trainers.loader.order import Mix, ShardOrder, mix_block

COUNTS = [7, 1, 13, 0, 20, 9]
GOLDEN = [(1, 0), (1, 2), (1, 1), (2, 0), (2, 1), (0, 2), (0, 1), (0, 0), (0, 3)]
ALL = {(shard, row) for shard, n in enumerate(COUNTS) for row in range(n)}


def epoch(order: ShardOrder, number: int) -> list[tuple[int, int]]:
    return [order.locate(number, i) for i in range(order.samples)]


@pytest.mark.parametrize("window", [1, 10, 25, 1000])
def test_every_epoch_has_every_sample_once(window):
    order = ShardOrder("pairs", COUNTS, "digest", 3, window)
    for number in range(4):
        places = epoch(order, number)
        assert len(places) == len(ALL) and set(places) == ALL
    assert epoch(order, 0) != epoch(order, 1)


def test_any_of_seed_epoch_stream_and_corpus_changes_the_order():
    base = epoch(ShardOrder("pairs", COUNTS, "digest", 3), 0)
    assert base == epoch(ShardOrder("pairs", COUNTS, "digest", 3), 0)
    assert base != epoch(ShardOrder("texts", COUNTS, "digest", 3), 0)
    assert base != epoch(ShardOrder("pairs", COUNTS, "digest", 4), 0)
    assert base != epoch(ShardOrder("pairs", COUNTS, "other", 3), 0)
    assert base != sorted(base)


def test_the_order_is_the_same_in_another_process():
    code = (
        "from septet.trainers.loader.order import ShardOrder; "
        "o = ShardOrder('pairs', [7, 1, 13], 'digest', 3); "
        "print([o.locate(2, i) for i in range(21)])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    order = ShardOrder("pairs", [7, 1, 13], "digest", 3)
    assert found.stdout.strip() == str([order.locate(2, i) for i in range(21)])


def test_golden_order():
    # A change here makes every run unable to resume: raise it only on purpose.
    order = ShardOrder("pairs", [4, 3, 2], "digest", 0, window=5)
    assert [order.locate(0, i) for i in range(9)] == GOLDEN


def test_reads_stay_within_a_window():
    counts = [10] * 30
    order = ShardOrder("pairs", counts, "digest", 1, window=50)
    places = epoch(order, 0)
    for start in range(0, 300, 50):
        shards = {shard for shard, _ in places[start : start + 50]}
        assert len(shards) == 5
    assert order.shards_at_once == 10
    assert ShardOrder("pairs", counts, "digest", 1, window=10**6).shards_at_once == 30
    rows = [shard * 10 + row for shard, row in places[:50]]
    assert rows != sorted(rows)


def test_shuffling_leaves_no_trace_of_the_original_order():
    order = ShardOrder("pairs", [500] * 4, "digest", 5)
    places = np.array([shard * 500 + row for shard, row in epoch(order, 0)])
    correlation = np.corrcoef(places, np.arange(2000))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(2000)


def test_a_mix_keeps_its_weights_in_every_block_and_counts_without_gaps():
    mix = Mix("pairs", [0.5, 0.3, 0.2], seed=4, block=10)
    places = [mix.locate(p) for p in range(1000)]
    for start in range(0, 1000, 10):
        assert Counter(c for c, _ in places[start : start + 10]) == {0: 5, 1: 3, 2: 2}
    for corpus in range(3):
        assert [i for c, i in places if c == corpus] == list(range(1000 * (5, 3, 2)[corpus] // 10))
    assert [c for c, _ in places[:10]] != [c for c, _ in places[10:20]]
    other = Mix("pairs", [50, 30, 20], seed=4, block=10)  # only their proportion counts
    assert [other.locate(p) for p in range(1000)] == places


def test_weights_that_cannot_be():
    with pytest.raises(ValueError, match="above zero"):
        Mix("pairs", [1.0, 0.0], 0)
    with pytest.raises(ValueError, match="less than one sample"):
        Mix("pairs", [1.0, 1e-9], 0)


@pytest.mark.parametrize("counts,window", [([7, 1, 13, 40], 16), ([30] * 5, 40), ([500], 10**6)])
@pytest.mark.parametrize("distinct", [2, 13, 30])
def test_samples_in_a_row_are_distinct_across_epochs(counts, window, distinct):
    order = ShardOrder("pairs", counts, "digest", 5, window, distinct)
    plain = ShardOrder("pairs", counts, "digest", 5, window)
    places, n = [], sum(counts)
    for number in range(4):
        found = epoch(order, number)
        assert set(found) == set(epoch(plain, number)) and len(found) == n
        assert found[distinct:] == epoch(plain, number)[distinct:]
        places += found
    last = {}
    for at, place in enumerate(places):
        assert at - last.get(place, -distinct) >= distinct
        last[place] = at
    assert places[:n] == epoch(plain, 0) and places[n : 2 * n] != places[:n]
    for start in (0, distinct - 1, n - 3):
        count = min(9, n - start)
        run = order.locate_run(2, start, count)
        assert run == [order.locate(2, start + i) for i in range(count)]


def test_a_small_corpus_is_read_in_one_order():
    order = ShardOrder("pairs", [10, 9], "digest", 5, distinct=10)
    assert epoch(order, 0) == epoch(order, 7) and len(set(epoch(order, 3))) == 19


@pytest.mark.parametrize("n,distinct", [(100, 12), (24, 12), (19, 12), (50, 1), (2, 1)])
def test_what_takes_the_place_of_another_is_near_none(n, distinct):
    order = ShardOrder("pairs", [n], "digest", 5, distinct=distinct)
    for epoch_number in range(3):
        tried = [order.instead(epoch_number, 7 % n, a) for a in range(1, n + 1)]
        found = [place for place in tried if place is not None]
        assert len(set(found)) == len(found) and 7 % n not in found and found
        assert None in tried  # It comes to an end.
        if n >= 2 * distinct:
            apart = [(place - 7) % n for place in found]
            assert all(distinct <= d <= n - distinct for d in apart)


def test_a_mix_says_how_many_of_a_corpus_a_batch_may_hold():
    mix = Mix("pairs", [0.9, 0.09, 0.01], 3)
    which = [mix.locate(p)[0] for p in range(5000)]
    for batch in (1, 32, 700, 1000, 1700):
        most = mix.most(batch)
        for corpus in range(3):
            seen = np.convolve(np.equal(which, corpus), np.ones(batch), "valid").max()
            assert seen <= most[corpus] <= batch
    assert mix.most(32) == [32, 32, 20]


@pytest.mark.parametrize(("weights", "block"), [
    ([1], 1000), ([1, 1], 1000), ([999, 1], 1000), ([1000, 1], 10_000), ([99_999, 1], 100_000),
])  # fmt: skip
def test_a_block_of_a_mix_has_one_of_the_rarest(weights: list[float], block: int) -> None:
    assert mix_block(weights) == block
    assert min(Mix("pairs", weights, 0, mix_block(weights)).quotas) >= 1


@pytest.mark.parametrize(("weights", "block", "quotas"), [
    ([5, 3, 1], 1000, [556, 333, 111]),
    ([2, 2, 3], 10, [3, 3, 4]),
    ([1, 1, 1], 1000, [334, 333, 333]),
    ([1, 2, 4], 1000, [143, 286, 571]),
])  # fmt: skip
def test_what_weights_leave_over_goes_to_the_largest_remainders(weights, block, quotas):
    assert Mix("pairs", weights, 0, block).quotas.tolist() == quotas


def test_even_the_smallest_corpus_is_shuffled_anew_in_each_epoch():
    """Unless a batch is to hold distinct samples, of which it has too few for that."""
    order = ShardOrder("pairs", [3], "digest", 5)
    assert len({tuple(epoch(order, number)) for number in range(40)}) == 6


@pytest.mark.parametrize("n,distinct", [(9, 1), (9, 5), (24, 12), (25, 6)])
def test_all_that_are_far_enough_can_take_anothers_place(n, distinct):
    order = ShardOrder("pairs", [n], "digest", 5, distinct=distinct)
    step = distinct if n >= 2 * distinct else 1
    wanted = {(4 + step * k) % n for k in range(1, n // step)}
    assert {order.instead(2, 4, attempt) for attempt in range(1, n + 1)} == wanted | {None}
