"""ERNIE-ViL's sizes and recipes.

`base` and `large` are the published models and recipe (paper, section 4.1 and the released
configurations): batches of 512 pairs, 700,000 steps, Adam at 1e-4 with Noam's decay, on 8 V100; the
text stream starts from ERNIE 2.0:

    torchrun --nproc-per-node 8 -m septet train ernie_vil corpora/cc@3.0 corpora/sbu@0.8 \\
        --preset base --set model.vocabulary=vocab.txt --initial ernie-2.0-base-en/params

Corpora need the columns `regions`, with class distributions, and `scene-graphs`.

`debug` trains on a laptop's CPU; see the README for the corpus.
"""

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.ernie_vil.settings import ErnieVilSettings, TowerSettings
from septet.trainers.ernie_vil.task import ErnieVilTask
from septet.trainers.settings.preset import Preset


class ErnieVilPreset(Preset):
    """All settings of a run."""

    model: ErnieVilSettings

    def task(self) -> ErnieVilTask:
        """The task of these settings.

        Raises:
            ValueError: an odd number of rows.
        """
        self.require_even_batches("rows take their neighbours' images")
        return ErnieVilTask(self.model, self.train.global_batch)


PAPER = TrainSettings(
    steps=700_000,
    global_batch=512,
    precision="bf16",
    compile=True,
    workers=8,
    save_every=5000,
    eval_every=20_000,
    log_every=100,
    max_bad_samples=0.001,
)
ADAMW = OptimizerSettings(
    lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, warmup_steps=10_000,
    schedule="inverse_sqrt", clip_norm=1.0,
)  # fmt: skip

PRESETS = {
    "base": ErnieVilPreset(model=ErnieVilSettings(), train=PAPER, optimizer=ADAMW),
    "large": ErnieVilPreset(
        model=ErnieVilSettings(
            text=TowerSettings(width=1024, layers=24, heads=16, inner=4096),
            image=TowerSettings(width=1024, layers=6, heads=16, inner=4096),
            co_heads=16, text_places=(18, 19, 20, 21, 22, 23),
        ),
        train=PAPER,
        optimizer=ADAMW,
    ),
    "debug": ErnieVilPreset(
        model=ErnieVilSettings(
            text=TowerSettings(width=96, layers=3, heads=4, inner=384),
            image=TowerSettings(width=96, layers=2, heads=4, inner=384),
            co_width=96, co_heads=4, text_places=(1, 2), image_places=(0, 1), words=256,
            positions=40, vocabulary="scenes", text_tokens=24, most_regions=4, dropout=0.0,
            mismatched=0.3, masked_nodes=0.5, initial_std=0.1,
        ),
        train=TrainSettings(
            steps=2000, global_batch=64, save_every=250, eval_every=250, log_every=20
        ),
        optimizer=OptimizerSettings(
            lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.01, warmup_steps=40, clip_norm=1.0
        ),
    ),
}  # fmt: skip
