"""A reader of published weights: safetensors, what `torch.save` wrote, or TorchScript archives.

Tensors are read and nothing in a file is run: a pickle may build tensors and plain values, and
objects of any other class become `Opaque`, which does nothing.
"""

import io
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import load_file
from torch import Tensor

from septet.preprocess import files

_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "module", "teacher")
"""The keys under which trainers keep weights: PyTorch's custom, Lightning, timm, DeepSpeed
(`module`) and DINO (`teacher`)."""

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""The prefixes that trainers put before every name: data parallelism, compilation, a module that
holds it."""

_INSIDE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""The parts that wrappers of single layers put into names; no layer is called so."""


class Opaque:
    """A stand-in for an object of a class that is not loaded: it keeps what it is given and does
    nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Ignore what is given."""

    def append(self, value: Any) -> None:
        """Ignore what is given."""

    extend = add = append

    def __hash__(self) -> int:
        return id(self)


_PLAIN = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
    ("torch.storage", "UntypedStorage"),
    ("torch.storage", "TypedStorage"),
}
"""Classes and functions that a pickle may call: they build tensors and nothing else."""


def _find(module: str, name: str) -> Any:
    if (module, name) in _PLAIN:
        return getattr(__import__(module, fromlist=[name]), name)
    found = getattr(torch, name, None) if module == "torch" else None
    if isinstance(found, torch.dtype) or (isinstance(found, type) and name.endswith("Storage")):
        return found
    return type(name, (Opaque,), {"__module__": module})


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _find(module, name)


_PICKLE = SimpleNamespace(
    Unpickler=_Unpickler,
    load=lambda file, **options: _Unpickler(file, **options).load(),
    __name__="inert",
)
"""The object that `torch.load` takes for the pickle module."""


class _ScriptUnpickler(_Unpickler):
    """A reader of a TorchScript archive's `data.pkl`; the archive's code is not looked at."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self._archive, self._root = archive, root

    def persistent_load(self, pid: Any) -> Any:
        kind, storage, key, _, count = pid
        dtype = getattr(storage, "dtype", None)
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown storage {pid!r}")
        data = bytearray(self._archive.read(f"{self._root}data/{key}"))
        whole = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        if len(whole) < count:
            raise pickle.UnpicklingError(f"storage {key} is cut")
        return torch.storage.TypedStorage(
            wrap_storage=whole.untyped_storage(), dtype=dtype, _internal=True
        )


def _script_state(value: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors of a scripted module by their names: a module's state is its attributes."""
    if isinstance(value, Opaque) and isinstance(value.state, Mapping):
        for name, inner in value.state.items():
            if isinstance(inner, Tensor):
                yield prefix + name, inner
            else:
                yield from _script_state(inner, f"{prefix}{name}.")


def read_state(path: str) -> dict[str, Tensor]:
    """Read weights by name, from a local or remote file; those of a local file are mapped, not
    read.

    What trainers wrap around them (`unwrap`) and what all names share (`plain_names`) is taken
    off.

    Raises:
        ValueError: there is no such file, or it holds no weights.
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
        return plain_names(state)
    data = b"" if local else files.read_bytes(path)

    def source() -> Any:
        return str(files.local_path(path)) if local else io.BytesIO(data)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Storages with types are old, as such files are.
            found = _read(source, local)
    except Exception as error:  # damaged bytes can end anywhere in the unpickler
        raise ValueError(f"{path} cannot be read as a file of weights: {error}") from error
    whole = unwrap(found, path)
    tensors = {str(name): x.detach() for name, x in whole.items() if isinstance(x, Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no weights by name")
    return plain_names(tensors)


def _read(source: Any, local: bool) -> Any:
    zipped = zipfile.is_zipfile(source())
    if zipped:
        with zipfile.ZipFile(source()) as archive:
            scripts = [n for n in archive.namelist() if n.endswith("/constants.pkl")]
            if scripts:
                root = scripts[0].removesuffix("constants.pkl")
                return dict(_script_state(_ScriptUnpickler(archive, root).load()))
    return torch.load(
        source(),
        map_location="cpu",
        pickle_module=_PICKLE,
        weights_only=False,
        mmap=True if local and zipped else None,
    )


def unwrap(found: Any, path: str) -> Mapping[Any, Any]:
    """What a file's content holds by name, without what trainers wrap around it (`_WRAPPERS`), or
    the parameters of a whole module that was saved.

    Raises:
        ValueError: nothing by name.
    """
    inner = found
    while isinstance(inner, Mapping):
        inner = next(
            (inner[w] for w in _WRAPPERS if isinstance(inner.get(w), Mapping | Opaque)), None
        )
        found = inner if inner is not None else found
    if isinstance(found, Opaque) and (state := dict(_module_state(found))):
        return state
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds no weights by name, but {type(found).__name__}")
    return found


def _module_state(module: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    state = module.state if isinstance(module, Opaque) and isinstance(module.state, dict) else {}
    for group in ("_parameters", "_buffers"):
        for name, x in (state.get(group) or {}).items():
            if isinstance(x, Tensor):
                yield prefix + name, x
    for name, child in (state.get("_modules") or {}).items():
        yield from _module_state(child, f"{prefix}{name}.")


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights without the prefixes that all their names share, in any order, and without what
    wrappers of single layers put into names."""
    found = dict(state)
    for part in _INSIDE:
        found = {name.replace(f".{part}", "."): x for name, x in found.items()}
    while shared := next((p for p in (*_PREFIXES, *_INSIDE) if found and all(
        name.startswith(p) for name in found)), None):  # fmt: skip
        found = {name.removeprefix(shared): x for name, x in found.items()}
    return found


def misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What keeps weights from being a module's, in one sentence; empty where they fit it.

    Args:
        own: The module's weights by name, on any device.
        state: The weights that it is to have.
    """
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        return f"missing {_few(missing)}; unknown {_few(unknown)}"
    shapes = [(name, list(state[name].shape), list(x.shape)) for name, x in own.items()]
    wrong = [f"{name} is {found}, expected {wanted}" for name, found, wanted in shapes
             if found != wanted]  # fmt: skip
    return _few(wrong) if wrong else ""


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return (", ".join(names[:4]) or "none") + more
