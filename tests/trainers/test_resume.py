"""What a run must share with the one that it resumes, in words."""

import pytest

from septet.trainers.engine.resume import differences

THEN = {
    "model": {"text": {"width": 64, "layers": 2}, "image": {"width": 64}},
    "corpora": {"pairs": ["a"]},
    "order": {"pairs": "1"},
    "train": {"seed": 0, "steps": 8},
    "world": {"ranks": 1},
}


@pytest.mark.parametrize(("changes", "refused", "told"), [
    ({}, [], []),
    ({"model": {"text": {"width": 32, "layers": 2}, "image": {"width": 64}}},
     ["model.text.width was 64, now is 32"], []),
    ({"model": {"text": {"width": 64, "layers": 2}, "image": {"width": 64, "patch": 8}}},
     ["model.image.patch was absent, now is 8"], []),
    ({"model": None},
     ["model was absent, now is None", "model.image.width was 64, now is absent",
      "model.text.layers was 2, now is absent", "model.text.width was 64, now is absent"], []),
    ({"train": {"seed": 1, "steps": 9}}, ["train.seed was 0, now is 1"],
     ["train.steps was 8, now is 9"]),
    ({"world": {"ranks": 2}}, [], ["world.ranks was 1, now is 2"]),
    ({"corpora": {"pairs": ["b"]}, "order": {"pairs": "2"}},
     ["corpora.pairs was ['a'], now is ['b']"], []),
    ({"order": {"pairs": "2"}},
     ["the samples of pairs come in another order: the version of septet or of numpy that began "
      "the run drew them otherwise"], []),
])  # fmt: skip
def test_what_differs_has_its_whole_name(changes, refused, told):
    assert differences(THEN, {**THEN, **changes}) == (refused, told)


def test_of_parameters_of_other_shapes_the_first_four_are_named():
    then, now = ({"parameters": {f"p{i}": [i, n] for i in range(9)}} for n in (2, 3))
    refused, told = differences(then, now)
    assert refused == [f"parameters.p{i} was [{i}, 2], now is [{i}, 3]" for i in range(4)]
    assert told == []
