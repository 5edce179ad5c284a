"""What trained models can be asked, whatever the model."""

import inspect

import pytest

from septet.trainers.commands.models import MODELS, presets_of
from septet.trainers.task import Task


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_asked_alike(model):
    """One question needs no more than its name; beam search is what one asks for."""
    task, asked = presets_of(model)["debug"].task(), inspect.signature(Task.predict)
    assert inspect.signature(type(task).predict) == asked
    given = {n: p.default for n, p in asked.parameters.items() if p.default is not p.empty}
    assert given == {"beams": 1}
    if not task.abilities:
        with pytest.raises(NotImplementedError):
            task.predict(None, "vqa", [])
