"""Vision halves that tell what scenes show, for debug models to begin with, as the published ones
begin with a ResNet that learnt ImageNet's classes (OFA) or a ViT that learnt JFT's (PaLI).

They learn it place by place: of each token that shows part of a thing the thing's shape, colour,
size and box, of each that shows part of a sign its word.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from septet.preprocess.synthetic.scenes import (
    COLOURS,
    GROUNDS,
    SHAPES,
    SIGN_BOX,
    SIGN_WORDS,
    SIZES,
    Scene,
    make_scene,
    render,
)
from septet.trainers.inputs import images
from septet.trainers.nets.resnet import ResNet
from septet.trainers.ofa.presets import PRESETS as OFA
from septet.trainers.ofa.settings import STRIDE
from septet.trainers.pali.presets import PRESETS as PALI
from septet.trainers.pali.vit import Vit
from septet.trainers.settings.overrides import override

BINS = 50
"""Of a box's coordinates."""

CLASSES = {
    "there": 2, "ground": len(GROUNDS), "shape": len(SHAPES), "colour": len(COLOURS),
    "size": len(SIZES), "left": BINS, "top": BINS, "right": BINS, "bottom": BINS,
    "sign": len(SIGN_WORDS),
}  # fmt: skip
"""What is told of a token, and of how many it is one."""

UNTOLD = -100
"""The label of a token that does not show it."""

SHOWS = 0.2
"""Share of the token's, or of the thing's, area that is in both, from which on it shows it."""

SCENES, HELD = 12_000, 256
"""Scenes that are trained on, over and over, and those that are measured on."""
SEED = 7
"""Of the scenes: no run's."""


class Half(NamedTuple):
    """What sees images, and how it learns by itself."""

    module: nn.Module
    tokens: Callable[[Tensor], Tensor]
    """What the module gives as [B, N, W]."""
    width: int
    side: int
    """Of its images, pixels."""
    grid: int
    save: Callable[[Path], None]
    steps: int
    rows: int
    rate: float


def resnet(changes: Sequence[str] = ()) -> Half:
    """OFA's of `debug`, saved under torchvision's names."""
    torch.manual_seed(0)
    s = override(OFA["debug"], changes).model
    module = ResNet(s.stages, s.stem, frozen=False)
    return Half(
        module, lambda x: x.flatten(2).mT, module.channels, s.image_size, s.image_size // STRIDE,
        lambda path: torch.save(module.state_dict(), path), 1200, 32, 3e-3,
    )  # fmt: skip


def vit(changes: Sequence[str] = ()) -> Half:
    """PaLI's of `debug`, saved under names of its own."""
    torch.manual_seed(0)
    s = override(PALI["debug"], changes).model.vision
    module = Vit(s)

    def save(path: Path) -> None:
        torch.save({f"vision.{n}": x for n, x in module.state_dict().items()}, path)

    return Half(module, lambda x: x, s.width, s.image_size, s.grid, save, 4800, 32, 2e-3)


def labels_of(scenes: Sequence[Scene], grid: int) -> Tensor:
    """The labels of tokens, int64 [n, grid * grid, len(CLASSES)]."""
    found = np.full((len(scenes), grid * grid, len(CLASSES)), UNTOLD, np.int64)
    for scene, out in zip(scenes, found, strict=True):
        shared = np.stack([_shared(thing.box, grid) for thing in scene.things])
        shows = shared.max(0) >= SHOWS
        out[:, 0], out[:, 1] = shows, GROUNDS.index(scene.ground)
        for i, thing in enumerate(scene.things):
            kinds = (SHAPES.index(thing.shape), [*COLOURS].index(thing.colour),
                     [*SIZES].index(thing.size))  # fmt: skip
            box = (min(int(edge * BINS), BINS - 1) for edge in thing.box)
            out[shows & (shared.argmax(0) == i), 2:-1] = [*kinds, *box]
        if scene.sign:
            out[_shared(SIGN_BOX, grid) >= SHOWS, -1] = SIGN_WORDS.index(scene.sign)
    return torch.from_numpy(found)


def _shared(box: tuple[float, ...], grid: int) -> NDArray[np.float64]:
    """Share of each token's area, or of the box's where that is less, that is in both, [N]."""
    starts = np.arange(grid) / grid
    across, down = (
        np.clip(np.minimum(starts + 1 / grid, box[i + 2]) - np.maximum(starts, box[i]), 0, None)
        for i in (0, 1)
    )
    least = min(1 / grid**2, (box[2] - box[0]) * (box[3] - box[1]))
    return (down[:, None] * across[None]).ravel() / least


def scenes(first: int, count: int, half: Half) -> tuple[Tensor, Tensor]:
    """Images uint8 [n, P, P, 3] of one or two things with a sign, and their tokens' labels."""
    made = [make_scene(SEED, first + i, (1, 2), signs=True) for i in range(count)]
    pixels = np.stack([render(scene, half.side) for scene in made])
    return torch.from_numpy(pixels), labels_of(made, half.grid)


def learn(half: Half, out: Path) -> dict[str, float]:
    """Train a half and write its weights (seed 0); which share it tells of held-out scenes' tokens,
    coordinates to the next bin, stands beside them: what is there is not trained anew."""
    figures = out.with_suffix(".json")
    if figures.exists():
        return dict(json.loads(figures.read_text()))
    module, draw = half.module, np.random.default_rng(0)
    heads = nn.Linear(half.width, sum(CLASSES.values()))

    def told(pixels: Tensor) -> tuple[Tensor, ...]:
        x = module(images.normalise(pixels, (0.5,) * 3, (0.5,) * 3))
        return heads(half.tokens(x)).split(list(CLASSES.values()), 2)

    parameters = [*module.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, half.rate, (0.9, 0.98), weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, half.rate, total_steps=half.steps, pct_start=0.1, cycle_momentum=False
    )
    pixels, labels = scenes(0, SCENES, half)
    for _ in range(half.steps):
        rows = torch.from_numpy(draw.integers(len(pixels), size=half.rows))
        losses = [
            F.cross_entropy(x.flatten(0, 1), y.flatten(), ignore_index=UNTOLD)
            for x, y in zip(told(pixels[rows]), labels[rows].unbind(2), strict=True)
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()
    module.eval()
    pixels, labels = scenes(10**6, HELD, half)
    with torch.no_grad():
        parts = [[x.argmax(2) for x in told(part)] for part in pixels.split(64)]
    found = {}
    for i, (name, classes) in enumerate(CLASSES.items()):
        answers, right = torch.cat([part[i] for part in parts]), labels[..., i]
        near = (answers - right).abs() <= (classes == BINS)
        found[name] = near[right != UNTOLD].float().mean().item()
    out.parent.mkdir(parents=True, exist_ok=True)
    half.save(out)
    figures.write_text(json.dumps(found))
    return found
