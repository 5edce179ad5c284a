from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.pipelines.report.figures import Histogram
from septet.pipelines.report.measures import MEASURES, QUANTILES, Distribution, quantise

VALUES = st.lists(st.integers(-3, 2**40), max_size=60)


def of(values: list[int]) -> Distribution:
    return Distribution.of(np.array(values, np.int64))


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=60))
def test_quantised_values_are_exact_when_small_and_never_more_than_a_512th_low(values):
    kept = quantise(np.array(values, np.int64)).tolist()
    for value, low in zip(values, kept, strict=True):
        assert low <= value
        assert value - low <= value / 512
        assert value >= 1024 or low == value


@pytest.mark.parametrize("name", MEASURES)
def test_edges_ascend_from_zero_and_survive_quantising_so_that_bins_are_exact(name):
    edges = np.array(MEASURES[name].edges)
    assert edges[0] == 0
    assert (np.diff(edges) > 0).all()
    assert (quantise(edges) == edges).all()


@pytest.mark.parametrize(("name", "is_round"), [
    ("width", lambda edge: edge % 32 == 0),
    ("caption_chars", lambda edge: edge % 5 == 0),
    ("aspect_ratio", lambda edge: edge % 10 == 0),
    ("original_bytes", lambda edge: edge & (edge - 1) == 0 and edge != 2**27),
    ("caption_words", lambda edge: edge <= 6 or edge in (8, 12, 256, 512) or edge % 5 == 0),
])  # fmt: skip
def test_edges_are_numbers_that_a_reader_of_the_axis_expects(
    name: str, is_round: Callable[[int], bool]
) -> None:
    assert [edge for edge in MEASURES[name].edges if not is_round(edge)] == []


@given(VALUES, VALUES, VALUES)
def test_distributions_merge_in_any_grouping_and_order(a, b, c):
    whole = of(a + b + c)
    assert whole.total == sum(value for value in a + b + c if value >= 0)
    assert of(a) + (of(b) + of(c)) == (of(a) + of(b)) + of(c) == whole
    assert of(c) + of(a) + of(b) == whole
    assert of([]) + of(a) == of(a) + of([]) == of(a)


@given(st.lists(st.integers(0, 9000), min_size=1, max_size=80))
def test_figures_of_a_histogram_are_those_of_the_plain_values(values):
    found = Histogram.of("width", of(values), len(values) + 3)
    assert found is not None
    assert (found.count, found.missing) == (len(values), 3)
    assert (found.min, found.max) == (min(values), max(values))
    assert found.mean == round(sum(values) / len(values), 3)
    edges = MEASURES["width"].edges
    bins = Counter(max(i for i, edge in enumerate(edges) if edge <= value) for value in values)
    assert found.counts == [bins[i] for i in range(len(edges))]
    ordered = sorted(quantise(np.array(values)).tolist())
    for name, q in QUANTILES.items():
        rank = -(-Fraction(str(q)) * len(values) // 1)
        assert found.quantiles[name] == ordered[max(int(rank), 1) - 1]


def test_a_measure_without_any_value_has_no_histogram():
    assert Histogram.of("width", of([-1, -1]), 2) is None


def test_memory_is_bounded_by_the_span_of_values_not_by_their_number():
    values = np.random.default_rng(0).integers(0, 2**24, 400_000)
    assert len(Distribution.of(values).counts) <= 1024 + 512 * 14
