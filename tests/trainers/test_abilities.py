"""What trained models can be asked, whatever the model."""

import inspect

import pytest

from septet.trainers.commands.models import MODELS, presets_of
from septet.trainers.task import Task

TASKS = {model: presets_of(model)["debug"].task() for model in MODELS}


@pytest.mark.parametrize("model", [model for model, task in TASKS.items() if task.abilities])
def test_every_model_is_asked_alike(model):
    """One question needs no more than its name; beam search is what one asks for."""
    asked = inspect.signature(Task.predict)
    assert inspect.signature(type(TASKS[model]).predict) == asked
    assert {n: p.default for n, p in asked.parameters.items() if p.default is not p.empty} == {
        "beams": 1
    }


def test_a_model_that_can_be_asked_nothing_says_so():
    (model, *_) = (model for model, task in TASKS.items() if not task.abilities)
    with pytest.raises(NotImplementedError):
        TASKS[model].predict(None, "vqa", [])
