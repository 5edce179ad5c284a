"""M6's weights: no one published any, so under the module's own names; and a ResNet of
torchvision's for the model that has one in it."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from septet.trainers.m6.model import M6
from septet.trainers.m6.settings import M6Settings
from septet.trainers.weights.fit import MisfitError
from septet.trainers.weights.form import Form, Forms, State
from septet.trainers.weights.writing import write_with_config

_RESNET = "embedding.resnet."
_BY_WORD = ("embedding.words.weight", "bias")
"""What has a row for each word and image code."""


class _Own(Form[M6Settings]):
    """`model.safetensors`, with the model's settings in `config.json`."""

    name, written = "septet", True

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return "embedding.words.weight" in names

    def unused(self, name: str, s: M6Settings) -> bool:
        """A ResNet, for a model that reads features from a column."""
        return name.startswith(_RESNET) and not s.stages

    def to_ours(self, state: Mapping[str, Tensor], s: M6Settings) -> State:
        """See `Form`."""
        return dict(state)

    def write(self, state: Mapping[str, Tensor], s: M6Settings, folder: Path) -> list[Path]:
        """See `Form`."""
        config = {"model_type": "m6", **s.model_dump(mode="json")}
        return write_with_config(folder, config, state)


class _Resnet(Form[M6Settings]):
    """torchvision's ResNets, without their classifier."""

    name = "ResNet"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return "layer1.0.conv1.weight" in names

    def unused(self, name: str, s: M6Settings) -> bool:
        """See `Form`."""
        return name.startswith("fc.")

    def to_ours(self, state: Mapping[str, Tensor], s: M6Settings) -> State:
        """See `Form`."""
        if not s.stages:
            raise MisfitError(
                "this M6 has no ResNet: it reads features from a column; take preset online",
                {name: x.shape for name, x in state.items()},
            )
        return {f"{_RESNET}{name}": x for name, x in state.items()}


def _adapt(state: State, s: M6Settings) -> State:
    """In fp32; with rows for image codes, small ones at random, where a model without them comes
    to draw."""
    found = {n: x.float() if x.is_floating_point() else x for n, x in state.items()}
    for name in _BY_WORD:
        if s.codes and name in found and len(found[name]) == s.words:
            fresh = torch.zeros(s.codes, *found[name].shape[1:])
            if fresh.ndim > 1:
                fresh.normal_(0, s.initial_std, generator=torch.Generator().manual_seed(0))
            found[name] = torch.cat([found[name], fresh])
    return found


def _needed(name: str, found: Collection[str]) -> bool:
    """A ResNet alone, or the whole but for the ResNet, which may come from a file of its own."""
    if name.endswith("num_batches_tracked"):
        return False
    if all(other.startswith(_RESNET) for other in found):
        return name.startswith(_RESNET)
    return not name.startswith(_RESNET)


FORMS = Forms("M6", M6, (_Own(), _Resnet()), _needed, _adapt)
