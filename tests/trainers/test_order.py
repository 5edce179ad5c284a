import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from septet.trainers.loader.order import Mix, ShardOrder

COUNTS = [7, 1, 13, 0, 20, 9]
GOLDEN = [(1, 2), (0, 2), (0, 1), (1, 1), (0, 3), (0, 0), (1, 0), (2, 1), (2, 0)]
ALL = {(shard, row) for shard, n in enumerate(COUNTS) for row in range(n)}


def epoch(order: ShardOrder, number: int) -> list[tuple[int, int]]:
    return [order.locate(number, i) for i in range(order.samples)]


@pytest.mark.parametrize("window", [1, 10, 25, 1000])
def test_every_epoch_has_every_sample_once(window):
    order = ShardOrder(COUNTS, "digest", 3, window)
    for number in range(4):
        places = epoch(order, number)
        assert len(places) == len(ALL) and set(places) == ALL
    assert epoch(order, 0) != epoch(order, 1)


def test_any_of_seed_epoch_and_corpus_changes_the_order():
    base = epoch(ShardOrder(COUNTS, "digest", 3), 0)
    assert base == epoch(ShardOrder(COUNTS, "digest", 3), 0)
    assert base != epoch(ShardOrder(COUNTS, "digest", 4), 0)
    assert base != epoch(ShardOrder(COUNTS, "other", 3), 0)
    assert base != sorted(base)


def test_the_order_is_the_same_in_another_process():
    code = (
        "from septet.trainers.loader.order import ShardOrder; o = ShardOrder([7, 1, 13], 'digest', 3); "
        "print([o.locate(2, i) for i in range(21)])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    order = ShardOrder([7, 1, 13], "digest", 3)
    assert found.stdout.strip() == str([order.locate(2, i) for i in range(21)])


def test_golden_order():
    # A change here makes every run unable to resume: raise it only on purpose.
    order = ShardOrder([4, 3, 2], "digest", 0, window=5)
    assert [order.locate(0, i) for i in range(9)] == GOLDEN


def test_reads_stay_within_a_window():
    counts = [10] * 30
    order = ShardOrder(counts, "digest", 1, window=50)
    places = epoch(order, 0)
    for start in range(0, 300, 50):
        shards = {shard for shard, _ in places[start : start + 50]}
        assert len(shards) == 5
        assert shards <= set(order.shards_from(0, start, 50))
    rows = [shard * 10 + row for shard, row in places[:50]]
    assert rows != sorted(rows)


def test_shuffling_leaves_no_trace_of_the_original_order():
    order = ShardOrder([500] * 4, "digest", 5)
    places = np.array([shard * 500 + row for shard, row in epoch(order, 0)])
    correlation = np.corrcoef(places, np.arange(2000))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(2000)


def test_a_mix_keeps_its_weights_in_every_block_and_counts_without_gaps():
    mix = Mix([0.5, 0.3, 0.2], seed=4, block=10)
    places = [mix.locate(p) for p in range(1000)]
    for start in range(0, 1000, 10):
        assert Counter(c for c, _ in places[start : start + 10]) == {0: 5, 1: 3, 2: 2}
    for corpus in range(3):
        assert [i for c, i in places if c == corpus] == list(range(1000 * (5, 3, 2)[corpus] // 10))
    assert [c for c, _ in places[:10]] != [c for c, _ in places[10:20]]


def test_weights_that_cannot_be():
    with pytest.raises(ValueError, match="above zero"):
        Mix([1.0, 0.0], 0)
    with pytest.raises(ValueError, match="less than one sample"):
        Mix([1.0, 1e-9], 0)
