"""ERNIE-ViL's weights under the names of others: the released Paddle archives (one file a
variable), ViLBERT's checkpoints, and those of the BERT or ERNIE 2.0 that the text stream starts
from (paper, section 4.2).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from septet.preprocess.weights import read_state
from septet.trainers.ernie_vil.model import ErnieVil
from septet.trainers.ernie_vil.paddle import read_folder, read_npz, write_variable
from septet.trainers.ernie_vil.settings import ErnieVilSettings
from septet.trainers.weights.fit import MisfitError, require_fit

Form = Literal["paddle", "vilbert"]

_STEMS: dict[str, tuple[str, str]] = {
    # ours: (Paddle, ViLBERT), both without what says weight or bias
    "text.word": ("word_embedding", "bert.embeddings.word_embeddings"),
    "text.position": ("pos_embedding", "bert.embeddings.position_embeddings"),
    "text.segment": ("sent_embedding", "bert.embeddings.token_type_embeddings"),
    "text.norm": ("pre_encoder_layer_norm", "bert.embeddings.LayerNorm"),
    "image.feature": ("image_emb", "bert.v_embeddings.image_embeddings"),
    "image.location": ("image_loc", "bert.v_embeddings.image_location_embeddings"),
    "image.norm": ("vl_pre_encoder_layer_norm", "bert.v_embeddings.LayerNorm"),
    "text_pool": ("pooled_fc_text", "bert.t_pooler.dense"),
    "image_pool": ("pooled_fc_image", "bert.v_pooler.dense"),
    "word_head.dense": ("mask_lm_trans_fc", "cls.predictions.transform.dense"),
    "word_head.norm": ("mask_lm_trans_layer_norm", "cls.predictions.transform.LayerNorm"),
    "word_head": ("mask_lm_out_fc", "cls.predictions"),
    # Under which names the archives hold these, if they do, nobody knows; `export` writes these.
    "region_head.dense": ("mask_region_trans_fc", "cls.imagePredictions.transform.dense"),
    "region_head.norm": (
        "mask_region_trans_layer_norm",
        "cls.imagePredictions.transform.LayerNorm",
    ),
    "region_head.decoder": ("mask_region_out_fc", "cls.imagePredictions.decoder"),
    "match_head": ("image_text_match_fc", "cls.bi_seq_relationship"),
}  # fmt: skip
_IN_LAYER: dict[str, tuple[str, str]] = {
    "attention.q": ("multi_head_att_query_fc", "attention.self.query"),
    "attention.k": ("multi_head_att_key_fc", "attention.self.key"),
    "attention.v": ("multi_head_att_value_fc", "attention.self.value"),
    "attention.o": ("multi_head_att_output_fc", "attention.output.dense"),
    "norm1": ("post_att_layer_norm", "attention.output.LayerNorm"),
    "fc1": ("ffn_fc_0", "intermediate.dense"),
    "fc2": ("ffn_fc_1", "output.dense"),
    "norm2": ("post_ffn_layer_norm", "output.LayerNorm"),
}
_IN_CO_LAYER = {
    # ViLBERT's names in a connection layer: {n} is the side that a linear reads, 1 the image and
    # 2 the text; {o} the other one; {s} its letter.
    "attention.q": "biattention.query{n}",
    "attention.k": "biattention.key{o}",
    "attention.v": "biattention.value{o}",
    "attention.o": "biOutput.dense{n}",
    "norm1": "biOutput.LayerNorm{n}",
    "fc1": "{s}_intermediate.dense",
    "fc2": "{s}_output.dense",
    "norm2": "{s}_output.LayerNorm",
}
_LAYER = re.compile(r"(text|image)\.layers\.(\d+)\.(.+)")
_CO_LAYER = re.compile(r"co\.(\d+)\.(text|image)\.(.+)")

IDLE = re.compile(
    r"biOutput\.q_dense[12]\.|^cls\.predictions\.decoder\.|^bert\.pooler\.|position_ids$"
    r"|^cls\.seq_relationship\.|task_type_embeddings|^(task|taskemb)_embedding$|^pooled_fc\."
    r"|^next_sent|^vcr_|^vqa_|^match_fc|^cls_seq_label|^vil_|^@LR|learning_rate"
    r"|_beta[12]_pow|_moment[12]_"
)
"""Weights that no loss here reads: ViLBERT's unused linears, decoders that are tied, heads of
fine-tuning, what optimizers keep."""


def _stem(ours: str, form: Form) -> str:
    which = 0 if form == "paddle" else 1
    if found := _LAYER.fullmatch(ours):
        side, number, part = found.groups()
        part = _IN_LAYER[part][which]
        if form == "paddle":
            return f"encoder_{'v' if side == 'image' else ''}layer_{number}_{part}"
        return f"bert.encoder.{'v_' if side == 'image' else ''}layer.{number}.{part}"
    if found := _CO_LAYER.fullmatch(ours):
        number, side, part = found.groups()
        if form == "paddle":
            vl = "vl_" if side == "image" else ""
            return f"encoder_colayer_{number}_{vl}{_IN_LAYER[part][0]}"
        n, o, s = (1, 2, "v") if side == "image" else (2, 1, "t")
        return f"bert.encoder.c_layer.{number}." + _IN_CO_LAYER[part].format(n=n, o=o, s=s)
    return _STEMS[ours][which]


def theirs(name: str, form: Form) -> str:
    """Another form's name of one of the model's weights."""
    stem, _, kind = name.rpartition(".")
    other = _stem(stem, form)
    if form == "vilbert":
        return f"{other}.{kind}"
    if stem in ("text.word", "text.position", "text.segment"):
        return other
    if other.endswith("layer_norm"):
        return f"{other}_{'scale' if kind == 'weight' else 'bias'}"
    return f"{other}.{'w_0' if kind == 'weight' else 'b_0'}"


def _turned(name: str, x: Tensor, form: Form) -> Tensor:
    """Paddle's linears hold [in, out], ours [out, in]."""
    turn = form == "paddle" and x.ndim == 2 and "w_0" in theirs(name, form)
    return x.T.contiguous() if turn else x


def to_form(state: Mapping[str, Tensor], form: Form) -> dict[str, Tensor]:
    """The model's state under another form's names."""
    return {theirs(name, form): _turned(name, x, form) for name, x in state.items()}


def shapes(s: ErnieVilSettings) -> dict[str, torch.Size]:
    """The model's own names with their shapes."""
    with torch.device("meta"):
        return {name: x.shape for name, x in ErnieVil(s).state_dict().items()}


@dataclass(frozen=True)
class Found:
    """What a file of weights gave."""

    form: str
    """What it is."""
    weights: dict[str, Tensor]
    """Under the model's names."""
    lacking: list[str]
    """Names of the model's that it has nothing for: they start at random."""
    left_out: list[str]
    """Names of the file's that nothing here reads."""

    def told(self) -> str:
        """The same in words, a name or a pattern a line."""
        lines = [f"{self.form}: {len(self.weights)} weights found"]
        for what, names in (("lacking", self.lacking), ("left out", self.left_out)):
            lines.append(f"{what}: {len(names)}")
            lines += [f"  {stem}" for stem in _grouped(names)]
        return "\n".join(lines)


def _grouped(names: list[str]) -> list[str]:
    """Names with their numbers as `*`, each once."""
    return list(dict.fromkeys(re.sub(r"(?<=[._])\d+(?=[._])", "*", name) for name in names))


def convert(state: Mapping[str, Tensor], s: ErnieVilSettings) -> Found:
    """What of the model's weights a state has, in whichever form it is.

    A segment table with fewer rows gets rows of zeros (captions are segment 0); a position table
    with more is cut.

    Raises:
        ValueError: it is of no known form or of other sizes, or holds weights that are neither
            the model's nor known to be idle.
    """
    kind, form, renamed = _recognised(state)
    wanted = shapes(s)
    if form is None:
        found = {name: x for name, x in renamed.items() if name in wanted}
        read = set(found)
    else:
        names = {name: theirs(name, form) for name in wanted}
        read = {n for n in names.values() if n in renamed}
        found = {
            name: _turned(name, renamed[other], form)
            for name, other in names.items()
            if other in renamed
        }
    rest = sorted(renamed.keys() - read)
    odd = [name for name in rest if not IDLE.search(name)]
    if odd or not found:
        raise ValueError(
            f"{kind}: {len(odd)} weights have no place in an ERNIE-ViL of these sizes, such as "
            f"{odd[0]}: give the model its sizes"
            if odd
            else f"it holds no weights of an ERNIE-ViL; {len(rest)} others, such as {rest[:1]}"
        )
    for name in ("text.segment.weight", "text.position.weight"):
        if name in found:
            found[name] = _rows(found[name], wanted[name], name == "text.segment.weight")
    require_fit(kind, found, wanted, lambda name: False)
    return Found(kind, found, [n for n in wanted if n not in found], rest)


def _rows(x: Tensor, wanted: torch.Size, may_grow: bool) -> Tensor:
    if may_grow and len(x) < wanted[0]:
        return torch.cat([x, x.new_zeros(wanted[0] - len(x), *x.shape[1:])])
    return x[: wanted[0]]


def _recognised(state: Mapping[str, Tensor]) -> tuple[str, Form | None, dict[str, Tensor]]:
    """What a state is, the form of its names, and the state under that form's plain names."""
    have = {name.removeprefix("module."): x for name, x in state.items()}
    if "text.word.weight" in have:
        return "Septet's own", None, have
    if "word_embedding" in have:
        whole = "image_emb.w_0" in have
        return ("ERNIE-ViL of Paddle" if whole else "ERNIE of Paddle"), "paddle", have
    if "embeddings.word_embeddings.weight" in have:
        have = {f"bert.{name}": x for name, x in have.items()}
    have = {re.sub(r"^ernie(_model)?\.", "bert.", name): x for name, x in have.items()}
    have = {_plain(name): x for name, x in have.items()}
    whole = any("v_embeddings" in name for name in have)
    return ("ViLBERT" if whole else "BERT"), "vilbert", have


def _plain(name: str) -> str:
    """Names of the first PyTorch conversions of BERT as they are now."""
    return name.replace(".gamma", ".weight").replace(".beta", ".bias")


def read(path: Path, s: ErnieVilSettings) -> Found:
    """Weights of a file or folder; see `convert`.

    Args:
        path: A Paddle archive's folder `params` or the folder that holds it, an npz of its
            variables, or a checkpoint of torch or safetensors.
        s: The model's sizes.

    Raises:
        ValueError: see `convert`; there is no such file.
    """
    if path.is_dir():
        inside = path / "params"
        state = read_folder(inside if inside.is_dir() else path)
    elif path.suffix == ".npz":
        state = read_npz(path)
    else:
        state = read_state(str(path))
    try:
        return convert(state, s)
    except MisfitError as error:
        raise MisfitError(f"{path}: {error}", error.found) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def export(state: Mapping[str, Tensor], folder: Path, form: str) -> list[Path]:
    """Write `params/`, one file a variable, as the released archives have it (form `paddle`), or
    `model.safetensors` under ViLBERT's names (form `vilbert`).

    Raises:
        ValueError: another form.
    """
    if form == "paddle":
        (folder / "params").mkdir(parents=True, exist_ok=True)
        written = []
        for name, x in to_form(state, "paddle").items():
            written.append(folder / "params" / name)
            write_variable(written[-1], x.float().numpy())
        return written
    if form == "vilbert":
        folder.mkdir(parents=True, exist_ok=True)
        save_file(to_form(state, "vilbert"), folder / "model.safetensors", {"format": "pt"})
        return [folder / "model.safetensors"]
    raise ValueError(f"ERNIE-ViL can be exported as paddle or vilbert; found {form!r}")
