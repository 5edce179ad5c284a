"""Whole short runs on scenes, alone and on two sharded ranks."""

from pathlib import Path

import pytest

from septet.trainers.pali.presets import PRESETS, PaliPreset
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import train
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same, stop_after

TINY = [
    "model.vision.width=24", "model.vision.inner=32", "model.vision.patch=16",
    "model.vision.layers=1", "model.language.width=32", "model.language.inner=48",
    "model.language.heads=2", "model.language.layers=1", "model.text_rows=8", "model.span_texts=3",
    "train.global_batch=16", "train.steps=4", "train.save_every=2", "train.log_every=1",
    "optimizer.warmup_steps=2", "optimizer.kind=adafactor", "optimizer.lr=1e-2",
]  # fmt: skip


def preset(*changes: str) -> PaliPreset:
    return override(PRESETS["debug"], [*TINY, *changes])


def run(corpus: Path, out: Path, *changes: str) -> int:
    return train(preset(*changes), corpus, out)


@pytest.mark.slow
def test_two_sharded_ranks_run_as_one_and_a_stopped_run_goes_on_to_the_bit(small, tmp_path):
    assert run(small, tmp_path / "alone") == 0
    changes = ("train.shard=2", "train.micro_batch=4")
    assert run_ranks(2, run, small, tmp_path / "ranks", *changes) == [0, 0]
    for name in ("loss", "loss/tokens", "loss/z", "gradient_norm"):
        mine, theirs = (figures(tmp_path / out, name) for out in ("ranks", "alone"))
        assert len(theirs) == 4 and mine == pytest.approx(theirs, rel=2e-5), name
    stop_after(3, preset(), small, tmp_path / "cut")
    assert run(small, tmp_path / "cut") == 0
    assert figures(tmp_path / "alone") == figures(tmp_path / "cut")
    assert same(tmp_path / "alone", tmp_path / "cut")
