"""CLIP's sizes and recipes.

Published sizes: `septet train clip CORPUS --preset vit-b-32`, on many GPUs under `torchrun`. The
batch of 32,768 and 390,625 steps (12.8 billion pairs) are the paper's (section 2.5, tables 18
to 20); it took 256 V100 12 days for ViT-L/14, 592 V100 18 days for RN50x64. Set
`train.micro_batch` to what a GPU holds: the loss is still that of the whole batch.

`debug` trains on a laptop's CPU: `septet train clip CORPUS --preset debug`, about 350 pairs a
second on one core, so that 400 steps take a little over a minute. On scenes the loss falls from
ln(64) = 4.16 to about 1 within 160 steps.
"""

from typing import Any

from septet.trainers.clip.model import ClipSettings
from septet.trainers.clip.task import ClipTask
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.settings.preset import Preset


class ClipPreset(Preset):
    """All settings of a run."""

    model: ClipSettings

    def task(self) -> ClipTask:
        """The task of these settings."""
        return ClipTask(self.model, self.train.global_batch)


PAPER = TrainSettings(
    steps=390_625,
    global_batch=32_768,
    precision="bf16",
    compile=True,
    workers=16,
    save_every=2000,
    eval_every=2000,
    log_every=50,
    max_bad_samples=0.001,
)


def _resnet(
    layers: tuple[int, int, int, int], width: int, size: int, embed: int, text: int, lr: float
) -> ClipPreset:
    return ClipPreset(
        model=ClipSettings(
            embed=embed, image_size=size, layers=layers, width=width, text_width=text
        ),
        train=PAPER,
        optimizer=OptimizerSettings(lr=lr, betas=(0.9, 0.999), eps=1e-8),
    )


_GELU: dict[str, Any] = {"activation": "gelu"}


def _vit(
    layers: int,
    width: int,
    patch: int,
    embed: int,
    text: int,
    lr: float,
    size: int = 224,
    steps: int = PAPER.steps,
    after: str | None = None,
    **more: Any,
) -> ClipPreset:
    return ClipPreset(
        model=ClipSettings(
            embed=embed,
            image_size=size,
            layers=layers,
            width=width,
            patch=patch,
            text_width=text,
            **more,
        ),
        train=PAPER.model_copy(update={"steps": steps}),
        optimizer=OptimizerSettings(lr=lr),
        after=after,
    )


PRESETS = {
    "rn50": _resnet((3, 4, 6, 3), 64, 224, 1024, 512, 5e-4),
    "rn101": _resnet((3, 4, 23, 3), 64, 224, 512, 512, 5e-4),
    "rn50x4": _resnet((4, 6, 10, 6), 80, 288, 640, 640, 5e-4),
    "rn50x16": _resnet((6, 8, 18, 8), 96, 384, 768, 768, 4e-4),
    "rn50x64": _resnet((3, 15, 36, 10), 128, 448, 1024, 1024, 3.6e-4),
    "vit-b-32": _vit(12, 768, 32, 512, 512, 5e-4),
    "vit-b-16": _vit(12, 768, 16, 512, 512, 5e-4),
    "vit-l-14": _vit(24, 1024, 14, 768, 768, 4e-4),
    # One more epoch of a trained vit-l-14 (400 million pairs) at a higher resolution.
    "vit-l-14-336": _vit(
        24, 1024, 14, 768, 768, 2e-5, size=336, steps=400_000_000 // 32_768, after="vit-l-14"
    ),
    # open_clip's larger sizes, whose weights need gelu; the recipe is that of vit-l-14.
    "vit-h-14": _vit(32, 1280, 14, 1024, 1024, 4e-4, head_width=80, text_layers=24, **_GELU),
    "vit-g-14": _vit(
        40, 1408, 14, 1024, 1024, 4e-4, head_width=88, inner=6144, text_layers=24, **_GELU
    ),
    "vit-bigg-14": _vit(
        48, 1664, 14, 1280, 1280, 4e-4, head_width=104, inner=8192, text_layers=32, **_GELU
    ),
    "debug": ClipPreset(
        model=ClipSettings(
            embed=64, image_size=64, layers=2, width=128, patch=16, text_width=64,
            text_layers=2, context=32,
        ),
        train=TrainSettings(
            steps=400, global_batch=64, save_every=100, eval_every=200, log_every=20
        ),
        optimizer=OptimizerSettings(
            lr=1e-3, betas=(0.9, 0.98), weight_decay=0.1, warmup_steps=40, clip_norm=1.0
        ),
    ),
}  # fmt: skip
