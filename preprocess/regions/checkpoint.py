"""A reader of checkpoints of Faster R-CNN C4 by detectron2's names, from its own files or Septet's.

| file | here |
|---|---|
| `.pkl` | detectron2's model zoo: {"model": {name: array}}, read as plain data |
| others | tensors by detectron2's names, as `septet.preprocess.weights` reads them |

| detectron2 | torchvision |
|---|---|
| `backbone.stem.conv1.weight`, `….norm.*` | `conv1.weight`, `bn1.*` |
| `backbone.res{s}.{b}.conv{k}.weight`, `….norm.*` | `layer{s-1}.{b}.conv{k}.weight`, `….bn{k}.*` |
| `backbone.res{s}.{b}.shortcut.weight`, `….norm.*` | `layer{s-1}.{b}.downsample.0.weight`, `.1.*` |
| `roi_heads.res5.{b}.…` | `layer4.{b}.…` |
| `proposal_generator.rpn_head.*`, `roi_heads.box_predictor.*` | (same parts of `network`) |
"""

import re

import numpy as np
import torch

from septet.preprocess import files, weights
from septet.preprocess.regions.unpickle import loads_plain

State = dict[str, torch.Tensor]

CELL_ANCHORS = "proposal_generator.anchor_generator.cell_anchors.0"
"""Checkpoints written before May 2021 hold their anchors here."""


def read_state(path: str) -> State:
    """Read a checkpoint's tensors by detectron2's names, on the CPU; half precision becomes
    float32.

    Raises:
        ValueError: no file, no form that is known, or a file that holds more than plain data.
    """
    if not path or not files.exists(path):
        raise ValueError(f"weights: no such file {path!r}; set it with --set weights=PATH")
    state = _model_zoo(path) if path.endswith(".pkl") else weights.read_state(path)
    return {
        name.removeprefix("module."): x.float() if x.is_floating_point() else x
        for name, x in state.items()
    }


def _model_zoo(path: str) -> State:
    try:
        found = loads_plain(files.read_bytes(path))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a file of weights: {error}") from error
    return {
        str(name): torch.from_numpy(np.ascontiguousarray(array))
        for name, array in weights.unwrap(found, path).items()
        if isinstance(array, np.ndarray) and array.dtype.kind in "fiu"
    }


def torchvision_name(name: str) -> str:
    """The name in torchvision's ResNet of a tensor that detectron2 calls `name`."""
    name = name.removeprefix("roi_heads.").removeprefix("backbone.")
    name = re.sub(r"^stem\.conv1\.norm\.", "bn1.", name)
    name = name.removeprefix("stem.")
    name = re.sub(r"^res(\d)\.", lambda match: f"layer{int(match[1]) - 1}.", name)
    name = re.sub(r"\.conv(\d)\.norm\.", r".bn\1.", name)
    name = name.replace(".shortcut.norm.", ".downsample.1.")
    return name.replace(".shortcut.", ".downsample.0.")


def split_state(state: State) -> tuple[State, State]:
    """Split a checkpoint's tensors into the ResNet's (by torchvision's names) and the rest."""
    resnet = {}
    rest = {}
    for name, tensor in state.items():
        if name.startswith(("backbone.", "roi_heads.res5.")):
            resnet[torchvision_name(name)] = tensor
        else:
            rest[name] = tensor
    # Files converted from Caffe2 have folded statistics: weight and bias of norms alone.
    for name in list(resnet):
        norm = re.fullmatch(r"(.*(?:bn\d|downsample\.1))\.weight", name)
        if norm and f"{norm[1]}.running_mean" not in resnet:
            resnet[f"{norm[1]}.running_mean"] = torch.zeros_like(resnet[name])
            resnet[f"{norm[1]}.running_var"] = torch.ones_like(resnet[name])
    return {n: t for n, t in resnet.items() if not n.endswith("num_batches_tracked")}, rest
