"""Draws of frequent entries and domains, against the definition."""

import numpy as np
import pyarrow as pa
import pytest

from septet.preprocess.rules.balance import domains_in, drawn, entries_in
from septet.preprocess.rules.lists import spaced_phrases
from septet.preprocess.text.ids import sample_id

ENTRIES = ("cat", "red cat", "Cat", "1.5 m", "猫")


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red cat", {"cat", "red cat"}),
        ("a red, cat", {"cat"}),
        ("cats and cat's", set()),
        ("Cat.", {"Cat"}),
        ("cat cat cat", {"cat"}),
        ("1.5 m high", {"1.5 m"}),
        ("一只猫", set()),  # words are what stands between spaces
        ("猫 cat", {"猫", "cat"}),
        (None, set()),
    ],
)
def test_entries_are_whole_words(caption: str | None, expected: set[str]) -> None:
    phrases = spaced_phrases(ENTRIES)
    hits = entries_in(pa.array(["no", caption, "red"], pa.string()), phrases)
    keys = {entry: entries_in(pa.array([entry]), spaced_phrases((entry,))).keys[0]
            for entry in ENTRIES}  # fmt: skip
    assert set(hits.rows.tolist()) <= {1} and len(hits.keys) == len(expected)
    assert set(hits.keys.tolist()) == {int(keys[entry]) for entry in expected}


def test_domains() -> None:
    hits = domains_in(
        pa.array(["https://a.e.org/1", None, "http://b.e.org/2", "c.jpg", "http://f.org"])
    )
    assert hits.rows.tolist() == [0, 2, 4]
    assert hits.keys[0] == hits.keys[1] != hits.keys[2]


def test_draws_keep_rare_entries_and_some_of_frequent_ones() -> None:
    captions = ["a cat"] * 4000 + ["a dog"] * 100 + ["a cat and a dog"] * 1000 + ["a cow"] * 7
    ids = [sample_id(f"https://e.org/{i}", text) for i, text in enumerate(captions)]
    phrases = spaced_phrases(("cat", "dog"))
    hits = entries_in(pa.array(captions), phrases)
    counts = hits.counted()
    assert sorted(counts[1].tolist()) == [1100, 5000]
    won, least = drawn(hits, pa.chunked_array([ids]), counts, 500, 0)
    # cat: 500 of 5000; dog: 500 of 1100. Both: 1 - (1 - 0.1) * (1 - 0.4545) = 0.509.
    for rows, chance in (
        (slice(0, 4000), 0.1),
        (slice(4000, 4100), 0.4545),
        (slice(4100, 5100), 0.509),
    ):
        deviation = np.sqrt(chance * (1 - chance) / len(won[rows]))
        assert abs(won[rows].mean() - chance) < 4 * deviation
    assert not won[5100:].any() and set(least[5100:]) == {0}
    assert set(least[:4000]) == {5000} and set(least[4000:5100]) == {1100}
    # Another order draws the same, another seed others, and enough for all draws all.
    order = np.random.default_rng(0).permutation(len(captions))
    shuffled = pa.array(captions).take(pa.array(order))
    again, _ = drawn(
        entries_in(shuffled, phrases), pa.chunked_array([np.array(ids)[order]]), counts, 500, 0
    )
    assert (again == won[order]).all()
    other, _ = drawn(hits, pa.chunked_array([ids]), counts, 500, 1)
    assert (other != won).sum() > 0
    every, _ = drawn(hits, pa.chunked_array([ids]), counts, 5000, 1)
    assert every[:5100].all()
