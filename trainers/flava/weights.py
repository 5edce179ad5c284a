"""FLAVA's weights under the names of others: Hugging Face and torchmultimodal for the whole, and
for the encoders that FLAVA starts from (paper, section 3.4) those of Vision Transformers (DINO,
timm, Hugging Face) and of pre-norm masked language models.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from septet.trainers.flava.model import Flava
from septet.trainers.flava.settings import EncoderSettings, FlavaSettings
from septet.trainers.weights.fit import SHOWN, MisfitError
from septet.trainers.weights.form import Form, Forms
from septet.trainers.weights.positions import resize_grid
from septet.trainers.weights.writing import write_with_config

Naming = Literal["hf", "torchmultimodal"]

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


def _theirs(name: str, form: Naming) -> list[str]:
    """Another form's name of one of the model's weights; three for stacked ones."""
    which = 0 if form == "hf" else 1
    block = _BLOCK.fullmatch(name)
    if block:
        part = _IN_BLOCK[block[3]][which]
        base = f"flava.{_TOWERS[block[1]]}.encoder.layer.{block[2]}.{part}.{block[4]}"
        return [base.format(x) for x in ("query", "key", "value")] if "{" in part else [base]
    stem = name if name in _STEMS else name.rpartition(".")[0]
    return [_STEMS[stem][which] + name.removeprefix(stem)]


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


def _from(state: Mapping[str, Tensor], s: FlavaSettings, form: Naming) -> dict[str, Tensor]:
    """What of the model's weights `state` has, under its own names.

    Raises:
        ValueError: it has others besides, or some of the three parts of a stacked weight.
    """
    left, out = set(state), dict[str, Tensor]()
    for name in FORMS.shapes(s):
        theirs = _theirs(name, form)
        found = [state[t] for t in theirs if t in state]
        left -= set(theirs)
        if len(found) == len(theirs):
            whole = torch.cat(found) if len(found) == 3 else found[0]
            out[name] = whole.reshape(1) if name == "logit_scale" else whole
    tied = {n for n in left if n.endswith(".bias") and n[:-4] + "decoder.bias" in state}
    odd = sorted(left - tied)
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


def _of_vit(name: str) -> str | None:
    """The model's name of a Vision Transformer's weight (DINO's or timm's names)."""
    name = name.removeprefix("module.").removeprefix("backbone.")
    if name.startswith("blocks."):
        return "image." + name.replace(".mlp.", ".")
    found = (ours + name.removeprefix(o) for o, ours in _VIT.items() if name.startswith(o))
    return next(found, None)


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


def resize_positions(state: dict[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
    """The same with the grid of image positions interpolated to the model's (as Hugging Face's
    `interpolate_pos_encoding`); the class token's stays."""
    name = "image.positions"
    if name not in state:
        return state
    (rows,) = state[name]
    return {**state, name: torch.cat([rows[:1], resize_grid(rows[1:], s.grid)])[None]}


class _PostNorm(Form[FlavaSettings]):
    """BERT and RoBERTa, which are refused."""

    name = "post-norm BERT"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        parts = ("encoder.layer.0.attention.output.LayerNorm", "roberta.encoder.layer.0.")
        return any(part in name for part in parts for name in names)

    def to_ours(self, state: Mapping[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
        """See `Form`."""
        raise ValueError(
            "its blocks compute something else than FLAVA's: start the text encoder from a "
            "pre-norm model (RobertaPreLayerNorm, or a FLAVA trained on texts alone)"
        )


class _Torchmultimodal(Form[FlavaSettings]):
    """torchmultimodal's `FLAVAForPreTraining` or `FLAVAModel`."""

    name = "torchmultimodal"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return any("image_encoder." in name for name in names)

    def unused(self, name: str, s: FlavaSettings) -> bool:
        """See `_NO_WEIGHT`."""
        return bool(_NO_WEIGHT.search(name))

    def to_ours(self, state: Mapping[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
        """See `Form`."""
        return from_torchmultimodal(state, s)


class _MaskedLanguageModel(Form[FlavaSettings]):
    """The text encoder as Hugging Face's `RobertaPreLayerNormForMaskedLM`."""

    name = "RobertaPreLayerNorm"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return any("encoder.layer.0.attention.LayerNorm" in name for name in names)

    def unused(self, name: str, s: FlavaSettings) -> bool:
        """See `_NO_WEIGHT`."""
        return bool(_NO_WEIGHT.search(name))

    def to_ours(self, state: Mapping[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
        """See `Form`."""
        return from_masked_language_model(state, s)


class _Vit(Form[FlavaSettings]):
    """The image encoder as a Vision Transformer of DINO's or timm's names."""

    name = "ViT"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return any("patch_embed.proj." in name for name in names)

    def unused(self, name: str, s: FlavaSettings) -> bool:
        """Its heads."""
        return _of_vit(name) is None

    def to_ours(self, state: Mapping[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
        """See `Form`."""
        return {ours: x for name, x in state.items() if (ours := _of_vit(name))}


class _HuggingFace(Form[FlavaSettings]):
    """`transformers`' FLAVA, whole or a part, or its ViT; `config.json` and `model.safetensors` for
    `FlavaForPreTraining.from_pretrained`, without the codebook."""

    name, written = "hf", True

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`. What is of no other form is thought to be of this one."""
        return True

    def unused(self, name: str, s: FlavaSettings) -> bool:
        """The codebook, position numbers, a classifier's head."""
        return bool(_NO_WEIGHT.search(name)) or name.startswith("classifier.")

    def to_ours(self, state: Mapping[str, Tensor], s: FlavaSettings) -> dict[str, Tensor]:
        """See `Form`."""
        return from_hugging_face({n.removeprefix("vit."): x for n, x in state.items()}, s)

    def write(self, state: Mapping[str, Tensor], s: FlavaSettings, folder: Path) -> list[Path]:
        """See `Form`."""
        return write_with_config(folder, hugging_face_config(s), to_hugging_face(state))

    def notes(self, s: FlavaSettings) -> list[str]:
        """See `Form`."""
        return unsaid(s)


_MAY_LACK = ("image.mask_token", ".pooler.")


def _needed(name: str, found: Collection[str]) -> bool:
    """Parts that a file has are needed whole."""
    parts = {other.split(".")[0] for other in found}
    return name.split(".")[0] in parts and not any(part in name for part in _MAY_LACK)


FORMS = Forms(
    "FLAVA",
    Flava,
    (_PostNorm(), _Torchmultimodal(), _MaskedLanguageModel(), _Vit(), _HuggingFace()),
    needed=_needed,
    adapt=resize_positions,
)


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


ENCODERS_EPS = 1e-12
"""Of the encoders' norms, here and in the published configuration."""


def unsaid(s: FlavaSettings) -> list[str]:
    """What `transformers`' configuration has no place for, a sentence each."""
    notes = []
    if s.fusion_sees_pads:
        notes.append(
            "model.fusion_sees_pads=true has no place in transformers' configuration: there the "
            "multimodal encoder never attends to pads, so vectors of padded pairs differ"
        )
    if s.head_norm_eps != ENCODERS_EPS:
        notes.append(
            f"model.head_norm_eps={s.head_norm_eps:g} has no place in transformers' configuration: "
            f"there heads take the encoders' {ENCODERS_EPS:g}, so their scores differ a little"
        )
    return notes
