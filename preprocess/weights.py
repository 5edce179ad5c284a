"""Files of published weights: safetensors, what `torch.save` wrote, or TorchScript archives."""

import argparse
import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import load_file
from torch import Tensor

from septet.preprocess import files

_WRAPPERS = ("state_dict", "model", "model_state")
"""What trainers keep weights under."""


def read_state(path: str) -> dict[str, Tensor]:
    """Weights by name, from a local or remote file; those of a local file are mapped, not read.

    What trainers wrap around them is taken off (`unwrap`). Nothing but tensors, plain values and
    `argparse.Namespace` is unpickled.

    Raises:
        ValueError: there is no such file, it holds no weights, or objects of foreign classes.
    """
    if not files.exists(path):
        raise ValueError(f"no such file of weights: {path}")
    local = files.is_local(path)
    if path.endswith(".safetensors"):
        try:
            state = (
                load_file(files.local_path(path))
                if local
                else load_safetensors(files.read_bytes(path))
            )
        except Exception as error:  # safetensors raises a class of its own, without a common base
            raise ValueError(f"{path} is no safetensors file: {error}") from error
        return dict(state)
    data = b"" if local else files.read_bytes(path)

    def source() -> Any:
        return str(files.local_path(path)) if local else io.BytesIO(data)

    zipped = zipfile.is_zipfile(source())
    try:
        if zipped and _is_torchscript(source()):
            return dict(torch.jit.load(source(), map_location="cpu").state_dict())
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(
                source(),
                map_location="cpu",
                weights_only=True,
                mmap=True if local and zipped else None,
            )
    except Exception as error:  # damaged bytes can end anywhere in the unpickler
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if not (foreign and isinstance(error, pickle.UnpicklingError)):
            raise ValueError(f"{path} cannot be read as a file of weights: {error}") from error
        raise ValueError(
            f"{path} holds objects of {foreign[1]} besides weights, and unpickling those could run "
            "any code. Where you trust the file, save its tensors alone:\n"
            f'  found = torch.load({path!r}, weights_only=False, map_location="cpu")\n'
            '  torch.save(found["state_dict"], "weights.pt")  '
            "# or found.state_dict(), where a whole module was saved"
        ) from error
    state = {
        str(name): x.detach() for name, x in unwrap(found, path).items() if isinstance(x, Tensor)
    }
    if not state:
        raise ValueError(f"{path} holds no weights by name")
    return state


def unwrap(found: Any, path: str) -> Mapping[Any, Any]:
    """What a file's content holds by name, without what trainers wrap around it (`state_dict`,
    `model`, `model_state`).

    Raises:
        ValueError: nothing by name.
    """
    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds no weights by name, but {type(found).__name__}")
    return found


def _is_torchscript(source: Any) -> bool:
    with zipfile.ZipFile(source) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
