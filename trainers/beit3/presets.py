"""BEiT-3's sizes and recipes.

`giant` is the paper's model and recipe (sections 2.1 to 2.3, table 11): a million steps of 2,048
images, 2,048 texts and 2,048 pairs.

    torchrun --nproc-per-node 8 -m septet train beit3 corpora/pairs images=corpora/imagenet21k \\
        texts=corpora/news --preset giant --set model.vocabulary=beit3.spm \\
        --set train.micro_batch=64 --set train.shard=8

The paper does not say which hardware it took or how long; `--dry-run --ranks N` reckons it.
`base` and `large` are the sizes that were released, with the giant's recipe: their own was not
published. `base-itc`, `large-itc` and `giant-itc` are the image-text contrastive stage after it
(appendix B): five epochs of the paper's 21 million pairs in batches of 16,384:

    torchrun --nproc-per-node 8 -m septet train beit3 corpora/pairs --preset base-itc \\
        --set model.vocabulary=beit3.spm --initial beit3_base_patch16_224.pth

`debug` (the paper's architecture), `debug-released` and `debug-itc` train on a laptop's CPU and
need no other file: `septet train beit3 CORPUS --preset debug`. The codes are patches' mean colours,
the vocabulary the words of scenes' captions. `debug`, about 430 samples a second on one core, takes
six minutes; what it comes to is in the README.
"""

from septet.trainers.beit3.samples import PREDICTED
from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.beit3.task import Beit3Task
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.settings.preset import Preset


class Beit3Preset(Preset):
    """All settings of a run."""

    model: Beit3Settings

    def task(self) -> Beit3Task:
        """The task of these settings.

        Raises:
            ValueError: a batch that does not have as many rows of each kind.
        """
        rows = self.train.global_batch
        if self.model.stage == "masked" and rows % len(PREDICTED):
            raise ValueError(
                "a step has as many images as texts as pairs, so train.global_batch must be a "
                f"multiple of {len(PREDICTED)}; found {rows}"
            )
        return Beit3Task(self.model, rows)


PAPER = TrainSettings(
    steps=1_000_000,
    global_batch=6144,
    precision="bf16",
    compile=True,
    workers=16,
    save_every=5000,
    eval_every=20_000,
    log_every=50,
    max_bad_samples=0.001,
)
ADAMW = OptimizerSettings(
    lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.05, warmup_steps=10_000, clip_norm=3.0
)

_EPOCH = 21_000_000 // 16_384
_CONTRASTIVE = PAPER.model_copy(
    update={"steps": 5 * _EPOCH, "global_batch": 16_384, "save_every": _EPOCH, "eval_every": _EPOCH}
)
_FINE = OptimizerSettings(
    lr=3e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, warmup_steps=_EPOCH, layer_decay=0.95
)


def _contrastive(model: Beit3Settings, drop_path: float) -> Beit3Settings:
    return model.model_copy(update={"stage": "contrastive", "drop_path": drop_path})


_SIZES = {
    "base": Beit3Settings(),
    "large": Beit3Settings(width=1024, layers=24, heads=16, inner=4096),
    "giant": Beit3Settings(
        width=1408, layers=40, heads=16, inner=6144, patch=14, attention="shared", sub_norm=False,
        fusion_layers=3, masked_patches=102,
    ),
}  # fmt: skip

_DEBUG = Beit3Settings(
    width=96, layers=2, heads=4, inner=384, image_size=64, patch=16, codes=512, words=256,
    text_positions=34, drop_path=0.0, vocabulary="scenes", pair_tokens=24, text_tokens=24,
    column=None, tokenizer="colours", masked_patches=6, least_block=2, crop=(0.9, 1.0), jitter=0.0,
    attention="shared", sub_norm=False, fusion_layers=1,
)  # fmt: skip
_RELEASED = {"attention": "decoupled", "sub_norm": True, "fusion_layers": 0}
_LAPTOP = TrainSettings(steps=1600, global_batch=96, save_every=200, eval_every=400, log_every=20)
_QUICK = OptimizerSettings(
    lr=3e-3, betas=(0.9, 0.98), weight_decay=0.05, warmup_steps=40, clip_norm=3.0
)

PRESETS = {
    **{n: Beit3Preset(model=m, train=PAPER, optimizer=ADAMW) for n, m in _SIZES.items()},
    **{
        f"{n}-itc": Beit3Preset(
            model=_contrastive(m, 0.3), train=_CONTRASTIVE, optimizer=_FINE, after=n
        )
        for n, m in _SIZES.items()
    },
    "debug": Beit3Preset(model=_DEBUG, train=_LAPTOP, optimizer=_QUICK),
    "debug-released": Beit3Preset(
        model=_DEBUG.model_copy(update=_RELEASED), train=_LAPTOP, optimizer=_QUICK
    ),
    "debug-itc": Beit3Preset(
        model=_contrastive(_DEBUG, 0.0),
        train=_LAPTOP.model_copy(update={"steps": 400, "global_batch": 64, "save_every": 100}),
        optimizer=_QUICK.model_copy(update={"lr": 5e-4}),
    ),
}
