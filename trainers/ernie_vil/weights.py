"""ERNIE-ViL's weights under the names of others: the released Paddle archives (one file a
variable), ViLBERT's checkpoints, and those of the BERT or ERNIE 2.0 that the text stream starts
from (paper, section 4.2).
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from septet.preprocess.weights import read_state
from septet.trainers.ernie_vil.model import ErnieVil
from septet.trainers.ernie_vil.paddle import read_folder, read_npz, write_variable
from septet.trainers.ernie_vil.settings import ErnieVilSettings
from septet.trainers.weights.fit import MisfitError
from septet.trainers.weights.form import Form, Forms

Naming = Literal["paddle", "vilbert"]

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


def _stem(ours: str, form: Naming) -> str:
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


def theirs(name: str, form: Naming) -> str:
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


def _turned(name: str, x: Tensor, form: Naming) -> Tensor:
    """Paddle's linears hold [in, out], ours [out, in]."""
    turn = form == "paddle" and x.ndim == 2 and "w_0" in theirs(name, form)
    return x.T.contiguous() if turn else x


def to_form(state: Mapping[str, Tensor], form: Naming) -> dict[str, Tensor]:
    """The model's state under another form's names."""
    return {theirs(name, form): _turned(name, x, form) for name, x in state.items()}


def shapes(s: ErnieVilSettings) -> dict[str, torch.Size]:
    """The model's own names with their shapes."""
    return FORMS.shapes(s)


class _Named(Form[ErnieVilSettings]):
    """Names that `theirs` knows; a file may hold the text alone (BERT, ERNIE 2.0)."""

    naming: Naming

    def unused(self, name: str, s: ErnieVilSettings) -> bool:
        """See `IDLE`."""
        return bool(IDLE.search(self.plain(name)))

    def plain(self, name: str) -> str:
        """A file's name as the form has it now."""
        return name

    def to_ours(self, state: Mapping[str, Tensor], s: ErnieVilSettings) -> dict[str, Tensor]:
        """See `Form`. A segment table with fewer rows gets rows of zeros (captions are segment 0);
        a position table with more is cut."""
        have, wanted = {self.plain(name): x for name, x in state.items()}, shapes(s)
        other = {name: theirs(name, self.naming) for name in wanted}
        found = {n: _turned(n, have[o], self.naming) for n, o in other.items() if o in have}
        if odd := sorted(have.keys() - set(other.values())):
            raise MisfitError(
                f"{len(odd)} weights have no place in an ERNIE-ViL of these sizes, such as "
                f"{odd[0]}: give the model its sizes",
                {name: x.shape for name, x in found.items()},
            )
        for name in ("text.segment.weight", "text.position.weight"):
            if name in found:
                found[name] = _rows(found[name], wanted[name], name == "text.segment.weight")
        return found


class _Paddle(_Named):
    """The released archives, one file a variable in `params/`."""

    name, written, naming = "paddle", True, "paddle"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return "word_embedding" in names

    def write(self, state: Mapping[str, Tensor], s: ErnieVilSettings, folder: Path) -> list[Path]:
        """See `Form`."""
        (folder / "params").mkdir(exist_ok=True)
        written = []
        for name, x in to_form(state, "paddle").items():
            written.append(folder / "params" / name)
            write_variable(written[-1], x.float().numpy())
        return written


class _Vilbert(_Named):
    """ViLBERT's checkpoints, and those of Hugging Face's BERT and ERNIE."""

    name, written, naming = "vilbert", True, "vilbert"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return any("embeddings.word_embeddings.weight" in name for name in names)

    def plain(self, name: str) -> str:
        """With the prefix that a bare body lacks or calls ernie, and names of the first PyTorch
        conversions of BERT as they are now."""
        name = re.sub(r"^(ernie(_model)?\.)?(?=(embeddings|encoder|pooler)\.)", "bert.", name)
        return name.replace(".gamma", ".weight").replace(".beta", ".bias")

    def write(self, state: Mapping[str, Tensor], s: ErnieVilSettings, folder: Path) -> list[Path]:
        """See `Form`."""
        save_file(to_form(state, "vilbert"), folder / "model.safetensors", {"format": "pt"})
        return [folder / "model.safetensors"]


class _Own(Form[ErnieVilSettings]):
    """The model's own names, as `septet weights --out` writes them."""

    name = "septet"

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return "text.word.weight" in names

    def to_ours(self, state: Mapping[str, Tensor], s: ErnieVilSettings) -> dict[str, Tensor]:
        """See `Form`."""
        return dict(state)


def _rows(x: Tensor, wanted: torch.Size, may_grow: bool) -> Tensor:
    if may_grow and len(x) < wanted[0]:
        return torch.cat([x, x.new_zeros(wanted[0] - len(x), *x.shape[1:])])
    return x[: wanted[0]]


def load(path: str) -> dict[str, Tensor]:
    """A Paddle archive's folder `params` or the folder that holds it, an npz of its variables, or a
    checkpoint of torch or safetensors.

    Raises:
        ValueError: it is none of these.
    """
    if (folder := Path(path)).is_dir():
        inside = folder / "params"
        return read_folder(inside if inside.is_dir() else folder)
    return read_npz(Path(path)) if path.endswith(".npz") else read_state(path)


FORMS = Forms(
    "ERNIE-ViL",
    ErnieVil,
    (_Own(), _Paddle(), _Vilbert()),
    needed=lambda name, found: False,
    load=load,
)
