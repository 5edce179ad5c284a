"""OFA's weights under the names of the released checkpoints (OFA-Sys/OFA, fairseq), which are the
model's own, and of their Hugging Face port (its branch `feature/add_transformers`); and parts to
start from: BART's language model, torchvision's ResNets."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from septet.preprocess.weights import read_state
from septet.trainers.ofa import positions
from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.settings import END, GRID, PAD, START, OfaSettings
from septet.trainers.weights.fit import MisfitError
from septet.trainers.weights.form import Form, Forms
from septet.trainers.weights.writing import write_with_config

TABLE = "encoder.embed_tokens.weight"
TIED = ("decoder.embed_tokens.weight", "decoder.output_projection.weight")
"""Names under which the files have the table of words again."""

_REBUILT = re.compile(
    r"(encoder|decoder)\.version|.*\.(token|image)_rp_bucket|decoder\.image_position_idx"
)
"""Buffers of the files that follow from the sizes."""

_IN_LAYERS = {
    "encoder": {"attn_ln": "self_attn_mid_layer_norm"},
    "decoder": {
        "self_attn_ln": "self_attn_mid_layer_norm",
        "encoder_attn": "cross_attn",
        "encoder_attn_layer_norm": "cross_attn_layer_norm",
        "cross_attn_ln": "cross_attn_mid_layer_norm",
    },
}
"""Hugging Face's names of parts of layers, by fairseq's; `ffn_layernorm` is of both sides."""
_FEED = {"ffn_layernorm": "ffn_layer_norm"}
_LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.([a-z_0-9]+)(.*)")

_TYPES = {(3, 4, 6): "resnet50", (3, 4, 23): "resnet101", (3, 8, 36): "resnet152"}

_BART_LACKS = re.compile(
    r"encoder\.embed_images\..*|.*(image|pos_|type_|patch_|code_|c_attn|attn_ln|ffn_layernorm|rel_pos).*"
    r"|(encoder|decoder)\.layer_norm\..*"
)


def to_fairseq(state: Mapping[str, Tensor], s: OfaSettings) -> dict[str, Tensor]:
    """All that the released files have under `model`: the model's state, the table of words under
    its other names, and the buffers that follow from the sizes."""
    cpu = torch.device("cpu")
    ids = positions.code_ids(s.code_grid, 1 + s.code_grid**2 + positions.AFTER, cpu)
    out = {name: x.clone() for name, x in state.items()}
    out |= dict.fromkeys(TIED, out[TABLE])
    for side in ("encoder", "decoder"):
        out[f"{side}.version"] = torch.tensor([3.0])
        out[f"{side}.token_rp_bucket"] = positions.text_rows(positions.FAR, cpu)
        out[f"{side}.image_rp_bucket"] = positions.image_rows(torch.arange(positions.IMAGE_IDS))
    out["decoder.image_position_idx"] = ids
    return out


def to_hugging_face(state: Mapping[str, Tensor], s: OfaSettings) -> dict[str, Tensor]:
    """The same under the port's names."""
    return {
        _renamed(name, lambda side: _IN_LAYERS[side] | _FEED): x
        for name, x in to_fairseq(state, s).items()
        if not name.endswith(".version")
    }


def _from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def back(side: str) -> dict[str, str]:
        return {theirs: ours for ours, theirs in (_IN_LAYERS[side] | _FEED).items()}

    return {_renamed(name, back): x for name, x in state.items()}


def _renamed(name: str, table: Any) -> str:
    found = _LAYER.fullmatch(name)
    if not found:
        return name
    side, number, part, rest = found.groups()
    return f"{side}.layers.{number}.{table(side).get(part, part)}{rest}"


def _from_bart(state: Mapping[str, Tensor], s: OfaSettings) -> dict[str, Tensor]:
    """fairseq's BART: its words, its layers, and its positions, which begin at the third row
    there, at the first here."""
    found = dict(state)
    table = found[TABLE]
    # Of more rows than words some are fillers, and the last is <mask>.
    found[TABLE] = torch.cat([table[: s.words - 1], table[-1:]])
    for side in ("encoder", "decoder"):
        rows = found[f"{side}.embed_positions.weight"]
        found[f"{side}.embed_positions.weight"] = torch.cat([rows[2:], rows[:2]])
    fresh = torch.empty(s.vocabulary_size - s.words, s.width, dtype=table.dtype)
    generator = torch.Generator().manual_seed(0)
    found[TABLE] = torch.cat([found[TABLE], fresh.normal_(0, 0.02, generator=generator)])
    return found


_IMAGES = "encoder.embed_images."
_OWN = "encoder.layers.0.self_attn.c_attn"
"""A weight that OFA has and BART has not."""


class _Fairseq(Form[OfaSettings]):
    """The released checkpoints, `ofa.pt`; the port's names are read as well."""

    name, written = "ofa", True

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return _OWN in names

    def unused(self, name: str, s: OfaSettings) -> bool:
        """Buffers that follow from the sizes."""
        return bool(_REBUILT.fullmatch(name))

    def to_ours(self, state: Mapping[str, Tensor], s: OfaSettings) -> dict[str, Tensor]:
        """See `Form`; the table of words may stand under three names, but equal."""
        found = _from_hugging_face(state)
        for name in TIED:
            if name in found and TABLE in found and not torch.equal(found[name], found[TABLE]):
                raise MisfitError(f"{name} is not {TABLE}; OFA has one table", {})
            found.pop(name, None)
        return _floats(found)

    def write(self, state: Mapping[str, Tensor], s: OfaSettings, folder: Path) -> list[Path]:
        """See `Form`."""
        path = folder / "ofa.pt"
        torch.save({"model": to_fairseq(state, s), "cfg": None, "args": None}, path)
        return [path]


class _HuggingFace(_Fairseq):
    """The port: `config.json` and `model.safetensors`."""

    name = "hf"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return _OWN in names and any("self_attn_mid_layer_norm" in name for name in names)

    def write(self, state: Mapping[str, Tensor], s: OfaSettings, folder: Path) -> list[Path]:
        """See `Form`."""
        tensors = {n: x.clone() for n, x in to_hugging_face(state, s).items()}
        return write_with_config(folder, hugging_face_config(s), tensors)


class _Bart(_Fairseq):
    """fairseq's BART, which lacks what is of images and positions."""

    name, written = "BART", False

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return TABLE in names

    def unused(self, name: str, s: OfaSettings) -> bool:
        """Heads, and what the release of BART has beside."""
        return super().unused(name, s) or not name.startswith(("encoder.", "decoder."))

    def to_ours(self, state: Mapping[str, Tensor], s: OfaSettings) -> dict[str, Tensor]:
        """See `Form`."""
        return _floats(_from_bart(super().to_ours(state, s), s))


class _Resnet(Form[OfaSettings]):
    """torchvision's ResNets."""

    name = "ResNet"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return "layer1.0.conv1.weight" in names

    def unused(self, name: str, s: OfaSettings) -> bool:
        """The last stage and the classifier."""
        return name.startswith(("layer4.", "fc."))

    def to_ours(self, state: Mapping[str, Tensor], s: OfaSettings) -> dict[str, Tensor]:
        """See `Form`."""
        return _floats({f"{_IMAGES}{n}": x for n, x in state.items()})


def _floats(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n: x.float() if x.is_floating_point() else x for n, x in state.items()}


def _needed(name: str, found: Collection[str]) -> bool:
    if name.endswith("num_batches_tracked"):
        return False
    if all(other.startswith(_IMAGES) for other in found):
        return name.startswith(_IMAGES)
    return _OWN in found or not _BART_LACKS.fullmatch(name)


def load(path: str) -> dict[str, Tensor]:
    """A file, or the folder of a model as it is downloaded."""
    inside = [Path(path) / name for name in ("model.safetensors", "pytorch_model.bin")]
    return read_state(next((str(p) for p in inside if p.exists()), path))


FORMS = Forms("OFA", Ofa, (_HuggingFace(), _Fairseq(), _Resnet(), _Bart()), _needed, load=load)


def hugging_face_config(s: OfaSettings) -> dict[str, Any]:
    """The content of `config.json`.

    Raises:
        ValueError: a ResNet that the port has no name for.
    """
    if s.stages not in _TYPES or s.stem != 64:
        raise ValueError(
            f"the Hugging Face port has ResNets of {', '.join(map(str, _TYPES))} blocks and 64 "
            f"channels; this one has {s.stages} and {s.stem}: export with --form ofa"
        )
    return {
        "architectures": ["OFAModel"],
        "model_type": "ofa",
        "vocab_size": s.vocabulary_size,
        "d_model": s.width,
        "max_position_embeddings": s.source_positions,
        **{f"{side}_ffn_dim": s.inner for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": s.heads for side in ("encoder", "decoder")},
        **{f"{side}_drop_path_rate": s.drop_path for side in ("encoder", "decoder")},
        "encoder_layers": s.encoder_layers,
        "decoder_layers": s.decoder_layers,
        "dropout": s.dropout,
        "resnet_type": _TYPES[s.stages],
        "image_bucket_size": GRID,
        "token_bucket_size": 2 * positions.NEAR,
        "code_image_size": 8 * s.code_grid,
        "bos_token_id": START,
        "pad_token_id": PAD,
        "eos_token_id": END,
        "decoder_start_token_id": START,
        "forced_eos_token_id": END,
    }
