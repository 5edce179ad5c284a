"""BEiT-3's weights under the names of the released checkpoints (microsoft/unilm, `beit3`), which
are the model's own; what differs is the temperature's shape and the resolution."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from septet.trainers.beit3.model import Beit3
from septet.trainers.beit3.settings import UNUSED_ROWS, Beit3Settings
from septet.trainers.weights.form import Form, Forms
from septet.trainers.weights.positions import resize_grid

FILE = "beit3.pth"
"""What is written."""

_BACKBONE = "beit3."
_HEADS = {
    "masked": ("mlm_head.", "mim_head."),
    "contrastive": ("vision_head.", "language_head.", "logit_scale"),
}
_POSITIONS = "beit3.encoder.embed_positions.A.weight"


class _Released(Form[Beit3Settings]):
    """`torch.load(file)["model"]` by name; the heads of the model's stage may be there or not."""

    name, written = "beit3", True

    def recognises(self, names: Collection[str]) -> bool:
        """See `Form`."""
        return any(name.startswith(_BACKBONE) for name in names)

    def unused(self, name: str, s: Beit3Settings) -> bool:
        """Heads of the other stage."""
        return any(name.startswith(heads) for stage, heads in _HEADS.items() if stage != s.stage)

    def to_ours(self, state: Mapping[str, Tensor], s: Beit3Settings) -> dict[str, Tensor]:
        """See `Form`."""
        return {n: x.reshape(1) if n == "logit_scale" else x.float() for n, x in state.items()}

    def write(self, state: Mapping[str, Tensor], s: Beit3Settings, folder: Path) -> list[Path]:
        """See `Form`."""
        path = folder / FILE
        kept = {n: x.reshape(()) if n == "logit_scale" else x.clone() for n, x in state.items()}
        torch.save({"model": kept}, path)
        return [path]


def resize_positions(state: dict[str, Tensor], s: Beit3Settings) -> dict[str, Tensor]:
    """The same with the table of image positions [2 + 1 + old², W] for the model's grid; the unused
    rows and the class token's stay."""
    if _POSITIONS not in state:
        return state
    rows, first = state[_POSITIONS], UNUSED_ROWS + 1
    return {**state, _POSITIONS: torch.cat([rows[:first], resize_grid(rows[first:], s.grid)])}


def _hint(names: Collection[str], s: Beit3Settings) -> str:
    if s.attention == "shared" and any(".q_proj.A." in name for name in names):
        return (
            "It is of the released architecture, where attention is not shared: "
            "model.attention=decoupled model.sub_norm=true model.fusion_layers=0"
        )
    return ""


FORMS = Forms(
    "BEiT-3",
    Beit3,
    (_Released(),),
    needed=lambda name, found: name.startswith(_BACKBONE),
    adapt=resize_positions,
    hint=_hint,
)
