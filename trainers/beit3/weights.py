"""BEiT-3's weights under the names of the released checkpoints (microsoft/unilm, `beit3`), which
are the model's own; what differs is the temperature's shape and the resolution."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from septet.preprocess.weights import read_state
from septet.trainers.beit3.model import Beit3
from septet.trainers.beit3.settings import UNUSED_ROWS, Beit3Settings
from septet.trainers.weights.fit import require_fit

FILE = "beit3.pth"
"""What `export` writes."""

_BACKBONE = "beit3."
_HEADS = {
    "masked": ("mlm_head.", "mim_head."),
    "contrastive": ("vision_head.", "language_head.", "logit_scale"),
}
_POSITIONS = "beit3.encoder.embed_positions.A.weight"


def names(s: Beit3Settings) -> dict[str, torch.Size]:
    """The model's names with their shapes."""
    with torch.device("meta"):
        return {name: x.shape for name, x in Beit3(s).state_dict().items()}


def resize_positions(rows: Tensor, grid: int) -> Tensor:
    """A table of image positions [2 + 1 + old², W] for another grid, [2 + 1 + grid², W]: bicubic
    over the patches; the unused rows and the class token's stay."""
    first = UNUSED_ROWS + 1
    old = round((len(rows) - first) ** 0.5)
    if old == grid:
        return rows
    square = rows[first:].float().T.reshape(1, -1, old, old)
    resized = F.interpolate(square, (grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([rows[:first], resized.flatten(2)[0].T.to(rows.dtype)])


def read(path: Path, s: Beit3Settings) -> dict[str, Tensor]:
    """Weights of a released checkpoint, or of `export`: the whole backbone, and the heads of the
    model's stage where the file has them. Those of the other stage are left out.

    Raises:
        ValueError: it lacks weights of the backbone, or has some that the model does not have.
    """
    state, expected = read_state(str(path)), names(s)
    (others,) = (heads for stage, heads in _HEADS.items() if stage != s.stage)
    found = {name: x.float() for name, x in state.items() if not name.startswith(others)}
    if "logit_scale" in found:
        found["logit_scale"] = found["logit_scale"].reshape(1)
    if _POSITIONS in found:
        found[_POSITIONS] = resize_positions(found[_POSITIONS], s.grid)
    hint = ""
    if s.attention == "shared" and any(".q_proj.A." in name for name in state):
        hint = (
            "It is of the released architecture, where attention is not shared: "
            "model.attention=decoupled model.sub_norm=true model.fusion_layers=0"
        )
    require_fit(path, found, expected, lambda name: name.startswith(_BACKBONE), hint)
    return found


def export(state: Mapping[str, Tensor], folder: Path, form: str) -> list[Path]:
    """Write `beit3.pth` as the released files are: `torch.load(file)["model"]` by name.

    Raises:
        ValueError: another form than `beit3`.
    """
    if form != "beit3":
        raise ValueError(f"BEiT-3 can be exported as beit3; found {form!r}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    released = {n: x.reshape(()) if n == "logit_scale" else x.clone() for n, x in state.items()}
    torch.save({"model": released}, path)
    return [path]
