"""Settings of every run, whatever the model."""

from typing import Literal

from pydantic import Field, model_validator

from septet.trainers.settings.base import Settings


class OptimizerSettings(Settings):
    """The optimizer, its schedule and clipping."""

    kind: Literal["adamw", "adafactor"] = "adamw"
    """Adafactor keeps means of rows and columns in place of two moments, of small matrices one
    moment; of the settings below it has no use for `betas` and `eps`."""
    lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.2
    warmup_steps: int = Field(default=2000, ge=0)
    """Steps of linear rise from zero."""
    schedule: Literal["cosine", "linear", "polynomial", "constant", "inverse_sqrt"] = "cosine"
    """From the end of warm-up to the last step, down to `final_lr_ratio`. `inverse_sqrt` (Noam's)
    falls with the root of the step instead, from `lr` at the end of warm-up."""
    power: float = 1.0
    """Of the polynomial schedule."""
    final_lr_ratio: float = Field(default=0.0, ge=0, le=1)
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the whole gradient; null does not clip."""
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """Factor on the learning rate for each layer further from the output; null for none."""


class TrainSettings(Settings):
    """Everything of a run that is neither the model nor the optimizer."""

    steps: int = Field(gt=0)
    global_batch: int = Field(gt=0)
    """Samples of a step, over all ranks and micro-batches."""
    micro_batch: int | None = Field(default=None, gt=0)
    """Samples a rank runs forward at once; null for all of its share."""
    seed: int = Field(default=0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    shard: int = Field(default=1, ge=1)
    """Ranks that share one copy of the parameters (FSDP2); 1 replicates them (DDP)."""
    expert_parallel: int = Field(default=1, ge=1)
    """Ranks that hold the experts of a mixture together, each a part of them; 1 leaves all experts
    to each rank, replicated or sharded like the rest."""
    compile: bool = False
    activation_checkpointing: bool = False
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of the running mean of the weights; null for none."""
    workers: int = Field(default=2, ge=0)
    """Threads that read and decode; 0 decodes in the loop."""
    prefetch: int = Field(default=2, ge=1)
    """Steps that are decoded ahead."""
    cache: str | None = None
    """A local folder for blocks of remote corpora, shared by a machine's ranks and by runs."""
    cache_bytes: int = Field(default=64 * 2**30, gt=0)
    """Most that it holds; a shuffle window should fit."""
    readahead: int = Field(default=16, ge=0)
    """Further steps of which the cache fetches bytes ahead."""
    shuffle_window: int = Field(default=2**17, gt=0)
    """Samples that are shuffled together; shards are always shuffled. See `loader.order`."""
    max_bad_samples: float = Field(default=0.01, ge=0, lt=1)
    """Largest share, of the samples that a process has read since it started, that may be unusable
    before the run stops. Ten are forgiven in any case, but not at 0."""
    complete_only: bool = False
    """Leave out samples that lack a value in a column that the model could do without, too."""
    tombstones: str | None = None
    """A file of keys, one a line, of samples that must not be used: others take their places. It
    may change while a run is under way."""
    log_every: int = Field(default=10, gt=0)
    save_every: int = Field(default=1000, gt=0)
    keep: int = Field(default=3, gt=0)
    """Newest checkpoints that stay."""
    damaged: Literal["use_older", "refuse"] = "use_older"
    """What a start does where the newest checkpoint is damaged; either way it is named."""
    async_save: bool = False
    """Write checkpoints in the background while training goes on."""
    eval_every: int = Field(default=1000, gt=0)

    @model_validator(mode="after")
    def _whole_batches(self) -> "TrainSettings":
        if self.micro_batch is not None and self.global_batch % self.micro_batch:
            raise ValueError(
                f"global_batch {self.global_batch} is no multiple of micro_batch {self.micro_batch}"
            )
        return self
