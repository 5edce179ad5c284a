"""PaLI's sizes and recipes.

`3b`, `15b` and `17b` are the paper's (sections 3.1 and 3.4, appendix A.2): one pass over 1.566
billion examples in batches of 4,096, the ViT frozen. Their ViTs were never published, so start with
`public`, SigLIP So400m/14 and mT5-Large:

    torchrun --nproc-per-node 8 -m septet train pali corpora/webli --preset public \\
        --set model.vocabulary=spiece.model --initial mt5-large/model.safetensors \\
        --initial siglip-so400m-patch14-224/model.safetensors --set train.shard=8

`1.5b` is the small model of the paper's ablations, `5b` the remaining pair of halves. `17b-high`
and `public-high` are the second stage, at 588 pixels and with everything trained: from the first
stage's weights, whose positions are resized.

    torchrun … -m septet train pali … --preset public-high --initial stage1/pali.safetensors

`debug` trains on a laptop's CPU and needs no other file: `septet train pali CORPUS --preset debug`
on scenes with the columns `boxes`, `questions` and `ocr`.
"""

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.nets.t5 import T5Settings
from septet.trainers.pali.settings import PAPER_MIXTURE, PaliSettings, VitSettings
from septet.trainers.pali.task import PaliTask
from septet.trainers.settings.preset import Preset


class PaliPreset(Preset):
    """All settings of a run."""

    model: PaliSettings

    def task(self) -> PaliTask:
        """The task of these settings.

        Raises:
            ValueError: rows of texts are no multiple of the settings'.
        """
        task = PaliTask(self.model, self.train.global_batch)
        if len(task.kinds) > 1 and self.train.global_batch % self.model.text_rows:
            raise ValueError(
                f"train.global_batch {self.train.global_batch} is no multiple of model.text_rows "
                f"{self.model.text_rows}, the rows of a forward pass of texts: change one"
            )
        return task


_LARGE = T5Settings()
_XXL = T5Settings(width=4096, inner=10_240, heads=64)
_VIT_L = VitSettings(width=1024, inner=4096, layers=24)
_VIT_G = VitSettings(width=1664, inner=8192, layers=48)
_VIT_E = VitSettings(width=1792, inner=15_360, layers=56)

SIZES = {
    "public": PaliSettings(text_rows=512),
    "1.5b": PaliSettings(vision=_VIT_L, language=_LARGE, text_rows=512),
    "3b": PaliSettings(vision=_VIT_G, language=_LARGE, text_rows=512),
    "5b": PaliSettings(vision=_VIT_E, language=_LARGE, text_rows=512),
    "15b": PaliSettings(vision=_VIT_G, language=_XXL, text_rows=512),
    "17b": PaliSettings(vision=_VIT_E, language=_XXL, text_rows=512),
}

EXAMPLES = round(sum(PAPER_MIXTURE.values()) * 1_000_000)
"""Of the first stage, each seen once."""

FIRST_STAGE = TrainSettings(
    steps=EXAMPLES // 4096, global_batch=4096, precision="bf16", compile=True,
    activation_checkpointing=True, workers=16, save_every=2000, eval_every=10_000, log_every=50,
    max_bad_samples=0.001,
)  # fmt: skip
SECOND_STAGE = FIRST_STAGE.model_copy(
    update={"steps": 10_000, "global_batch": 1024, "save_every": 1000, "eval_every": 2500}
)

_HIGH_MIXTURE = {"ocr": 2.0, "caption": 2.0, "vqa": 1.0, "vqg": 1.0}
"""OCR, captioning and question answering equally (paper, section 3.4); the last has two tasks."""


def adafactor(rate: float) -> OptimizerSettings:
    """T5's: no momentum, rates relative to parameters' root mean squares, no decay or clipping of
    the whole gradient; the rate falls with the root of the step."""
    return OptimizerSettings(
        kind="adafactor", lr=rate, warmup_steps=1000, schedule="inverse_sqrt", weight_decay=0.0
    )


def high(s: PaliSettings) -> PaliSettings:
    """The second stage's settings of a size."""
    vision = s.vision.model_copy(update={"image_size": 588})
    return s.model_copy(
        update={"vision": vision, "frozen": "nothing", "mixture": _HIGH_MIXTURE,
                "prompt_tokens": 128, "answer_tokens": 256, "ocr_tokens": 256}
    )  # fmt: skip


def _second(name: str, rate: float) -> PaliPreset:
    # The curve goes on where the first stage left it: its last rate, falling as if no step began
    # anew; over 10,000 steps that is close to constant.
    last = rate * (1000 / FIRST_STAGE.steps) ** 0.5
    optimizer = adafactor(last).model_copy(update={"warmup_steps": 0, "schedule": "constant"})
    return PaliPreset(model=high(SIZES[name]), train=SECOND_STAGE, optimizer=optimizer, after=name)


_RATES = {"15b": 5e-3, "17b": 5e-3}
"""Peaks; 1e-2 for smaller ones."""

_DEBUG = PaliSettings(
    vision=VitSettings(width=96, inner=256, heads=4, layers=1, image_size=64, patch=8),
    language=T5Settings(width=96, inner=192, heads=4, head_width=24, layers=1, words=768),
    frozen="nothing", vocabulary="scenes", prompt_tokens=96, answer_tokens=48, ocr_tokens=16,
    detect_tokens=96, span_tokens=32, span_texts=1, most_absent=2, text_rows=16,
    # A sign is two tokens, and a box's digits say more than all else: at a share like the others'
    # signs are not read within 2,000 steps, nor boxes found.
    mixture=dict.fromkeys(PAPER_MIXTURE, 1.0) | {"ocr": 4.0, "detect": 3.0},
)  # fmt: skip

PRESETS = {
    **{
        name: PaliPreset(model=s, train=FIRST_STAGE, optimizer=adafactor(_RATES.get(name, 1e-2)))
        for name, s in SIZES.items()
    },
    "17b-high": _second("17b", 5e-3),
    "public-high": _second("public", 1e-2),
    "debug": PaliPreset(
        model=_DEBUG,
        train=TrainSettings(
            steps=2000, global_batch=64, save_every=200, eval_every=500, log_every=20
        ),
        # Relative to each parameter, as T5's initial values want it: words begin at 1, queries at
        # 0.02, and one rate for both leaves the image unread (README, "Learning").
        optimizer=adafactor(3e-2).model_copy(
            update={"warmup_steps": 50, "schedule": "linear", "clip_norm": 1.0}
        ),
    ),
}
