"""Whether weights fit a model: names and shapes, with the first five differences."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

SHOWN = 5
"""Differences that are named."""


class MisfitError(ValueError):
    """Weights that do not fit a model; has their names and shapes."""

    def __init__(self, message: str, found: Mapping[str, torch.Size]):
        super().__init__(message)
        self.found = found


def require_fit(
    path: Path | str,
    found: Mapping[str, Tensor],
    expected: Mapping[str, torch.Size],
    needed: Callable[[str], bool] = lambda name: True,
    hint: str = "",
    original: Mapping[str, Tensor] | None = None,
) -> None:
    """Compare weights with a model's.

    Args:
        path: The file, for the message.
        found: Under the model's names.
        expected: The model's names with their shapes.
        needed: Whether a name may not be missing.
        hint: More to say where they do not fit.
        original: The weights before they were resized for the model.

    Raises:
        MisfitError: they do not fit; names the first five differences.
    """
    wrong = [
        f"{name} is {list(x.shape)}, the model's {list(expected[name])}"
        for name, x in found.items()
        if name in expected and x.shape != expected[name]
    ]
    missing = [name for name in expected if name not in found and needed(name)]
    odd = sorted(found.keys() - expected.keys())
    differences = [*wrong, *(f"{n} is missing" for n in missing)]
    differences += [f"there is no place for {n}" for n in odd]
    if not found:
        differences = ["it holds no weights of this model"]
    if differences:
        more = len(differences) - SHOWN
        what = "; ".join(differences[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
        shapes = {name: x.shape for name, x in (original or found).items()}
        raise MisfitError(f"{path} does not fit: {what}{hint and '. ' + hint}", shapes)
