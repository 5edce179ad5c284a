from collections import Counter

import pytest

from septet.pipelines.report.rejects import count_rejects, failure_class, sample_rejects


def test_examples_are_of_their_reason_and_equal_for_equal_seeds(truth):
    counts = count_rejects(truth.path)
    found = sample_rejects(truth.path, counts, each=12, reasons=60, seed=7)
    assert set(found) == set(counts.total)
    stored = {
        (stage, reason): [r for r in truth.rejects if (r["stage"], r["reason"]) == (stage, reason)]
        for stage, reason in found
    }
    for key, rows in found.items():
        assert len(rows) == min(12, len(stored[key]))
        urls = [row["image_url"] for row in stored[key]]
        assert all(row["image_url"] in urls for row in rows)
        assert len({row["image_url"] for row in rows}) == len(rows)
    assert found == sample_rejects(truth.path, counts, each=12, reasons=60, seed=7)
    assert found != sample_rejects(truth.path, counts, each=12, reasons=60, seed=8)


def test_examples_come_evenly_from_all_files_of_a_reason(truth):
    counts = count_rejects(truth.path)
    seen: Counter = Counter()
    for seed in range(60):
        found = sample_rejects(truth.path, counts, each=12, reasons=1, seed=seed)
        assert list(found) == [("filter", "too_short")]
        for row in found["filter", "too_short"]:
            seen[int(row["image_url"].rsplit("/", 1)[1].split(".")[0]) // 40] += 1
    # 720 draws into four quarters of the 160 rows: 180 each, standard deviation 11.6.
    assert all(abs(seen[quarter] - 180) < 58 for quarter in range(4))


def test_only_the_largest_reasons_have_examples(truth):
    counts = count_rejects(truth.path)
    found = sample_rejects(truth.path, counts, each=2, reasons=3, seed=0)
    assert list(found) == [
        ("filter", "too_short"), ("dedup", "duplicate_pair"), ("filter", "too_few_words"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("http_status 404", "network"), ("http_status 503", "passing"),
        ("http_status 429", "passing"), ("timeout first_byte", "passing"), ("dns", "passing"),
        ("opt_out", "access"), ("redirects", "network"), ("never_seen", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_reasons_have_classes(reason, expected):
    assert failure_class(reason) == expected
