"""OFA's weights under the names of the released checkpoints (OFA-Sys/OFA, fairseq), which are the
model's own, and of their Hugging Face port (its branch `feature/add_transformers`); and parts to
start from: BART's language model, torchvision's ResNets."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from septet.preprocess.weights import read_state
from septet.trainers.ofa import positions
from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.settings import END, GRID, PAD, START, OfaSettings
from septet.trainers.weights.fit import MisfitError, require_fit

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


def names(s: OfaSettings) -> dict[str, torch.Size]:
    """The model's names with their shapes."""
    with torch.device("meta"):
        return {name: x.shape for name, x in Ofa(s).state_dict().items()}


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
    found = {name: x for name, x in state.items() if re.match(r"(encoder|decoder)\.", name)}
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


def read(path: Path, s: OfaSettings) -> dict[str, Tensor]:
    """Weights of a file under the model's names: a whole OFA of either form; BART, which lacks
    what is of images and positions; or a ResNet of torchvision's.

    Raises:
        ValueError: it is none of these, or does not fit.
    """
    folder = [path / name for name in ("model.safetensors", "pytorch_model.bin")]
    file = next((p for p in folder if p.exists()), path)
    state = {n: x for n, x in read_state(str(file)).items() if not _REBUILT.fullmatch(n)}
    needed = re.compile(r"(?!.*num_batches_tracked).*")
    if "layer1.0.conv1.weight" in state:
        found = {
            f"encoder.embed_images.{n}": x
            for n, x in state.items()
            if not n.startswith(("layer4.", "fc."))
        }
        needed = re.compile(r"encoder\.embed_images\.(?!.*num_batches_tracked).*")
    else:
        found = _from_hugging_face(state)
        for name in TIED:
            if name in found and TABLE in found and not torch.equal(found[name], found[TABLE]):
                raise MisfitError(f"{file}: {name} is not {TABLE}; OFA has one table", {})
            found.pop(name, None)
        if TABLE in found and "encoder.layers.0.self_attn.c_attn" not in found:
            found = _from_bart(found, s)
            needed = re.compile(rf"(?!{_BART_LACKS.pattern}).*")
    found = {n: x.float() if x.is_floating_point() else x for n, x in found.items()}
    require_fit(file, found, names(s), lambda name: bool(needed.fullmatch(name)))
    return found


def export(state: Mapping[str, Tensor], s: OfaSettings, folder: Path, form: str) -> list[Path]:
    """Write `ofa.pt` as the released files are (form `ofa`), or `config.json` and
    `model.safetensors` for the port (form `hf`).

    Raises:
        ValueError: another form.
    """
    if form not in ("ofa", "hf"):
        raise ValueError(f"OFA can be exported as ofa or hf; found {form!r}")
    folder.mkdir(parents=True, exist_ok=True)
    if form == "ofa":
        path = folder / "ofa.pt"
        torch.save({"model": to_fairseq(state, s), "cfg": None, "args": None}, path)
        return [path]
    config, path = folder / "config.json", folder / "model.safetensors"
    config.write_text(json.dumps(hugging_face_config(s), indent=2) + "\n")
    tensors = {n: x.clone().contiguous() for n, x in to_hugging_face(state, s).items()}
    save_file(tensors, path, {"format": "pt"})
    return [config, path]


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
