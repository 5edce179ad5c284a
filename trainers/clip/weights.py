"""CLIP's weights under the names of OpenAI, open_clip and Hugging Face.

OpenAI's and open_clip's names are this model's own.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from septet.preprocess.annotators.transformers_clip import renamed
from septet.preprocess.tokenizers.clip import END, START
from septet.trainers.clip.model import HEAD_WIDTH, Clip, ClipSettings
from septet.trainers.weights.form import Form, Forms
from septet.trainers.weights.positions import resize_grid
from septet.trainers.weights.writing import write_with_config

_PLAIN = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # spelt so there
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def to_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """This model's state under `transformers.CLIPModel`'s names and shapes.

    Raises:
        ValueError: a ResNet's weights, for which Hugging Face has no model.
    """
    out: dict[str, Tensor] = {}
    for name, x in state.items():
        block = _BLOCK.fullmatch(name)
        if name in _PLAIN:
            out[_PLAIN[name]] = x.reshape(()) if name == "logit_scale" else x
        elif name in _TRANSPOSED:
            out[_TRANSPOSED[name]] = x.T.contiguous()
        elif block:
            tower = "vision_model" if block[1] else "text_model"
            base = f"{tower}.encoder.layers.{block[2]}."
            part, _, kind = block[3].rpartition(".")
            if block[3].startswith("attn.in_proj_"):
                kind = block[3].removeprefix("attn.in_proj_")
                for letter, third in zip("qkv", x.chunk(3), strict=True):
                    out[f"{base}self_attn.{letter}_proj.{kind}"] = third.contiguous()
            else:
                out[f"{base}{_IN_BLOCK[part]}.{kind}"] = x
        else:
            raise ValueError(
                f"Hugging Face's CLIP has no place for {name}: it has no ResNet towers; export in "
                "open_clip's form"
            )
    return out


def from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `to_hugging_face`: this model has open_clip's names, and a temperature of one
    dimension.

    Raises:
        ValueError: a name is none of CLIP's.
    """
    return {
        name: x.reshape(1) if name == "logit_scale" else x for name, x in renamed(state).items()
    }


def from_openai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenAI's or open_clip's state under this model's names, in fp32.

    The prefix of open_clip's separate text tower ("text.") is taken off, and the temperature gets
    its one dimension.
    """
    out: dict[str, Tensor] = {}
    for name, x in state.items():
        mine = name.removeprefix("text.")
        whole = x.float() if x.is_floating_point() else x
        out[mine] = whole.reshape(1) if mine == "logit_scale" else whole
    return out


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """This model's state as open_clip's `CLIP` loads it."""
    return {name: x.reshape(()) if name == "logit_scale" else x for name, x in state.items()}


def sizes(state: Mapping[str, Tensor], activation: str = "quick_gelu") -> ClipSettings:
    """The sizes of a model, from the shapes of its weights.

    Args:
        state: Under this model's names.
        activation: Not to be seen from shapes; OpenAI's is quick_gelu.
    """

    def count(prefix: str) -> int:
        parts = {n.removeprefix(prefix).split(".")[0] for n in state if n.startswith(prefix)}
        return len(parts)

    conv = state["visual.conv1.weight"]
    text = {
        "text_width": state["ln_final.weight"].shape[0],
        "text_layers": count("transformer.resblocks."),
        "context": state["positional_embedding"].shape[0],
        "vocabulary": state["token_embedding.weight"].shape[0],
        "embed": state["text_projection"].shape[1],
        "activation": activation,
    }
    if "visual.proj" in state:
        grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
        image = {
            "patch": conv.shape[-1],
            "width": conv.shape[0],
            "layers": count("visual.transformer.resblocks."),
            "image_size": grid * conv.shape[-1],
        }
    else:
        grid = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
        image = {
            "width": 2 * conv.shape[0],
            "layers": [count(f"visual.layer{stage}.") for stage in range(1, 5)],
            "image_size": grid * 32,
        }
    return ClipSettings.model_validate({**image, **text})


def resize_positions(state: Mapping[str, Tensor], s: ClipSettings) -> dict[str, Tensor]:
    """A ViT's state for the model's resolution: the grid of image positions is interpolated with
    antialiasing (open_clip's `resize_pos_embed`); the class token's stays."""
    name = "visual.positional_embedding"
    if s.patch is None or name not in state:
        return dict(state)
    first, rest = state[name][:1], state[name][1:]
    return {**state, name: torch.cat([first, resize_grid(rest, s.grid, antialias=True)])}


_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size", "attn_mask"}


class _HuggingFace(Form[ClipSettings]):
    """`transformers.CLIPModel`'s names; with `config.json`, for its `from_pretrained`."""

    name, written = "hf", True

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return any(name.startswith("text_model.") for name in names)

    def unused(self, name: str, s: ClipSettings) -> bool:
        """Position numbers, which old files hold."""
        return name.endswith(".position_ids")

    def to_ours(self, state: Mapping[str, Tensor], s: ClipSettings) -> dict[str, Tensor]:
        """See `Form`."""
        return from_hugging_face(state)

    def write(self, state: Mapping[str, Tensor], s: ClipSettings, folder: Path) -> list[Path]:
        """See `Form`; refuses ResNets."""
        return write_with_config(folder, _hugging_face_config(s), to_hugging_face(state))


class _OpenClip(Form[ClipSettings]):
    """open_clip's names, which are OpenAI's and this model's; with `open_clip_config.json`."""

    name, written = "open_clip", True

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return "visual.conv1.weight" in names

    def unused(self, name: str, s: ClipSettings) -> bool:
        """Entries of OpenAI's archives and open_clip's older files that are no parameters."""
        return name.removeprefix("text.") in _NOT_WEIGHTS

    def to_ours(self, state: Mapping[str, Tensor], s: ClipSettings) -> dict[str, Tensor]:
        """See `Form`."""
        return from_openai(state)

    def write(self, state: Mapping[str, Tensor], s: ClipSettings, folder: Path) -> list[Path]:
        """See `Form`."""
        config = {"model_cfg": _open_clip_config(s)}
        return write_with_config(folder, config, to_open_clip(state), "open_clip_")


def _open_clip_config(s: ClipSettings) -> dict[str, Any]:
    vision: dict[str, Any] = {
        "image_size": s.image_size,
        "layers": s.layers,
        "width": s.width,
    }
    if s.patch:
        vision |= {"patch_size": s.patch, "head_width": s.head_width}
        if s.inner:
            vision["mlp_ratio"] = s.inner / s.width
    text = {
        "context_length": s.context,
        "vocab_size": s.vocabulary,
        "width": s.text_width,
        "heads": s.text_width // HEAD_WIDTH,
        "layers": s.text_layers,
    }
    quick = s.activation == "quick_gelu"
    return {"embed_dim": s.embed, "quick_gelu": quick, "vision_cfg": vision, "text_cfg": text}


def _hugging_face_config(s: ClipSettings) -> dict[str, Any]:
    common = {"hidden_act": s.activation, "projection_dim": s.embed}
    tower: dict[str, dict[str, Any]] = {
        kind: {
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": width // head,
            **common,
        }
        for kind, width, layers, head, inner in (
            ("vision", s.width, s.layers, s.head_width, s.inner or 4 * s.width),
            ("text", s.text_width, s.text_layers, HEAD_WIDTH, 4 * s.text_width),
        )
    }
    tower["vision"] |= {"image_size": s.image_size, "patch_size": s.patch}
    tower["text"] |= {
        "vocab_size": s.vocabulary,
        "max_position_embeddings": s.context,
        "bos_token_id": START,
        "eos_token_id": END,
    }
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": s.embed,
        "vision_config": tower["vision"],
        "text_config": tower["text"],
    }


FORMS = Forms("CLIP", Clip, (_HuggingFace(), _OpenClip()), adapt=resize_positions)
