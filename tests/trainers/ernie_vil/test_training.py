import random
from pathlib import Path

import pytest

from tests.trainers.conftest import train
from tests.trainers.ernie_vil.corpora import annotated
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same, stop_after
from tests.trainers.test_distributed import assert_equal_up_to_rounding
from trainers.ernie_vil.presets import PRESETS, ErnieVilPreset
from trainers.settings import override

pytestmark = pytest.mark.slow

TINY = [
    "model.text.layers=2", "model.image.layers=1", "model.text_places=[1]", "model.image_places=[0]",
    "train.global_batch=16", "train.steps=6", "train.save_every=3", "train.log_every=1",
    "optimizer.warmup_steps=2", "optimizer.lr=2e-4",
]  # fmt: skip


def preset(*changes: str) -> ErnieVilPreset:
    return override(PRESETS["debug"], [*TINY, *changes])


def run(corpus: Path, out: Path, *changes: str) -> int:
    return train(preset(*changes), corpus, out)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> tuple[Path, Path]:
    """Scenes to train on, and others to measure on."""
    folder = tmp_path_factory.mktemp("annotated")
    return annotated(folder / "scenes", 1500), annotated(folder / "held", 192, first=10**6)


@pytest.fixture(scope="module")
def alone(corpora, tmp_path_factory) -> Path:
    """One process, whole batches."""
    out = tmp_path_factory.mktemp("alone")
    assert run(corpora[0], out) == 0
    return out


@pytest.mark.parametrize(
    "ranks,changes",
    [
        (1, ("train.micro_batch=4",)),
        (2, ()),
        (2, ("train.shard=2",)),
        (2, ("train.shard=2", "train.micro_batch=2", "train.activation_checkpointing=true")),
    ],
    ids=["accumulated", "ddp", "fsdp", "fsdp-accumulated-checkpointed"],
)
def test_many_ranks_and_micro_batches_equal_one(alone, corpora, tmp_path, ranks, changes):
    if ranks == 1:
        assert run(corpora[0], tmp_path, *changes) == 0
    else:
        assert run_ranks(ranks, run, corpora[0], tmp_path, *changes) == [0] * ranks
    assert_equal_up_to_rounding(tmp_path, alone)
    for name in preset().task().weights:
        mine, theirs = (figures(out, f"loss/{name}") for out in (tmp_path, alone))
        assert theirs and mine == pytest.approx(theirs, rel=2e-5), name


def test_resumes_bit_for_bit_at_any_step(alone, corpora, tmp_path):
    step = random.Random(4).randint(1, 5)
    stop_after(step, preset(), corpora[0], tmp_path)
    assert run(corpora[0], tmp_path) == 0
    assert figures(alone) == figures(tmp_path)
    assert same(alone, tmp_path)
