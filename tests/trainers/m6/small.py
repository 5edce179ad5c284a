"""An M6 of a few thousand weights, and batches of each of its tasks."""

import torch
from torch import Tensor

from septet.trainers.m6.model import M6
from septet.trainers.m6.settings import PIECES, TASKS, M6Settings
from septet.trainers.nets.routing import ExpertSettings
from tests.trainers.test_clip import randomised

SMALL = M6Settings(
    width=32, inner=48, heads=4, layers=3, words=330, codes=8, positions=64, features=20,
    dropout=0.0, mixture=dict.fromkeys(TASKS, 1.0), text_tokens=20, hidden_tokens=20, code_grid=2,
    vocabulary="scenes-zh", codes_column=None,
)  # fmt: skip

SPARSE = SMALL.model_copy(
    update={
        "experts_every": 2,
        "experts": ExpertSettings(experts=4, inner=24, chosen=2, group_rows=1, balance=0.01),
    }
)

ONLINE = SMALL.model_copy(
    update={"stages": (1, 1), "stem": 4, "features": 32, "image_size": 64, "batch_norm": "frozen"}
)


def module(settings: M6Settings = SMALL, seed: int = 1) -> M6:
    torch.manual_seed(seed)
    return randomised(M6(settings), seed).eval()  # type: ignore[return-value]


def ids(rows: int, length: int, seed: int = 5, words: int = 330) -> Tensor:
    """Rows of different lengths, the first whole, padded with zeros."""
    draw = torch.Generator().manual_seed(seed)
    found = torch.randint(104, words, (rows, length), generator=draw)
    return found * (torch.arange(length) < length - 2 * torch.arange(rows)[:, None])


def features(rows: int, settings: M6Settings = SMALL) -> Tensor:
    """An image's pieces, [rows, 16, F]."""
    draw = torch.Generator().manual_seed(3)
    return torch.rand(rows, PIECES, settings.features, generator=draw)


def inputs(task: str, rows: int = 3) -> dict[str, Tensor]:
    """What a task's rows have before the target."""
    found = {}
    if task != "captioning" and task != "language_modelling":
        found["source"] = ids(rows, 9)
    if task in ("captioning", "image_denoising"):
        found["patches"] = features(rows)
    return found or {"rows": torch.zeros(rows, 0)}
