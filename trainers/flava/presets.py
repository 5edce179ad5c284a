"""FLAVA's sizes and recipes.

`base` is the published model and recipe (paper, sections 3.3 to 3.5, appendices A and B.1):
batches of 8,192, each of one kind, 0.70 pairs, 0.15 images alone, 0.15 texts alone; 214,000
steps, which come to 150,000 of pairs. Both encoders start from unimodal training:

    torchrun --nproc-per-node 8 -m septet train flava corpora/pairs images=corpora/imagenet \\
        texts=corpora/news --preset base --set model.vocabulary=vocab.txt \\
        --set train.micro_batch=128 --initial dino_vitbase16_pretrain.pth \\
        --initial text/model.safetensors

The paper does not say which hardware it took or how long; `--dry-run --ranks N` reckons it.
`text` is the paper's first stage, the text encoder alone (125,000 steps of 2,048 texts):
`septet train flava texts=corpora/news --preset text --set model.vocabulary=vocab.txt`, then
`septet export runs/flava-text text`.
`900m` to `10b` are torchmultimodal's scaling sizes with the recipe of `base`, which publishes no
recipe for them; set `train.shard` and `train.activation_checkpointing`.

`debug` trains on a laptop's CPU and needs no other file: `septet train flava CORPUS --preset
debug`, about 220 samples a second on one core: within a minute (200 steps) the contrastive loss
falls from ln(64) = 4.16 to about 2.3 on scenes and masked words and patches are well predicted; in
four minutes (all 800) it comes to 0.5, and matching, which begins to be learnt at step 430, to 74 %
right. Its codes are patches' mean colours, its vocabulary the words of scenes' captions.
"""

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.flava.settings import EncoderSettings, FlavaSettings, Shares
from septet.trainers.flava.task import FlavaTask
from septet.trainers.settings.preset import Preset


class FlavaPreset(Preset):
    """All settings of a run."""

    model: FlavaSettings

    def task(self) -> FlavaTask:
        """The task of these settings.

        Raises:
            ValueError: an odd number of rows.
        """
        self.require_even_batches("pairs exchange texts with their neighbours")
        return FlavaTask(self.model, self.train.global_batch)


PAPER = TrainSettings(
    steps=214_000,
    global_batch=8192,
    precision="bf16",
    compile=True,
    workers=16,
    save_every=2000,
    eval_every=8000,
    log_every=50,
    max_bad_samples=0.001,
)
ADAMW = OptimizerSettings(
    lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, warmup_steps=10_000
)


def _scaled(layers: int, fusion_layers: int, width: int, inner: int) -> FlavaPreset:
    sizes = {"width": width, "heads": 16, "inner": inner}
    one = EncoderSettings(layers=layers, **sizes)
    fusion = EncoderSettings(layers=fusion_layers, **sizes)
    return FlavaPreset(
        model=FlavaSettings(image=one, text=one, fusion=fusion), train=PAPER, optimizer=ADAMW
    )


_SMALL = EncoderSettings(width=96, layers=2, heads=4, inner=384)

PRESETS = {
    "base": FlavaPreset(model=FlavaSettings(), train=PAPER, optimizer=ADAMW),
    "text": FlavaPreset(
        model=FlavaSettings(shares=Shares(pairs=0, images=0, texts=1)),
        train=PAPER.model_copy(update={"steps": 125_000, "global_batch": 2048}),
        optimizer=OptimizerSettings(
            lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, warmup_steps=24_000,
            schedule="linear",
        ),
    ),
    "900m": _scaled(24, 12, 1024, 4096),
    "1.8b": _scaled(32, 16, 1280, 5120),
    "2.7b": _scaled(40, 20, 1408, 6144),
    "4.8b": _scaled(48, 24, 1664, 8192),
    "10b": _scaled(64, 40, 2048, 10_240),
    "debug": FlavaPreset(
        model=FlavaSettings(
            image=_SMALL, text=_SMALL, fusion=_SMALL, embed=64, image_size=64, codes=512,
            words=256, positions=32, vocabulary="scenes", pair_tokens=24, text_tokens=24,
            column=None, tokenizer="colours", masked_patches=6, least_block=2, mismatched=0.3,
            initial_std=0.1,
        ),
        train=TrainSettings(
            steps=800, global_batch=64, save_every=100, eval_every=200, log_every=20
        ),
        optimizer=OptimizerSettings(
            lr=3e-3, betas=(0.9, 0.98), weight_decay=0.1, warmup_steps=40, clip_norm=1.0
        ),
    ),
}  # fmt: skip
