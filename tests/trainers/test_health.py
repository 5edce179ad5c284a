"""How many samples may be unusable before a run stops, and what is written of them."""

import json

import pytest

from septet.trainers.loader.source import Health, TooManyBadSamplesError

ROW = {"stream": "pairs", "shard": "shards/00000.tar", "row": 3, "key": "k", "outcome": "bad_image",
       "reason": "no caption: «näh»"}  # fmt: skip


def test_a_hundred_in_a_row_stop_a_run_whatever_share_may_be_unusable():
    health = Health(0.9)
    for _ in range(100):
        health.good()
    for _ in range(99):
        health.skip(ROW)
    health.good()
    for _ in range(99):
        health.skip(ROW)
    with pytest.raises(TooManyBadSamplesError, match=r"199 of 300 samples .* \(100 in a row\)"):
        health.skip(ROW)


@pytest.mark.parametrize("share,read,most", [(0.01, 100, 10), (0.01, 2000, 20), (0.5, 40, 20)])
def test_a_share_of_what_was_read_and_ten_in_any_case_are_forgiven(share, read, most):
    """As many as are forgiven, then one more."""
    health = Health(share)
    for _ in range(read - most):
        health.good()
    for _ in range(most):
        health.skip(ROW)
    assert (health.read, health.bad) == (read, most)
    with pytest.raises(TooManyBadSamplesError, match=f"{most + 1} of {read + 1} samples"):
        health.skip(ROW)


def test_what_was_skipped_is_written_as_people_read_it(tmp_path):
    health = Health(0.5, tmp_path / "skipped.jsonl")
    for _ in range(2):
        health.skip(ROW)
    lines = (tmp_path / "skipped.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [ROW, ROW]
    assert all("no caption: «näh»" in line for line in lines)
