"""OFA's sizes and recipes.

The five sizes are those of the released checkpoints, `tiny`, `medium`, `base`, `large` and `huge`,
with the paper's recipe (section 3.4 and appendix A): 300,000 steps of 2,048 pairs, 512 texts, 256
images to fill in and 256 to find objects in, AdamW 2e-4, linear decay.

    torchrun --nproc-per-node 8 -m septet train ofa corpora/pairs images=corpora/openimages \\
        texts=corpora/pile detection=corpora/objects365 --preset base \\
        --set model.vocabulary=ofa --set train.micro_batch=32 --initial bart.base/model.pt \\
        --initial resnet101.pth

`large-480` and `huge-480` are their second stage: larger images, all of their tokens, 150,000 steps
at 5e-5, from the weights of the first.

`debug` trains on a laptop's CPU on scenes with their columns (`trainers/ofa/README.md`): its codes
are patches' mean colours, its vocabulary pieces of scenes' captions.
"""

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.ofa.settings import OfaSettings, Shares
from septet.trainers.ofa.task import OfaTask
from septet.trainers.settings.preset import Preset


class OfaPreset(Preset):
    """All settings of a run. `train.global_batch` is the number of rows of pairs; others come
    beside them."""

    model: OfaSettings

    def task(self) -> OfaTask:
        """The task of these settings.

        Raises:
            ValueError: rows of pairs that are no multiple of `model.plain_rows`.
        """
        each, rows = self.model.plain_rows, self.train.global_batch
        if each and rows % each:
            raise ValueError(
                f"one of {each} rows of pairs brings others (model.plain_rows), so "
                f"train.global_batch must be a multiple of it; found {rows}"
            )
        return OfaTask(self.model, rows)


PAPER = TrainSettings(
    steps=300_000,
    global_batch=2048,
    precision="bf16",
    compile=True,
    workers=16,
    save_every=5000,
    eval_every=20_000,
    log_every=50,
    max_bad_samples=0.001,
)
ADAMW = OptimizerSettings(
    lr=2e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, warmup_steps=3000, clip_norm=5.0,
    schedule="linear",
)  # fmt: skip

_LARGER = PAPER.model_copy(update={"steps": 150_000})
_FINE = ADAMW.model_copy(update={"lr": 5e-5, "warmup_steps": 1500})

_R50, _R101, _R152 = (3, 4, 6), (3, 4, 23), (3, 8, 36)
_SIZES = {
    "tiny": OfaSettings(
        width=256, inner=1024, heads=4, encoder_layers=4, decoder_layers=4, stages=_R50,
        image_size=256,
    ),
    "medium": OfaSettings(
        width=512, inner=2048, heads=8, encoder_layers=4, decoder_layers=4, stages=_R101,
        image_size=256,
    ),
    "base": OfaSettings(),
    "large": OfaSettings(
        width=1024, inner=4096, heads=16, encoder_layers=12, decoder_layers=12, stages=_R152,
    ),
    "huge": OfaSettings(
        width=1280, inner=5120, heads=16, encoder_layers=24, decoder_layers=12, stages=_R152,
        image_size=256,
    ),
}  # fmt: skip
_SECOND = {"image_size": 480, "patches": None}

_DEBUG = OfaSettings(
    width=64, inner=192, heads=4, encoder_layers=2, decoder_layers=2, stages=(1, 1, 1), stem=16,
    image_size=64, plain_size=64, words=512, codes=512, bins=64, binned=64, largest=64,
    source_positions=128, target_positions=128, code_grid=4, dropout=0.0, drop_path=0.0,
    plain_rows=4, initial_std=0.1, patches=None, vocabulary="scenes", source_words=30,
    target_words=30,
    target_tokens=48, text_tokens=48, codes_column=None, objects_column=None, augmentations=0,
    shares=Shares(captions=1, questions=1, regions=1),
)  # fmt: skip
_LAPTOP = TrainSettings(steps=1200, global_batch=32, save_every=200, eval_every=400, log_every=20)
_QUICK = OptimizerSettings(
    lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01, warmup_steps=30, clip_norm=5.0
)

PRESETS = {
    **{n: OfaPreset(model=m, train=PAPER, optimizer=ADAMW) for n, m in _SIZES.items()},
    **{
        f"{n}-480": OfaPreset(
            model=_SIZES[n].model_copy(update=_SECOND), train=_LARGER, optimizer=_FINE, after=n
        )
        for n in ("large", "huge")
    },
    "debug": OfaPreset(model=_DEBUG, train=_LAPTOP, optimizer=_QUICK),
}
