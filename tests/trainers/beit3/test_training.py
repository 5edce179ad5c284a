import random
from pathlib import Path

import pytest

from tests.trainers.conftest import train
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same, stop_after
from tests.trainers.test_distributed import assert_equal_up_to_rounding
from trainers.beit3.presets import PRESETS, Beit3Preset
from trainers.settings import override

pytestmark = pytest.mark.slow

TINY = [
    "model.width=48", "model.inner=96", "model.layers=2", "train.steps=6", "train.save_every=3", "train.log_every=1",
    "optimizer.warmup_steps=2", "optimizer.lr=2e-4",
]  # fmt: skip
FORMS = {
    "released": ("debug-released", "train.global_batch=24"),
    "paper": ("debug", "train.global_batch=24"),
    "itc": ("debug-itc", "train.global_batch=16"),
}


def preset(form: str, *changes: str) -> Beit3Preset:
    name, *more = FORMS[form]
    return override(PRESETS[name], [*TINY, *more, *changes])


def run(form: str, corpus: Path, out: Path, *changes: str) -> int:
    return train(preset(form, *changes), corpus, out)


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory):
    """One process, whole batches, by form."""
    found: dict[str, Path] = {}

    def of(form: str) -> Path:
        if form not in found:
            found[form] = tmp_path_factory.mktemp(form)
            assert run(form, scenes, found[form]) == 0
        return found[form]

    return of


SAVING = "train.activation_checkpointing=true"


@pytest.mark.parametrize("form,ranks,changes", [
    ("released", 1, ("train.micro_batch=4", SAVING)),
    ("released", 2, ("train.shard=2",)),
    ("paper", 2, ("train.shard=2", "train.micro_batch=2", SAVING)),
    ("paper", 2, ("train.micro_batch=4",)),
    ("itc", 2, ("train.shard=2", "train.micro_batch=4", SAVING)),
], ids=["released-accumulated-checkpointed", "released-fsdp",
        "paper-fsdp-accumulated-checkpointed", "paper-ddp-accumulated",
        "itc-fsdp-accumulated-checkpointed"])  # fmt: skip
def test_many_ranks_and_micro_batches_equal_one(alone, scenes, tmp_path, form, ranks, changes):
    if ranks == 1:
        assert run(form, scenes, tmp_path, *changes) == 0
    else:
        assert run_ranks(ranks, run, form, scenes, tmp_path, *changes) == [0] * ranks
    assert_equal_up_to_rounding(tmp_path, alone(form))
    for name in preset(form).task().weights:
        mine, theirs = (figures(out, f"loss/{name}") for out in (tmp_path, alone(form)))
        assert len(theirs) == 6 and mine == pytest.approx(theirs, rel=2e-5), name


def test_resumes_bit_for_bit_at_any_step(alone, scenes, tmp_path):
    step = random.Random(3).randint(1, 5)
    stop_after(step, preset("released"), scenes, tmp_path)
    assert run("released", scenes, tmp_path) == 0
    assert figures(alone("released")) == figures(tmp_path)
    assert same(alone("released"), tmp_path)


def test_stochastic_depth_resumes_bit_for_bit(scenes, tmp_path):
    changes = ("model.drop_path=0.3", "train.precision=bf16")
    assert run("paper", scenes, tmp_path / "whole", *changes) == 0
    stop_after(4, preset("paper", *changes), scenes, tmp_path / "cut")
    assert run("paper", scenes, tmp_path / "cut", *changes) == 0
    assert figures(tmp_path / "whole") == figures(tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")
