"""PaLI's weights: of both halves in their public forms, and of the whole under its own names.

| form | names |
|---|---|
| mT5 | `transformers`' (`shared`, `encoder.block.0.layer.0.SelfAttention.q`, `lm_head`) |
| SigLIP | `transformers`' (`vision_model.encoder.layers.0.self_attn.q_proj`) |
| ViT | big_vision's, `.npz` (`Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel`) |
| own | the module's |
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from septet.preprocess.weights import read_state
from septet.trainers.nets.mt5 import from_mt5, mt5_config, to_mt5
from septet.trainers.pali.model import Pali
from septet.trainers.pali.settings import PaliSettings
from septet.trainers.pali.vit import resize_positions
from septet.trainers.pali.vit_weights import (
    from_big_vision,
    from_siglip,
    siglip_config,
    to_big_vision,
    to_siglip,
)
from septet.trainers.weights.fit import require_fit

State = dict[str, Tensor]

VISION, LANGUAGE = "vision.", "language."
_POSITIONS = f"{VISION}positions"


def names(s: PaliSettings) -> dict[str, torch.Size]:
    """The model's names with their shapes."""
    with torch.device("meta"):
        return {name: x.shape for name, x in Pali(s).state_dict().items()}


def read(path: Path, s: PaliSettings) -> State:
    """Weights of a file under the model's names: a half in a public form, or what `export` wrote.

    Raises:
        ValueError: the file is none of these, or of other sizes.
    """
    expected = names(s)
    try:
        found, whole = _read(path, expected)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    found = {name: x.float() for name, x in found.items()}
    original = dict(found)
    if _POSITIONS in found and found[_POSITIONS].ndim == 3:
        found[_POSITIONS] = resize_positions(found[_POSITIONS], s.vision.grid)
    require_fit(path, found, expected, lambda name: name.startswith(whole), original=original)
    return found


def _read(path: Path, expected: Iterable[str]) -> tuple[State, tuple[str, ...]]:
    """Weights, and with what the names begin that the file must have all of."""
    vision = [n.removeprefix(VISION) for n in expected if n.startswith(VISION)]
    language = [n.removeprefix(LANGUAGE) for n in expected if n.startswith(LANGUAGE)]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return _under(VISION, from_big_vision(dict(archive.items()), vision)), (VISION,)
    state = read_state(str(path))
    if "shared.weight" in state or "lm_head.weight" in state:
        return _under(LANGUAGE, from_mt5(state, language)), (LANGUAGE,)
    if any("embeddings.patch_embedding." in name for name in state):
        return _under(VISION, from_siglip(state, vision)), (VISION,)
    return state, tuple({name.split(".")[0] + "." for name in state})


def _under(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + name: x for name, x in state.items()}


def _half(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)}


def export(state: Mapping[str, Tensor], s: PaliSettings, folder: Path, form: str) -> list[Path]:
    """Write weights; the files that were written.

    `hf`: `language/` for `MT5ForConditionalGeneration` and `vision/` for `SiglipVisionModel`, each
    with its configuration, and `connector.safetensors`; `big_vision`: the vision half as
    `vision.npz`; `septet`: all under the model's names, as `pali.safetensors`.

    Raises:
        ValueError: another form.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: x.contiguous() for name, x in state.items()}
    if form == "big_vision":
        np.savez(folder / "vision.npz", **to_big_vision(_half(VISION, kept), s.vision))  # type: ignore[arg-type]
        return [folder / "vision.npz"]
    if form == "septet":
        save_file(kept, folder / "pali.safetensors", {"format": "pt"})
        return [folder / "pali.safetensors"]
    if form != "hf":
        raise ValueError(f"PaLI can be exported as hf, big_vision or septet; found {form!r}")
    written = []
    halves = {
        "language": (to_mt5(_half(LANGUAGE, kept)), mt5_config(s.language)),
        "vision": (to_siglip(_half(VISION, kept)), siglip_config(s.vision)),
    }
    for half, (weights, config) in halves.items():
        (folder / half).mkdir(exist_ok=True)
        config_path, path = folder / half / "config.json", folder / half / "model.safetensors"
        config_path.write_text(json.dumps(config, indent=2) + "\n")
        save_file(weights, path, {"format": "pt"})
        written += [config_path, path]
    connector = {n: x for n, x in kept.items() if n.startswith("connector.")}
    save_file(connector, folder / "connector.safetensors", {"format": "pt"})
    return [*written, folder / "connector.safetensors"]
