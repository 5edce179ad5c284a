from pathlib import Path
from typing import Any

import pytest
import torch

from septet.preprocess.shards.reader import Corpus
from septet.trainers.clip.presets import PRESETS, ClipPreset
from septet.trainers.engine.loop import Run, fit
from septet.trainers.engine.world import world
from septet.trainers.settings.overrides import override
from tests.trainers.corpora import scenes_corpus


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    # Small matrices gain nothing from more, and tests share their cores.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    return scenes_corpus(tmp_path_factory.mktemp("scenes"), seed=1, count=3000)


@pytest.fixture(scope="session")
def held_out(tmp_path_factory) -> Path:
    return scenes_corpus(tmp_path_factory.mktemp("held"), seed=1, count=256, first=10**6)


TINY = [
    "model.layers=1", "model.width=64", "model.embed=32", "model.text_layers=1",
    "model.vocabulary=49408", "train.global_batch=16", "train.log_every=1", "train.save_every=4",
    "train.steps=8", "optimizer.warmup_steps=2",
]  # fmt: skip
"""Changes that make the debug preset run several steps a second."""


def settings(*changes: str) -> ClipPreset:
    return override(PRESETS["debug"], [*TINY, *changes])


def run_of(preset: Any, corpus: Path, out: Path | str, **more: Any) -> Run:
    """A run of which all streams read the corpus."""
    task = preset.task()
    return Run(
        task=task,
        train=preset.train,
        optimizer=preset.optimizer,
        corpora={stream: [(Corpus(str(corpus)), 1.0)] for stream in task.streams},
        out=str(out),
        **more,
    )


def train(
    preset: Any,
    corpus: Path,
    out: Path,
    held_out: Path | None = None,
    **more: Any,
) -> int:
    """Train on one corpus."""
    held = {"": Corpus(str(held_out))} if held_out else {}
    return fit_alone(run_of(preset, corpus, out, held_out=held, **more))


def fit_alone(run: Run) -> int:
    """Train with the ranks that this process is one of."""
    with world() as ranks:
        return fit(run, ranks)
