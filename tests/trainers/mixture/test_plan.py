"""How many rows a mixture gives to which task."""

import math
from collections import Counter

import pytest

from septet.trainers.mixture.plan import Mixture

PALI = {
    "span": 100, "split": 1000, "ocr": 100, "caption": 100,
    "vqa": 100, "vqg": 100, "objects": 50, "detect": 16,
}  # fmt: skip
"""The paper's amounts (PaLI, table 9)."""
KINDS = {"texts": ["span"], "images": [task for task in PALI if task != "span"]}


def drawn(mixture, steps, total, seed=3):
    found = Counter()
    for step in range(steps):
        rows = mixture.rows(seed, step, total)
        assert sum(rows.values()) == total and rows.keys() == mixture.weights.keys()
        found.update(rows)
    return found


@pytest.mark.parametrize("total", [1, 7, 48, 4096])
@pytest.mark.parametrize("kinds,multiple", [({}, 1), (KINDS, 1), (KINDS, 8)])
def test_shares_of_ten_thousand_rows_are_the_weights(total, kinds, multiple):
    total *= multiple
    mixture = Mixture(PALI, kinds, multiple)
    steps = -(-10_000 // total)
    found, rows = drawn(mixture, steps, total), steps * total
    for task, share in mixture.shares.items():
        sigma = math.sqrt(rows / multiple * share * (1 - share)) * multiple
        assert abs(found[task] - rows * share) < 3 * sigma, (task, found[task], rows * share)
    assert sum(mixture.shares.values()) == pytest.approx(1)


def test_a_step_has_each_task_to_the_row():
    mixture = Mixture(PALI)
    for step in range(200):
        for task, n in mixture.rows(0, step, 480).items():
            assert abs(n - 480 * mixture.shares[task]) < 1
    exact = Mixture({"text": 2, "image": 1, "detect": 1})
    assert all(
        exact.rows(0, step, 64) == {"text": 32, "image": 16, "detect": 16} for step in range(20)
    )


def test_a_plan_is_a_function_of_seed_and_step():
    mixture = Mixture(PALI)
    plans = [mixture.rows(3, step, 48) for step in range(50)]
    assert plans == [Mixture(dict(PALI)).rows(3, step, 48) for step in range(50)]
    assert plans[7:] == [mixture.rows(3, step, 48) for step in range(7, 50)]
    assert plans != [mixture.rows(4, step, 48) for step in range(50)]
    assert len({tuple(rows.items()) for rows in plans}) > 10


def test_kinds_are_passes_whose_rows_divide():
    mixture = Mixture(PALI | {"off": 0}, {**KINDS, "none": ["off"]}, multiple=16)
    steps = [mixture.sub_batches(3, step, 64) for step in range(600)]
    for subs in steps:
        assert [sub.kind for sub in subs] == ["texts", "images"]
        assert sum(sub.total for sub in subs) == 64
        assert all(sub.total % 16 == 0 for sub in subs)
        assert list(subs[1].rows) == KINDS["images"]
    # 4.1 of 64 rows are of `span`: mostly none, now and then 16.
    units = Counter(subs[0].total for subs in steps)
    assert units.keys() == {0, 16} and 100 < units[16] < 210


def test_the_next_tasks_are_those_of_the_kind():
    mixture = Mixture(PALI, KINDS)
    assert mixture.after("caption") == ("vqa", "vqg", "objects", "detect", "split", "ocr")
    assert mixture.after("span") == ()
    assert Mixture({"a": 1, "b": 0, "c": 2}).after("c") == ("a",)
    assert Mixture({"a": 1, "b": 0}).tasks == ("a",)
    with pytest.raises(ValueError, match="no task 'b' is drawn; those are: a"):
        Mixture({"a": 1, "b": 0}).after("b")


@pytest.mark.parametrize("given,message", [
    (({"a": -1, "b": 2},), "zero \\(left out\\) or above.*found {'a': -1}"),
    (({"a": math.nan},), "found {'a': nan}"),
    (({"a": 0},), "and one is above; found {'a': 0}"),
    (({},), "found {}"),
    (({"a": 1, "b": 1}, {"x": ["a"]}), "its tasks are a, b, those of its kinds a"),
    (({"a": 1}, {"x": ["a"], "y": ["a"]}), "of one kind"),
    (({"a": 1}, {"x": ["a", "c"]}), "those of its kinds a, c"),
    (({"a": 1}, {}, 0), "`multiple` is 1 or more; found 0"),
])  # fmt: skip
def test_what_is_no_mixture_is_told(given, message):
    with pytest.raises(ValueError, match=message):
        Mixture(*given)


def test_rows_that_do_not_divide_are_told():
    with pytest.raises(ValueError, match="65 rows of a mixture are no multiple of 16"):
        Mixture({"a": 1}, {}, 16).rows(0, 0, 65)
