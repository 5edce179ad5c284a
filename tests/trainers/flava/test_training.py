import random
from pathlib import Path

import pytest

from tests.trainers.conftest import train
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same, stop_after, weights
from tests.trainers.test_distributed import assert_equal_up_to_rounding
from trainers.flava.presets import PRESETS, FlavaPreset
from trainers.settings import override

pytestmark = pytest.mark.slow

TINY = [
    "model.image.layers=1", "model.text.layers=1", "model.fusion.layers=1", "model.shared=32",
    "model.shares.pairs=1", "model.shares.images=1", "model.shares.texts=1",
    "train.global_batch=16", "train.steps=6", "train.save_every=3", "train.log_every=1",
    "optimizer.warmup_steps=2", "optimizer.lr=2e-4",
]  # fmt: skip


def preset(*changes: str) -> FlavaPreset:
    return override(PRESETS["debug"], [*TINY, *changes])


def run(corpus: Path, out: Path, *changes: str) -> int:
    return train(preset(*changes), corpus, out)


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory) -> Path:
    """One process, whole batches, of every kind."""
    kinds = [preset().task().plan(0, step)[0].stream for step in range(6)]
    assert set(kinds) == {"pairs", "images", "texts"}
    out = tmp_path_factory.mktemp("alone")
    assert run(scenes, out) == 0
    return out


@pytest.mark.parametrize(
    "ranks,changes",
    [
        (1, ("train.micro_batch=4",)),
        (2, ("train.micro_batch=4",)),
        (2, ("train.shard=2",)),
        (2, ("train.shard=2", "train.micro_batch=2", "train.activation_checkpointing=true")),
    ],
    ids=["accumulated", "ddp-accumulated", "fsdp", "fsdp-accumulated-checkpointed"],
)
def test_many_ranks_and_micro_batches_equal_one(alone, scenes, tmp_path, ranks, changes):
    if ranks == 1:
        assert run(scenes, tmp_path, *changes) == 0
    else:
        assert run_ranks(ranks, run, scenes, tmp_path, *changes) == [0] * ranks
    assert_equal_up_to_rounding(tmp_path, alone)
    for name in preset().task().weights:
        mine, theirs = (figures(out, f"loss/{name}") for out in (tmp_path, alone))
        assert theirs and mine == pytest.approx(theirs, rel=2e-5), name
    mine, theirs = weights(tmp_path), weights(alone)
    # What a step does not use is left alone: no update, no decay, no step of the optimizer.
    steps = {name: float(x) for name, x in theirs.items() if name.endswith(".step")}
    assert len(set(steps.values())) > 1 and max(steps.values()) < 6
    assert {name: float(mine[name]) for name in steps} == steps


def test_resumes_bit_for_bit_at_any_step(alone, scenes, tmp_path):
    step = random.Random(9).randint(1, 5)
    stop_after(step, preset(), scenes, tmp_path)
    assert run(scenes, tmp_path) == 0
    assert figures(alone) == figures(tmp_path)
    assert same(alone, tmp_path)
