"""M6's sizes and recipes.

`base` and `10b` are the paper's dense models. What it leaves open of the recipe is fixed here:
AdamW 2e-4 (`base`) or 1e-4, 10,000 steps of warm-up, linear decay over 500,000 steps of 2,048 rows.

    torchrun --nproc-per-node 8 -m septet train m6 corpora/pairs denoising=corpora/texts \\
        language_modelling=corpora/texts --preset base --set model.vocabulary=vocab.txt \\
        --set train.micro_batch=64

An image's features come from the column `patches`, made beforehand; `online` has the ResNet-50 in
the graph instead (`--initial resnet50.pth`). `base-drawing` goes on from `base` and draws: 8,192
image codes follow the words in the table.

`debug` trains on a laptop's CPU on scenes with Chinese captions, a small ResNet in its graph, and
pieces' mean colours for codes.
"""

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.m6.settings import TASKS, M6Settings
from septet.trainers.m6.task import M6Task
from septet.trainers.settings.preset import Preset


class M6Preset(Preset):
    """All settings of a run."""

    model: M6Settings

    def task(self) -> M6Task:
        """The task of these settings."""
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

_RESNET_50 = (3, 4, 6, 3)

BASE = M6Settings()
_SIZES = {
    "base": (BASE, ADAMW),
    "10b": (M6Settings(width=4096, inner=16_384, heads=128, layers=50), _LOWER),
    "online": (BASE.model_copy(update={"stages": _RESNET_50}), ADAMW),
}

_DRAWING = BASE.model_copy(update={"codes": 8192, "mixture": {**TASKS, "drawing": 1.0}})

_DEBUG = M6Settings(
    width=96, inner=256, heads=4, layers=3, words=512, codes=512, positions=96, features=256,
    stages=(1, 1, 1), stem=16, batch_norm="batch", image_size=64, dropout=0.0, initial_std=0.1,
    mixture=dict.fromkeys(TASKS, 1.0), vocabulary="scenes-zh", text_tokens=63, hidden_tokens=63,
    codes_column=None, code_grid=4,
)  # fmt: skip
_LAPTOP = TrainSettings(steps=1500, global_batch=64, save_every=500, eval_every=500, log_every=20)
_QUICK = OptimizerSettings(
    lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01, warmup_steps=50, clip_norm=1.0
)

PRESETS = {
    **{n: M6Preset(model=m, train=TRAIN, optimizer=o) for n, (m, o) in _SIZES.items()},
    "base-drawing": M6Preset(model=_DRAWING, train=TRAIN, optimizer=ADAMW, after="base"),
    "debug": M6Preset(model=_DEBUG, train=_LAPTOP, optimizer=_QUICK),
}
