"""Small OFAs and inputs for tests."""

import json
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from septet.trainers.ofa.model import Ofa
from septet.trainers.ofa.settings import PAD, OfaSettings
from septet.trainers.ofa.task import OfaTask
from septet.trainers.task import Batch

ORACLE = Path(__file__).parents[2] / "oracles/ofa_tiny.safetensors"

SMALL = OfaSettings(
    width=64, inner=128, heads=4, encoder_layers=2, decoder_layers=2, stages=(1, 1, 1),
    image_size=64, plain_size=64, words=100, codes=10, bins=10, source_positions=64,
    target_positions=1024, patches=None, target_tokens=40, text_tokens=40, dropout=0.0, drop_path=0.0,
)  # fmt: skip
"""The oracle's sizes."""


@cache
def oracle() -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], float]:
    """Weights, inputs, outputs and tolerance of the reference module."""
    with safe_open(ORACLE, "pt") as file:
        names = list(file.keys())
        parts = [
            {n.removeprefix(f"{kind}/"): file.get_tensor(n) for n in names if n.startswith(kind)}
            for kind in ("weights", "inputs", "outputs")
        ]
        told = json.loads(file.metadata()["oracle"])
    return parts[0], parts[1], parts[2], float(told["tolerance"])


def module(s: OfaSettings = SMALL, seed: int = 0) -> Ofa:
    """A model with its initial values, in evaluation mode; norms of the batch are not trivial."""
    torch.manual_seed(seed)
    found = Ofa(s).eval()
    for name, buffer in found.named_buffers():
        if "running" in name:
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    return found


def inputs(s: OfaSettings = SMALL, rows: int = 3, length: int = 9, seed: int = 0) -> dict:
    """A source with pads, images of which the last is missing, tokens that are kept."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, s.words, (rows, length), generator=draw)
    ids[:, 0] = 0
    ids[1, length - 3 :] = PAD
    seen = torch.ones(rows, dtype=torch.bool)
    seen[-1] = False
    pixels = torch.randn(rows, 3, s.image_size, s.image_size, generator=draw)
    return {"ids": ids, "pixels": pixels, "seen": seen}


def words(s: OfaSettings = SMALL, rows: int = 3, length: int = 12, seed: int = 1) -> Tensor:
    """Target tokens of any kind."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, s.vocabulary_size, (rows, length), generator=draw)
    ids[:, 0] = 0
    return ids


def batch(task: OfaTask, kind: str, rows: int, source: int = 16, target: int = 12) -> Batch:
    """Made-up rows of a forward pass; of the plain ones every second writes image codes."""
    s, draw = task.settings, torch.Generator().manual_seed(rows)
    data = task.example(kind, rows).data
    each = data["source"].shape[2]
    data["pixels"] = torch.randint(0, 256, data["pixels"].shape, dtype=torch.uint8, generator=draw)
    for name, length in (("source", source), ("target", target)):
        shape = (rows, length, each)
        data[name] = torch.randint(4, s.vocabulary_size, shape, generator=draw)
    if kind == "plain":
        data["codes"] = torch.arange(rows) % 2 == 0
    return Batch(kind, data)
