"""The weights of `vit.Vit` under the names of others: `transformers`' SigLIP, and big_vision's
`.npz` files, both without what pools patches there and without a text tower.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from septet.trainers.pali.settings import VitSettings
from septet.trainers.pali.vit import CHANNELS, EPS

State = dict[str, Tensor]

POSITIONS = "positions"
_TOWER = "vision_model."
"""What SigLIP's names begin with, or not: transformers from 5 on leaves it out."""

_SIGLIP = [
    (r"patches\.", "vision_model.embeddings.patch_embedding."),
    (r"positions", "vision_model.embeddings.position_embedding.weight"),
    (r"norm\.", "vision_model.post_layernorm."),
    (r"blocks\.(\d+)\.norm([12])\.", r"vision_model.encoder.layers.\1.layer_norm\2."),
    (r"blocks\.(\d+)\.qkv\.", r"vision_model.encoder.layers.\1.self_attn.{}_proj."),
    (r"blocks\.(\d+)\.proj\.", r"vision_model.encoder.layers.\1.self_attn.out_proj."),
    (r"blocks\.(\d+)\.(fc[12])\.", r"vision_model.encoder.layers.\1.mlp.\2."),
]  # fmt: skip

_BIG_VISION = [
    (r"patches\.", "embedding/"),
    (r"positions", "pos_embedding"),
    (r"norm\.", "Transformer/encoder_norm/"),
    (r"blocks\.(\d+)\.norm1\.", r"Transformer/encoderblock_\1/LayerNorm_0/"),
    (r"blocks\.(\d+)\.norm2\.", r"Transformer/encoderblock_\1/LayerNorm_1/"),
    (r"blocks\.(\d+)\.qkv\.",
     r"Transformer/encoderblock_\1/MultiHeadDotProductAttention_0/{}/"),
    (r"blocks\.(\d+)\.proj\.", r"Transformer/encoderblock_\1/MultiHeadDotProductAttention_0/out/"),
    (r"blocks\.(\d+)\.fc1\.", r"Transformer/encoderblock_\1/MlpBlock_0/Dense_0/"),
    (r"blocks\.(\d+)\.fc2\.", r"Transformer/encoderblock_\1/MlpBlock_0/Dense_1/"),
]  # fmt: skip


def _renamed(name: str, table: Iterable[tuple[str, str]]) -> str:
    """A name of ours as a table has it."""
    for ours, theirs in table:
        found, count = re.subn(f"^{ours}", theirs, name)
        if count:
            return found
    raise AssertionError(f"{name} has no name of theirs")


def to_siglip(state: Mapping[str, Tensor]) -> State:
    """Weights under `transformers`' names."""
    out = {}
    for name, x in state.items():
        theirs = _renamed(name, _SIGLIP)
        if ".qkv." in name:
            for part, rows in zip("qkv", x.chunk(3), strict=True):
                out[theirs.format(part)] = rows.clone()
        else:
            out[theirs] = x[0] if name == POSITIONS else x
    return out


def from_siglip(state: Mapping[str, Tensor], ours: Iterable[str]) -> State:
    """Weights from `transformers`' names."""
    found = {n if n.startswith(_TOWER) else _TOWER + n: x for n, x in state.items()}
    out = {}
    for name in ours:
        theirs = _renamed(name, _SIGLIP)
        parts = [theirs.format(part) for part in "qkv"] if ".qkv." in name else [theirs]
        if all(part in found for part in parts):
            whole = torch.cat([found.pop(part) for part in parts])
            out[name] = whole[None] if name == POSITIONS else whole
    return out | found


def to_big_vision(state: Mapping[str, Tensor], s: VitSettings) -> dict[str, NDArray[np.float32]]:
    """Weights under big_vision's names, as its `.npz` files have them."""
    out = {}
    for name, x in state.items():
        theirs, value = _renamed(name, _BIG_VISION), x.float().numpy()
        if "norm" in name:
            theirs = theirs.replace("weight", "scale")
        elif name == "patches.weight":
            value = value.transpose(2, 3, 1, 0)
        elif name.endswith(".weight"):
            value = value.T
        theirs = theirs.replace("weight", "kernel")
        if ".qkv." in name:
            for part, columns in zip(
                ("query", "key", "value"), np.split(value, 3, -1), strict=True
            ):
                out[theirs.format(part)] = columns.reshape(*columns.shape[:-1], s.heads, -1)
        elif name.endswith(".proj.weight"):
            out[theirs] = value.reshape(s.heads, -1, s.width)
        else:
            out[theirs] = value
    return {n: np.ascontiguousarray(x) for n, x in out.items()}


def from_big_vision(state: Mapping[str, NDArray[Any]], ours: Iterable[str]) -> State:
    """Weights from big_vision's names; blocks one by one, or all in one array with the
    layers' axis first (its `scan`)."""
    (prefix,) = {
        n.removesuffix("embedding/kernel") for n in state if n.endswith("embedding/kernel")
    }
    found = {n.removeprefix(prefix): x for n, x in state.items()}
    for name in [n for n in found if "/encoderblock/" in n]:
        for layer, x in enumerate(found.pop(name)):
            found[name.replace("/encoderblock/", f"/encoderblock_{layer}/")] = x
    out = {}
    for name in ours:
        theirs = _renamed(name, _BIG_VISION)
        theirs = theirs.replace("weight", "scale" if "norm" in name else "kernel")
        parts = (
            [theirs.format(p) for p in ("query", "key", "value")] if ".qkv." in name else [theirs]
        )
        if not all(part in found for part in parts):
            continue
        values = [np.asarray(found.pop(part), np.float32) for part in parts]
        if ".qkv." in name:  # [W, heads, head width] each, or without W
            values = [v.reshape(*v.shape[:-2], -1) for v in values]
        elif name.endswith(".proj.weight"):
            values = [v.reshape(-1, v.shape[-1]) for v in values]
        value = np.concatenate(values, -1) if len(values) > 1 else values[0]
        if name == "patches.weight":
            value = value.transpose(3, 2, 0, 1)
        elif name.endswith(".weight") and "norm" not in name:
            value = value.T
        out[name] = torch.from_numpy(np.ascontiguousarray(value))
    return out | {n: torch.from_numpy(np.asarray(x, np.float32)) for n, x in found.items()}


def siglip_config(s: VitSettings) -> dict[str, Any]:
    """The content of `config.json` for `SiglipVisionModel`."""
    return {
        "architectures": ["SiglipVisionModel"],
        "model_type": "siglip_vision_model",
        "hidden_size": s.width,
        "intermediate_size": s.inner,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "num_channels": CHANNELS,
        "image_size": s.image_size,
        "patch_size": s.patch,
        "layer_norm_eps": EPS,
        "hidden_act": "gelu_pytorch_tanh",
        "vision_use_head": False,
    }
