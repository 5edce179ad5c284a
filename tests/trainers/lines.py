"""The smallest task: a slope that turns numbers into others, whose squares are the loss. Runs of it
cost little more than the engine itself."""

import io
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import nn

from septet.preprocess.shards.reader import Corpus
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.run import Run
from septet.trainers.settings.base import Settings
from septet.trainers.task import Batch, Stream, SubBatch, Task

ROWS = 4


class LineSettings(Settings):
    """Where it begins."""

    slope: float = 2.0


class Line(Task):
    """See above; a row counts as three tokens."""

    def __init__(self, settings: LineSettings | None = None):
        self.settings = settings
        self.streams = {"numbers": Stream(("txt",), tokens=3)}
        self.loss_weights = {"square": 0.5}

    def plan(self, seed, step):
        return [SubBatch.of("numbers", ROWS)]

    def read(self, stream, sample, draw):
        return {"number": np.float32(sample["txt"])}

    def build(self):
        line = nn.Linear(1, 1, bias=False)
        nn.init.constant_(line.weight, (self.settings or LineSettings()).slope)
        return line

    def blocks(self, module):
        return []

    def example(self, kind, rows):
        return Batch(kind, {"number": torch.zeros(rows)})

    def counts(self, batch):
        return {"square": len(batch)}

    def forward(self, module, batch):
        return {"told": module(batch.data["number"][:, None])[:, 0]}

    def losses(self, outputs, batch):
        return {"square": outputs["told"].square().sum()}


TRAIN = TrainSettings(steps=2, global_batch=ROWS, log_every=1, workers=0)
OPTIMIZER = OptimizerSettings(lr=1e-3, warmup_steps=0)


def line_run(corpus: Corpus, out: Path | str, task: Task | None = None, **more) -> Run:
    """A run of two steps."""
    task = task or Line(LineSettings())
    return Run(task, TRAIN, OPTIMIZER, {"numbers": [(corpus, 1.0)]}, str(out), **more)


def listening() -> tuple[Console, io.StringIO]:
    """A console, and what was said there."""
    said = io.StringIO()
    return Console(file=said, width=1000), said
