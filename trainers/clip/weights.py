"""CLIP's weights under the names of OpenAI, open_clip and Hugging Face.

OpenAI's and open_clip's names are this model's own.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

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
    """The reverse of `to_hugging_face`. Position id buffers of old files are left out."""
    out: dict[str, Tensor] = {}
    plain = {theirs: mine for mine, theirs in _PLAIN.items()}
    transposed = {theirs: mine for mine, theirs in _TRANSPOSED.items()}
    in_block = {theirs: mine for mine, theirs in _IN_BLOCK.items()}
    pattern = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
    for name, x in state.items():
        found = pattern.fullmatch(name)
        if name.endswith(".position_ids"):
            continue
        if name in plain:
            out[plain[name]] = x.reshape(1) if name == "logit_scale" else x
        elif name in transposed:
            out[transposed[name]] = x.T.contiguous()
        elif found:
            visual = "visual." if found[1] == "vision" else ""
            base = f"{visual}transformer.resblocks.{found[2]}."
            part, kind = found[3], found[4]
            if part == "self_attn.q_proj":
                others = [name.replace("q_proj", f"{letter}_proj") for letter in "kv"]
                out[f"{base}attn.in_proj_{kind}"] = torch.cat([x, *(state[n] for n in others)])
            elif part not in ("self_attn.k_proj", "self_attn.v_proj"):
                out[f"{base}{in_block[part]}.{kind}"] = x
        else:
            raise ValueError(f"{name} is no weight of Hugging Face's CLIPModel")
    return out
