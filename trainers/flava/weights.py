"""FLAVA's weights under the names of others: Hugging Face and torchmultimodal for the whole, and
for the encoders that FLAVA starts from (paper, section 3.4) those of Vision Transformers (DINO,
timm, Hugging Face) and of pre-norm masked language models.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from septet.preprocess.weights import read_state
from septet.trainers.flava.model import Flava
from septet.trainers.flava.settings import EncoderSettings, FlavaSettings
from septet.trainers.weights.fit import SHOWN, MisfitError, require_fit

Form = Literal["hf", "torchmultimodal"]

_STEMS: dict[str, tuple[str, str]] = {
    "image.cls_token": ("flava.image_model.embeddings.cls_token",) * 2,
    "image.mask_token": ("flava.image_model.embeddings.mask_token",) * 2,
    "image.positions": ("flava.image_model.embeddings.position_embeddings",) * 2,
    "image.patches": ("flava.image_model.embeddings.patch_embeddings.projection",) * 2,
    "text.word": ("flava.text_model.embeddings.word_embeddings",) * 2,
    "text.position": ("flava.text_model.embeddings.position_embeddings",) * 2,
    "text.segment": ("flava.text_model.embeddings.token_type_embeddings",) * 2,
    "text.norm0": (
        "flava.text_model.embeddings.LayerNorm",
        "flava.text_model.embeddings.layer_norm",
    ),
    "fusion.cls_token": ("flava.multimodal_model.cls_token",) * 2,
    "image_projection": ("flava.image_projection",) * 2,
    "text_projection": ("flava.text_projection",) * 2,
    "image_to_fusion": ("flava.image_to_mm_projection",) * 2,
    "text_to_fusion": ("flava.text_to_mm_projection",) * 2,
    "logit_scale": ("flava.logit_scale", "loss.contrastive_loss.logit_scale"),
    "itm_head.dense": ("itm_head.pooler.dense", "loss.itm_loss.pooler.dense"),
    "itm_head.decoder": ("itm_head.seq_relationship", "loss.itm_loss.cls.seq_relationship"),
}
for _ours, _hf, _tmm in (
    ("mim_head", "mim_head", "loss.mim_loss.cls"),
    ("mlm_head", "mlm_head", "loss.mlm_loss.cls"),
    ("mmm_image_head", "mmm_image_head", "loss.mmm_loss.mim.cls"),
    ("mmm_text_head", "mmm_text_head", "loss.mmm_loss.mlm.cls"),
):
    _STEMS[f"{_ours}.dense"] = (f"{_hf}.transform.dense", f"{_tmm}.dense")
    _STEMS[f"{_ours}.norm"] = (f"{_hf}.transform.LayerNorm", f"{_tmm}.layer_norm")
    _STEMS[f"{_ours}.decoder"] = (f"{_hf}.decoder", f"{_tmm}.decoder")

_TOWERS = {"image": "image_model", "text": "text_model", "fusion": "multimodal_model"}
for _ours, _hf in _TOWERS.items():
    _STEMS[f"{_ours}.norm"] = (f"flava.{_hf}.layernorm",) * 2
    _STEMS[f"{_ours}.pooler"] = (f"flava.{_hf}.pooler.dense",) * 2

_IN_BLOCK: dict[str, tuple[str, str]] = {
    "norm1": ("layernorm_before", "attention_layernorm"),
    "norm2": ("layernorm_after", "feedforward_layernorm"),
    "attn.qkv": ("attention.attention.{}", "attention.{}"),
    "attn.proj": ("attention.output.dense", "attention.output"),
    "fc1": ("intermediate.dense", "feedforward.model.0"),
    "fc2": ("output.dense", "feedforward.model.2"),
}
_BLOCK = re.compile(r"(image|text|fusion)\.blocks\.(\d+)\.(.+)\.(weight|bias)")

_NO_WEIGHT = re.compile(r"^image_codebook\.|\.(position|token_type)_ids$")

_MODULES_OF_TORCHMULTIMODAL = {
    "model.image_encoder.": "flava.image_model.",
    "model.text_encoder.": "flava.text_model.",
    "model.mm_encoder.": "flava.multimodal_model.",
    "loss.contrastive_loss.image_projection.": "flava.image_projection.",  # older releases
    "loss.contrastive_loss.text_projection.": "flava.text_projection.",
    "model.": "flava.",
}


def _theirs(name: str, form: Form) -> list[str]:
    """Another form's name of one of the model's weights; three for stacked ones."""
    which = 0 if form == "hf" else 1
    block = _BLOCK.fullmatch(name)
    if block:
        part = _IN_BLOCK[block[3]][which]
        base = f"flava.{_TOWERS[block[1]]}.encoder.layer.{block[2]}.{part}.{block[4]}"
        return [base.format(x) for x in ("query", "key", "value")] if "{" in part else [base]
    stem = name if name in _STEMS else name.rpartition(".")[0]
    return [_STEMS[stem][which] + name.removeprefix(stem)]


def names(s: FlavaSettings) -> dict[str, torch.Size]:
    """The model's own names with their shapes."""
    with torch.device("meta"):
        return {name: x.shape for name, x in Flava(s).state_dict().items()}


def to_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's state as `transformers.FlavaForPreTraining` holds it, without the codebook."""
    out: dict[str, Tensor] = {}
    for name, x in state.items():
        theirs = _theirs(name, "hf")
        parts = x.chunk(3) if len(theirs) == 3 else [x.reshape(()) if name == "logit_scale" else x]
        out |= {t: part.contiguous() for t, part in zip(theirs, parts, strict=True)}
        if name.endswith("_head.decoder.bias") and not name.startswith("itm"):
            out[theirs[0].replace("decoder.bias", "bias")] = out[theirs[0]].clone()  # tied there
    return out


def _from(state: Mapping[str, Tensor], s: FlavaSettings, form: Form) -> dict[str, Tensor]:
    """What of the model's weights `state` has, under its own names.

    Raises:
        ValueError: it has others besides, or some of the three parts of a stacked weight.
    """
    left, out = set(state), dict[str, Tensor]()
    for name in names(s):
        theirs = _theirs(name, form)
        found = [state[t] for t in theirs if t in state]
        left -= set(theirs)
        if len(found) == len(theirs):
            whole = torch.cat(found) if len(found) == 3 else found[0]
            out[name] = whole.reshape(1) if name == "logit_scale" else whole
    tied = {n for n in left if n.endswith(".bias") and n[:-4] + "decoder.bias" in state}
    odd = sorted(n for n in left - tied if not _NO_WEIGHT.search(n))
    if odd:
        shapes = {name: x.shape for name, x in out.items()}
        raise MisfitError(
            f"{len(odd)} of its weights have no place in a FLAVA of these sizes, for example "
            f"{', '.join(odd[:SHOWN])}: give the model its sizes",
            shapes,
        )
    return out


def from_hugging_face(state: Mapping[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
    """Weights of `FlavaForPreTraining`, `FlavaModel`, `FlavaTextModel` or `FlavaImageModel`; the
    codebook is left out, the task reads it for itself."""
    if any(name.startswith(("image_model.", "text_model.")) for name in state):
        state = {f"flava.{name}": x for name, x in state.items()}
    elif "embeddings.word_embeddings.weight" in state:
        state = {f"flava.text_model.{name}": x for name, x in state.items()}
    elif "embeddings.patch_embeddings.projection.weight" in state:
        state = {f"flava.image_model.{name}": x for name, x in state.items()}
    return _from(state, s, "hf")


def from_torchmultimodal(state: Mapping[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
    """Weights of torchmultimodal's `FLAVAForPreTraining` or `FLAVAModel`."""
    if "image_encoder.embeddings.cls_token" in state:
        state = {f"model.{name}": x for name, x in state.items()}
    renamed = {}
    for name, x in state.items():
        if name.startswith("image_codebook."):
            continue
        new = name.replace("embeddings.LayerNorm.", "embeddings.layer_norm.")
        new = new.replace(
            ".feedforward.model.3.", ".feedforward.model.2."
        )  # where there is dropout
        for theirs, ours in _MODULES_OF_TORCHMULTIMODAL.items():
            if new.startswith(theirs):
                new = ours + new.removeprefix(theirs)
                break
        renamed[new] = x
    return _from(renamed, s, "torchmultimodal")


_VIT = {
    "patch_embed.proj.": "image.patches.",
    "cls_token": "image.cls_token",
    "pos_embed": "image.positions",
    "norm.": "image.norm.",
}


def from_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image encoder, from a Vision Transformer of DINO's or timm's names; its head is left
    out."""
    out = {}
    for name, x in state.items():
        name = name.removeprefix("module.").removeprefix("backbone.")
        for theirs, ours in _VIT.items():
            if name.startswith(theirs):
                out[ours + name.removeprefix(theirs)] = x
        if name.startswith("blocks."):
            out["image." + name.replace(".mlp.", ".")] = x
    return out


_ROBERTA = {
    ".attention.self.": ".attention.attention.",
    ".attention.LayerNorm.": ".layernorm_before.",
    ".intermediate.LayerNorm.": ".layernorm_after.",
}
_LM_HEAD = {"dense": "transform.dense", "layer_norm": "transform.LayerNorm", "decoder": "decoder"}


def from_masked_language_model(state: Mapping[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
    """The text encoder, and where there is one the MLM head, from Hugging Face's
    `RobertaPreLayerNormForMaskedLM`: the same architecture, but for positions, which begin behind
    the pad's."""
    prefix = "roberta_prelayernorm."
    out = {}
    for name, x in state.items():
        if name.startswith("lm_head."):
            part, _, kind = name.removeprefix("lm_head.").rpartition(".")
            if part:
                out[f"mlm_head.{_LM_HEAD[part]}.{kind}"] = x
            elif "lm_head.decoder.bias" not in state:
                out["mlm_head.decoder.bias"] = x
            continue
        new = name.removeprefix(prefix)
        for theirs, ours in _ROBERTA.items():
            new = new.replace(theirs, ours)
        new = re.sub(r"^LayerNorm\.", "layernorm.", new)
        if new == "embeddings.position_embeddings.weight":
            x = x[len(x) - s.positions :]
        if new == "embeddings.token_type_embeddings.weight" and len(x) == 1:
            x = torch.cat([x, torch.zeros_like(x)])
        out[f"flava.text_model.{new}"] = x
    words = "flava.text_model.embeddings.word_embeddings.weight"
    if "mlm_head.transform.dense.weight" in out:
        out.setdefault("mlm_head.decoder.weight", out[words])  # tied there
    return _from(out, s, "hf")


def resize_positions(state: Mapping[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
    """The same with the grid of image positions interpolated to the model's (bicubic, as Hugging
    Face's `interpolate_pos_encoding`); the class token's stays."""
    name = "image.positions"
    if name not in state or state[name].shape[1] == s.grid**2 + 1:
        return dict(state)
    first, rest = state[name][:, :1], state[name][:, 1:]
    old = round(rest.shape[1] ** 0.5)
    grid = rest.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (s.grid, s.grid), mode="bicubic", align_corners=False)
    flat = grid.permute(0, 2, 3, 1).reshape(1, s.grid**2, -1)
    return {**state, name: torch.cat([first, flat], 1)}


_MAY_LACK = ("image.mask_token", ".pooler.")


def read(path: Path, s: FlavaSettings) -> dict[str, Tensor]:
    """Weights of a file, under the model's names: a whole FLAVA, or an encoder.

    Raises:
        ValueError: the file holds neither, or of other sizes.
    """
    state = read_state(str(path))
    have = set(state)

    def some(*parts: str) -> bool:
        return any(part in name for name in have for part in parts)

    if some("bert.encoder.layer.0.attention.output.LayerNorm", "roberta.encoder.layer.0.") or (
        some("encoder.layer.0.attention.output.LayerNorm")
    ):
        raise ValueError(
            f"{path} is a post-norm BERT, whose blocks compute something else than FLAVA's: start "
            "the text encoder from a pre-norm model (RobertaPreLayerNorm, or a FLAVA trained on "
            "texts alone)"
        )
    try:
        if some("image_encoder."):
            found = from_torchmultimodal(state, s)
        elif some("encoder.layer.0.attention.LayerNorm"):
            found = from_masked_language_model(state, s)
        elif some("patch_embed.proj."):
            found = from_vit(state)
        else:
            bare = {n.removeprefix("vit."): x for n, x in state.items()}
            bare = {n: x for n, x in bare.items() if not n.startswith("classifier.")}
            found = from_hugging_face(bare, s)
    except MisfitError as error:
        raise MisfitError(f"{path}: {error}", error.found) from error
    found = resize_positions(found, s)
    parts = {name.split(".")[0] for name in found}

    def needed(name: str) -> bool:
        return name.split(".")[0] in parts and not any(part in name for part in _MAY_LACK)

    require_fit(path, found, names(s), needed)
    return found


def export(state: Mapping[str, Tensor], s: FlavaSettings, folder: Path, form: str) -> list[Path]:
    """Write `config.json` and `model.safetensors` for `FlavaForPreTraining.from_pretrained`,
    without the codebook.

    Raises:
        ValueError: another form than `hf`.
    """
    if form != "hf":
        raise ValueError(f"FLAVA can be exported as hf; found {form!r}")
    folder.mkdir(parents=True, exist_ok=True)
    config_path, model_path = folder / "config.json", folder / "model.safetensors"
    config_path.write_text(json.dumps(hugging_face_config(s), indent=2) + "\n")
    save_file(to_hugging_face(state), model_path, {"format": "pt"})
    return [config_path, model_path]


def hugging_face_config(s: FlavaSettings) -> dict[str, Any]:
    """The content of `config.json`."""

    def sizes(e: EncoderSettings) -> dict[str, int]:
        return {
            "hidden_size": e.width,
            "num_hidden_layers": e.layers,
            "num_attention_heads": e.heads,
            "intermediate_size": e.inner,
        }

    return {
        "architectures": ["FlavaForPreTraining"],
        "model_type": "flava",
        "hidden_size": s.fusion.width,
        "projection_dim": s.embed,
        "layer_norm_eps": s.head_norm_eps,
        "init_codebook": False,
        "image_config": {
            **sizes(s.image),
            "image_size": s.image_size,
            "patch_size": s.patch,
            "vocab_size": s.codes,
        },
        "text_config": {
            **sizes(s.text),
            "vocab_size": s.words,
            "max_position_embeddings": s.positions,
        },
        "multimodal_config": sizes(s.fusion),
    }
