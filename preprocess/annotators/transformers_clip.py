"""CLIP models as `transformers` saves them (`CLIPModel`), as models of open_clip: their
configuration and their weights under its names."""

import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from septet.preprocess import files

CONFIG = "config.json"
_VOCABULARY = 49_408
_SIDES = {"vision_model": "visual.", "text_model": ""}
_NAMES = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm": "ln_pre",
    "post_layernorm": "ln_post",
    "final_layer_norm": "ln_final",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
_UNKNOWN = "is no name of CLIP's: no weight of Hugging Face's CLIPModel"
_PROJECTIONS = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}


def model_config(folder: str) -> dict[str, Any] | None:
    """What `open_clip.CLIP` is made with, of a folder of `transformers`; None where it is none.

    Raises:
        ValueError: it holds another model than CLIP, or one of another vocabulary.
    """
    where = files.join(folder, CONFIG)
    if not files.exists(where):
        return None
    try:
        told = json.loads(files.read_bytes(where))
        vision, text = told["vision_config"], told["text_config"]
        if told["model_type"] != "clip":
            raise ValueError(f"it is a {told['model_type']}")
        vocabulary = text.get("vocab_size", _VOCABULARY)
        if vocabulary != _VOCABULARY:
            raise ValueError(f"a vocabulary of {vocabulary:,}, CLIP's has {_VOCABULARY:,}")
        width, words = vision.get("hidden_size", 768), text.get("hidden_size", 512)
        return {
            "embed_dim": told.get("projection_dim", 512),
            "quick_gelu": vision.get("hidden_act", "quick_gelu") == "quick_gelu",
            "vision_cfg": {
                "image_size": vision.get("image_size", 224),
                "patch_size": vision.get("patch_size", 32),
                "layers": vision.get("num_hidden_layers", 12),
                "width": width,
                "head_width": width // vision.get("num_attention_heads", 12),
                "mlp_ratio": vision.get("intermediate_size", 3072) / width,
            },
            "text_cfg": {
                "context_length": text.get("max_position_embeddings", 77),
                "vocab_size": vocabulary,
                "layers": text.get("num_hidden_layers", 12),
                "width": words,
                "heads": text.get("num_attention_heads", 8),
                "mlp_ratio": text.get("intermediate_size", 2048) / words,
            },
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} describes no CLIP of transformers: {error}") from error


def preprocessing(folder: str) -> dict[str, Any]:
    """How such a model wants its images: what open_clip's `PreprocessCfg` is made with. Mean and
    deviation are OpenAI's where no `preprocessor_config.json` tells them.

    Raises:
        ValueError: the file is no JSON object.
    """
    side = json.loads(files.read_bytes(files.join(folder, CONFIG)))["vision_config"]
    found: dict[str, Any] = {"size": side.get("image_size", 224)}
    where = files.join(folder, "preprocessor_config.json")
    if files.exists(where):
        told = json.loads(files.read_bytes(where))
        names = {"mean": "image_mean", "std": "image_std"}
        found |= {name: tuple(told[key]) for name, key in names.items() if key in told}
    return found


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under open_clip's names.

    Raises:
        ValueError: a name is none of CLIP's.
    """
    found: dict[str, Tensor] = {}
    inner: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        side, _, rest = name.partition(".")
        if name == "logit_scale":
            found[name] = tensor
        elif name in _PROJECTIONS:
            found[_PROJECTIONS[name]] = tensor.T.contiguous()
        elif side in _SIDES and not rest.endswith("position_ids"):
            layer = _LAYER.match(rest)
            start = f"transformer.resblocks.{layer[1]}." if layer else ""
            rest = rest[layer.end() :] if layer else rest
            if split := re.fullmatch(r"self_attn\.([qkv])_proj\.(weight|bias)", rest):
                whole = f"{_SIDES[side]}{start}attn.in_proj_{split[2]}"
                inner.setdefault(whole, {})[split[1]] = tensor
                continue
            known = next((one for one in _NAMES if rest == one or rest.startswith(f"{one}.")), None)
            if known is None:
                raise ValueError(f"{name} {_UNKNOWN}")
            found[_SIDES[side] + start + _NAMES[known] + rest.removeprefix(known)] = tensor
        elif not rest.endswith("position_ids"):
            raise ValueError(f"{name} {_UNKNOWN}")
    for name, parts in inner.items():
        found[name] = torch.cat([parts[one] for one in "qkv"])
    return found
