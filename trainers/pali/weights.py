"""PaLI's weights: of both halves in their public forms, and of the whole under its own names.

| form | names |
|---|---|
| mT5 | `transformers`' (`shared`, `encoder.block.0.layer.0.SelfAttention.q`, `lm_head`) |
| SigLIP | `transformers`' (`vision_model.encoder.layers.0.self_attn.q_proj`) |
| ViT | big_vision's, `.npz` (`Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel`) |
| own | the module's |
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from septet.preprocess.weights import read_state
from septet.trainers.nets.mt5 import from_mt5, mt5_config, to_mt5
from septet.trainers.nets.t5 import T5
from septet.trainers.pali.model import Pali
from septet.trainers.pali.settings import PaliSettings
from septet.trainers.pali.vit import Vit, resize_positions
from septet.trainers.pali.vit_weights import (
    from_big_vision,
    from_siglip,
    siglip_config,
    to_big_vision,
    to_siglip,
)
from septet.trainers.standard_json import to_json
from septet.trainers.weights.form import Form, Forms, State

VISION, LANGUAGE = "vision.", "language."
_POSITIONS = f"{VISION}positions"


class _Mt5(Form[PaliSettings]):
    """The language half; the names of its words in a stack are aliases."""

    name = "mt5"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return "shared.weight" in names or "lm_head.weight" in names

    def unused(self, name: str, s: PaliSettings) -> bool:
        """See `Form`."""
        return name.endswith(".embed_tokens.weight")

    def to_ours(self, state: Mapping[str, torch.Tensor], s: PaliSettings) -> State:
        """See `Form`."""
        with torch.device("meta"):
            ours = T5(s.language).state_dict()
        return _under(LANGUAGE, from_mt5(state, ours))


class _Siglip(Form[PaliSettings]):
    """The vision half; SigLIP's text tower and head are left out."""

    name = "siglip"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return any("embeddings.patch_embedding." in name for name in names)

    def unused(self, name: str, s: PaliSettings) -> bool:
        """See `Form`."""
        return name.startswith(("text_model.", "logit_", "vision_model.head.", "head."))

    def to_ours(self, state: Mapping[str, torch.Tensor], s: PaliSettings) -> State:
        """See `Form`."""
        return _under(VISION, from_siglip(state, _of_vit(s)))


class _BigVision(Form[PaliSettings]):
    """The vision half in an `.npz` file; its pooling, head and text tower are left out."""

    name = "big_vision"
    written = True

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return any(name.endswith("embedding/kernel") for name in names)

    def unused(self, name: str, s: PaliSettings) -> bool:
        """See `Form`."""
        parts = name.split("/")
        return ("img" not in parts and parts[0] == "params") or any(
            part in ("MAPHead_0", "head", "txt") for part in parts
        )

    def to_ours(self, state: Mapping[str, torch.Tensor], s: PaliSettings) -> State:
        """See `Form`."""
        return _under(VISION, from_big_vision({n: x.numpy() for n, x in state.items()}, _of_vit(s)))

    def write(self, state: Mapping[str, torch.Tensor], s: PaliSettings, folder: Path) -> list[Path]:
        """`vision.npz`."""
        named = to_big_vision(_half(VISION, state), s.vision)
        np.savez(folder / "vision.npz", **named)  # type: ignore[arg-type]
        return [folder / "vision.npz"]

    def notes(self, s: PaliSettings) -> list[str]:
        """See `Form`."""
        return ["big_vision's form holds the vision half alone"]


class _HuggingFace(Form[PaliSettings]):
    """Both halves as `transformers` loads each; read by the forms above and below."""

    name = "hf"
    written = True

    def recognises(self, names: Collection[str]) -> bool:
        """Never: each of its files is of another form."""
        return False

    def to_ours(self, state: Mapping[str, torch.Tensor], s: PaliSettings) -> State:
        """See `Form`."""
        raise NotImplementedError

    def write(self, state: Mapping[str, torch.Tensor], s: PaliSettings, folder: Path) -> list[Path]:
        """`language/` for `MT5ForConditionalGeneration`, `vision/` for `SiglipVisionModel`, each
        with its configuration, and `connector.safetensors`."""
        written = []
        halves = {
            "language": (to_mt5(_half(LANGUAGE, state)), mt5_config(s.language)),
            "vision": (to_siglip(_half(VISION, state)), siglip_config(s.vision)),
        }
        for half, (weights, config) in halves.items():
            (folder / half).mkdir(exist_ok=True)
            config_path, path = folder / half / "config.json", folder / half / "model.safetensors"
            config_path.write_text(to_json(config, indent=2) + "\n", encoding="utf-8")
            _save(weights, path)
            written += [config_path, path]
        connector = folder / "connector.safetensors"
        _save({n: x for n, x in state.items() if n.startswith("connector.")}, connector)
        return [*written, connector]

    def notes(self, s: PaliSettings) -> list[str]:
        """See `Form`."""
        return [
            "transformers from 5 on ties mT5's head to its table of words when it loads: give the "
            "model a head of its own, then load `lm_head.weight`"
        ]


class _Own(Form[PaliSettings]):
    """The module's names: the whole, or a part."""

    name = "septet"
    written = True

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return any(name.startswith((VISION, LANGUAGE, "connector.")) for name in names)

    def to_ours(self, state: Mapping[str, torch.Tensor], s: PaliSettings) -> State:
        """See `Form`."""
        return dict(state)

    def write(self, state: Mapping[str, torch.Tensor], s: PaliSettings, folder: Path) -> list[Path]:
        """`pali.safetensors`."""
        _save(state, folder / "pali.safetensors")
        return [folder / "pali.safetensors"]


def _load(path: str) -> State:
    """A file's weights, `.npz` files among them."""
    if not path.endswith(".npz"):
        return read_state(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {n: torch.from_numpy(np.asarray(x, np.float32)) for n, x in archive.items()}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a file of weights: {error}") from error


def _adapt(state: State, s: PaliSettings) -> State:
    """In fp32, with positions of the model's resolution."""
    found = {name: x.float() for name, x in state.items()}
    if _POSITIONS in found and found[_POSITIONS].ndim == 3:
        found[_POSITIONS] = resize_positions(found[_POSITIONS], s.vision.grid)
    return found


def _needed(name: str, found: Collection[str]) -> bool:
    """A file has all of a part of which it has some."""
    return any(each.split(".")[0] == name.split(".")[0] for each in found)


def _of_vit(s: PaliSettings) -> list[str]:
    with torch.device("meta"):
        return list(Vit(s.vision).state_dict())


def _under(prefix: str, state: Mapping[str, torch.Tensor]) -> State:
    return {prefix + name: x for name, x in state.items()}


def _half(prefix: str, state: Mapping[str, torch.Tensor]) -> State:
    return {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)}


def _save(state: Mapping[str, torch.Tensor], path: Path) -> None:
    save_file({name: x.contiguous() for name, x in state.items()}, path, {"format": "pt"})


FORMS = Forms(
    "PaLI",
    Pali,
    (_Mt5(), _Siglip(), _BigVision(), _HuggingFace(), _Own()),
    needed=_needed,
    adapt=_adapt,
    load=_load,
)
