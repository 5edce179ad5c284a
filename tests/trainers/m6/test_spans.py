import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.trainers.m6.spans import hidden_tokens, masked_alone, with_masks

MASK = 103


def runs(hidden):
    """First and last place of each hidden span."""
    edges = np.diff(np.concatenate([[0], hidden.astype(int), [0]]))
    return list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32), st.sampled_from([0.15, 0.5, 0.9]))
def test_a_share_is_hidden_and_both_texts_can_be_read_back(count, seed, share):
    hidden = hidden_tokens(np.random.default_rng(seed), count, share)
    assert hidden.shape == (count,) and hidden.sum() == math.ceil(share * count)
    ids = np.arange(1000, 1000 + count)
    spans = runs(hidden)  # Spans that touched would be one run: the masks say how many there are.
    source = with_masks(ids, hidden, MASK)
    assert (source == MASK).sum() == len(spans)
    assert len(source) == count - hidden.sum() + len(spans)
    alone = masked_alone(ids, hidden, MASK)
    parts = [part for part in np.split(alone, np.flatnonzero(alone == MASK)) if len(part)]
    assert all(part[0] == MASK for part in parts) and len(parts) == len(spans)
    told, at = [], 0
    for i in source.tolist():  # Each mask gives way to the span that it stands for.
        told += parts[at][1:].tolist() if i == MASK else [i]
        at += i == MASK
    assert told == ids.tolist()


def test_lengths_are_poisson_of_three_and_at_least_one_and_places_are_even():
    """Of 128 tokens 20 are hidden, and the source has about 115."""
    lengths, sources, places = [], [], np.zeros(128)
    for seed in range(2000):
        hidden = hidden_tokens(np.random.default_rng(seed), 128, 0.15)
        spans = runs(hidden)
        lengths += [end - begin for begin, end in spans[:-1]]
        sources.append(128 - 20 + len(spans))
        places += hidden
    assert 114.5 < np.mean(sources) < 115.5
    assert min(lengths) == 1 and max(lengths) > 6
    # Away from the borders every place is hidden equally often.
    shares = places[10:-10] / 2000
    assert abs(shares.mean() - 20 / 128) < 0.01 and shares.std() < 0.02


def test_where_spans_are_is_a_function_of_the_generator():
    first, again, other = (
        hidden_tokens(np.random.default_rng(seed), 100, 0.15) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
