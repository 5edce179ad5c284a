"""M6's sizes and recipes.

`base` and `10b` are the paper's dense models. What it leaves open of the recipe is fixed here:
AdamW 2e-4 (`base`) or 1e-4, 10,000 steps of warm-up, linear decay over 500,000 steps of 2,048 rows.

    torchrun --nproc-per-node 8 -m septet train m6 corpora/pairs denoising=corpora/texts \\
        language_modelling=corpora/texts --preset base --set model.vocabulary=vocab.txt \\
        --set train.micro_batch=64

An image's features come from the column `patches`, made beforehand; `online` has the ResNet-50 in
the graph instead (`--initial resnet50.pth`). `base-drawing` goes on from `base` and draws: 8,192
image codes follow the words in the table.

`m6t-…` are M6-T's models with experts, on experts' ranks together (`train.expert_parallel`);
`m6t-100b-gshard` is another reading of the 100 B: 1,024 experts in every second layer. `m610t` has
80 prototypes of 128 experts.

    torchrun --nproc-per-node 8 -m septet train m6 … --preset m6t-1.4b \\
        --set train.expert_parallel=8 --set train.micro_batch=64

`debug` trains on a laptop's CPU on scenes with Chinese captions, a small ResNet in its graph, and
pieces' mean colours for codes.
"""

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.m6.settings import TASKS, M6Settings
from septet.trainers.m6.task import M6Task
from septet.trainers.nets.routing import ExpertSettings
from septet.trainers.settings.preset import Preset


class M6Preset(Preset):
    """All settings of a run."""

    model: M6Settings

    def task(self) -> M6Task:
        """The task of these settings.

        Raises:
            ValueError: rows at once are no whole number of groups of rows.
        """
        group = self.model.experts.group_rows if self.model.experts else 1
        for name in ("global_batch", "micro_batch"):
            if (rows := getattr(self.train, name) or 0) % group:
                raise ValueError(
                    f"train.{name} must be a multiple of model.experts.group_rows {group}, as "
                    f"experts count their capacity in such groups of rows; found {rows}"
                )
        return M6Task(self.model, self.train.global_batch)


TRAIN = TrainSettings(
    steps=500_000, global_batch=2048, precision="bf16", compile=True,
    activation_checkpointing=True, workers=16, save_every=2000, eval_every=10_000, log_every=50,
    max_bad_samples=0.001,
)  # fmt: skip
ADAMW = OptimizerSettings(
    lr=2e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, warmup_steps=10_000, clip_norm=1.0,
    schedule="linear",
)  # fmt: skip
_LOWER = ADAMW.model_copy(update={"lr": 1e-4})

# 1T was trained with Adafactor, as Adam was unstable; its rate is relative to parameters' own size.
_ADAFACTOR = OptimizerSettings(
    kind="adafactor", lr=1e-2, warmup_steps=10_000, schedule="inverse_sqrt", weight_decay=0.0,
    clip_norm=1.0,
)  # fmt: skip

GROUP = 32
"""Rows whose tokens queue for experts together."""

_RESNET_50 = (3, 4, 6, 3)

BASE = M6Settings()


def sparse(
    layers: int, experts: int, inner: int = 4096, every: int = 1, std: float = 0.02,
    prototypes: int = 1,
) -> M6Settings:  # fmt: skip
    """A stack of M6-base's width with experts."""
    networks = ExpertSettings(
        experts=experts, inner=inner, prototypes=prototypes, group_rows=GROUP, std=std
    )
    return M6Settings(layers=layers, experts=networks, experts_every=every, initial_std=std)


_SIZES = {
    "base": (BASE, ADAMW),
    "10b": (M6Settings(width=4096, inner=16_384, heads=128, layers=50), _LOWER),
    "online": (BASE.model_copy(update={"stages": _RESNET_50}), ADAMW),
    "m6t-1.4b": (sparse(layers=5, experts=32), ADAMW),
    "m6t-10b": (sparse(layers=10, experts=128), ADAMW),
    "m6t-100b": (sparse(layers=24, experts=512), ADAMW),
    "m6t-100b-gshard": (sparse(layers=24, experts=1024, every=2), ADAMW),
    "m6t-1t": (sparse(layers=24, experts=960, inner=21_248, std=0.002), _ADAFACTOR),
    "m610t": (sparse(layers=48, experts=10_240, inner=9984, std=0.002, prototypes=80), _ADAFACTOR),
}

_DRAWING = BASE.model_copy(update={"codes": 8192, "mixture": {**TASKS, "drawing": 1.0}})

_DEBUG = M6Settings(
    width=96, inner=256, heads=4, layers=3, words=512, codes=512, positions=96, features=256,
    stages=(1, 1, 1), stem=16, batch_norm="batch", image_size=64, dropout=0.0, initial_std=0.1,
    mixture=dict.fromkeys(TASKS, 1.0), vocabulary="scenes-zh", text_tokens=63, hidden_tokens=63,
    codes_column=None, code_grid=4,
)  # fmt: skip
_EIGHT = ExpertSettings(experts=8, inner=256, chosen=2, group_rows=8, balance=0.01, std=0.1)
_DEBUG_EXPERTS = _DEBUG.model_copy(update={"experts": _EIGHT})
_LAPTOP = TrainSettings(steps=1500, global_batch=64, save_every=500, eval_every=500, log_every=20)
_QUICK = OptimizerSettings(
    lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01, warmup_steps=50, clip_norm=1.0
)

PRESETS = {
    **{n: M6Preset(model=m, train=TRAIN, optimizer=o) for n, (m, o) in _SIZES.items()},
    "base-drawing": M6Preset(model=_DRAWING, train=TRAIN, optimizer=ADAMW, after="base"),
    "debug": M6Preset(model=_DEBUG, train=_LAPTOP, optimizer=_QUICK),
    "debug-experts": M6Preset(model=_DEBUG_EXPERTS, train=_LAPTOP, optimizer=_QUICK),
}
