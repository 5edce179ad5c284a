"""A small model with experts, and its task: which byte of a text follows another."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.nets.experts import Experts
from septet.trainers.nets.layers import LayerNorm
from septet.trainers.nets.routing import ExpertSettings, ExpertSums
from septet.trainers.settings.base import Settings
from septet.trainers.settings.preset import Preset
from septet.trainers.task import Batch, Lengths, Stream, SubBatch, Task

WORDS, LENGTH = 64, 12


class SmallSettings(Settings):
    width: int = 16
    layers: int = 2
    experts: ExpertSettings = ExpertSettings(experts=4, inner=8, group_rows=2, std=0.5, balance=0.1)
    idle: bool = False
    """Whether no token ever chooses the second expert."""


class SmallPreset(Preset):
    model: SmallSettings = SmallSettings()
    train: TrainSettings = TrainSettings(
        steps=8, global_batch=16, log_every=1, save_every=2, workers=0
    )
    optimizer: OptimizerSettings = OptimizerSettings(lr=1e-2, eps=1e-3, warmup_steps=0)

    def task(self) -> "SmallTask":
        return SmallTask(self.model, self.train.global_batch)


class Block(nn.Module):
    def __init__(self, s: SmallSettings):
        super().__init__()
        self.norm, self.mix = LayerNorm(s.width), nn.Linear(s.width, s.width)
        self.experts = Experts(s.width, s.experts)
        if s.idle:
            nn.init.constant_(self.norm.bias, 3.0)
            with torch.no_grad():
                self.experts.router[1].fill_(-2.0)

    def forward(self, x: Tensor, real: Tensor) -> tuple[Tensor, ExpertSums]:
        y, sums = self.experts(self.norm(x), real)
        return x + self.mix(x) + y, sums


class Small(nn.Module):
    def __init__(self, s: SmallSettings):
        super().__init__()
        self.words = nn.Embedding(WORDS, s.width)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.head = nn.Linear(s.width, WORDS)

    def forward(self, ids: Tensor) -> tuple[Tensor, ExpertSums]:
        x, added = self.words(ids), None
        for block in self.blocks:
            x, sums = block(x, ids != 0)
            added = sums if added is None else added.plus(sums)
        return self.head(x), added


class SmallTask(Task):
    def __init__(self, settings: SmallSettings, rows: int):
        self.settings, self.rows = settings, rows
        lengths = {"ids": Lengths((4, 8, LENGTH))}
        together = settings.experts.group_rows
        self.streams = {"texts": Stream(("txt",), lengths=lengths, together=together)}
        self.loss_weights: Mapping[str, float] = {
            "tokens": 1.0, "balance": settings.experts.balance, "variation": 0.0, "overflow": 0.0,
        }  # fmt: skip

    def plan(self, seed, step):
        return [SubBatch.of("texts", self.rows)]

    def read(self, stream, sample, draw):
        found = np.frombuffer(sample["txt"], np.uint8).astype(np.int64)
        return {"ids": found[: 1 + found.sum() % LENGTH] % (WORDS - 1) + 1}

    def build(self):
        return Small(self.settings)

    def blocks(self, module):
        return list(module.blocks)

    def example(self, kind, rows):
        return Batch(kind, {"ids": torch.zeros(rows, LENGTH, dtype=torch.int64)})

    def counts(self, batch):
        real = batch.data["ids"] != 0
        routed = real.sum() * self.settings.layers
        return {"tokens": real[:, 1:].sum()} | dict.fromkeys(ExpertSums._fields, routed)

    def forward(self, module, batch):
        logits, sums = module(batch.data["ids"])
        return {"logits": logits, **sums._asdict()}

    def losses(self, outputs, batch):
        after = batch.data["ids"][:, 1:]
        each = F.cross_entropy(
            outputs["logits"][:, :-1].flatten(0, 1).float(), after.flatten(), reduction="none"
        )
        sums = {name: outputs[name] for name in ExpertSums._fields}
        return {"tokens": (each * (after.flatten() != 0)).sum(), **sums}
