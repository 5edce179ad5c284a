"""The models that commands know, by name. Nothing of a model is imported before it is asked for."""

import importlib
from typing import TYPE_CHECKING

from septet.trainers.memory import collecting_nothing

if TYPE_CHECKING:
    from septet.trainers.settings.preset import Preset

MODELS = {
    "clip": "septet.trainers.clip.presets",
    "flava": "septet.trainers.flava.presets",
    "ernie_vil": "septet.trainers.ernie_vil.presets",
    "beit3": "septet.trainers.beit3.presets",
    "ofa": "septet.trainers.ofa.presets",
    "pali": "septet.trainers.pali.presets",
    "m6": "septet.trainers.m6.presets",
}
"""Each model's presets."""


def presets_of(model: str) -> "dict[str, Preset]":
    """A model's presets by name.

    Raises:
        ValueError: there is no such model, or what training needs is not installed.
    """
    if model not in MODELS:
        raise ValueError(f"there is no model {model!r}; there are: {', '.join(MODELS)}")
    try:
        with collecting_nothing():
            presets: dict[str, Preset] = importlib.import_module(MODELS[model]).PRESETS
    except ImportError as error:
        name = (error.name or "").partition(".")[0]
        if name == "septet":
            raise
        raise ValueError(
            f"training needs {name or error}, which is not installed: pip install 'septet[train]'"
        ) from error
    return presets
