"""The preset that weights which do not fit are nearest to."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from septet.trainers.settings.preset import Preset
from septet.trainers.weights.fit import MisfitError


@contextmanager
def told_nearest(presets: Mapping[str, Preset], chosen: str) -> Iterator[None]:
    """Adds to a `MisfitError` the preset that has the most weights of equal names and shapes."""
    try:
        yield
    except MisfitError as error:
        shares = {}
        for name, preset in presets.items():
            with torch.device("meta"):
                own = preset.task().build().state_dict()
            equal = sum(own[n].shape == shape for n, shape in error.found.items() if n in own)
            shares[name] = equal / max(len(own), len(error.found), 1)
        best = max(shares, key=lambda name: shares[name])
        if best == chosen or shares[best] <= shares[chosen]:
            raise
        raise MisfitError(
            f"{error}. The nearest preset is {best}, of which {shares[best]:.0%} of weights fit",
            error.found,
        ) from error
