import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from septet.trainers.engine import metrics
from tests.trainers.conftest import TINY, settings, train
from tests.trainers.ranks import run_ranks, shared
from tests.trainers.runs import completed, figures, same, stop_after, weights

pytestmark = pytest.mark.slow

STEPS, CUT = 4, 2
SIZE = ["model.layers=2", f"train.steps={STEPS}", "train.save_every=3", "optimizer.lr=2e-4"]


def run(corpus: Path, out: Path, *changes: str) -> int:
    return train(settings(*SIZE, *changes), corpus, out)


def run_until(step: int, corpus: Path, out: Path, *changes: str) -> None:
    stop_after(step, settings(*SIZE, *changes), corpus, out)


LAYOUTS = {"alone": (1, "train.shard=1"), "ddp": (2, "train.shard=1"), "fsdp": (2, "train.shard=2")}
"""Ranks and sharding; `alone` is one process with one big batch."""


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory) -> dict[str, Path]:
    """A run of each layout from its first step to its last."""
    folders = {layout: tmp_path_factory.mktemp(layout) for layout in LAYOUTS}
    for layout, (ranks, change) in LAYOUTS.items():
        assert run_ranks(ranks, run, scenes, folders[layout], change) == [0] * ranks
    return folders


@pytest.fixture(scope="module")
def cut(scenes, tmp_path_factory) -> dict[str, Path]:
    """The same runs, which are told to leave during an early step."""
    folders = {layout: tmp_path_factory.mktemp(f"cut-{layout}") for layout in LAYOUTS}
    for layout, (ranks, change) in LAYOUTS.items():
        run_ranks(ranks, run_until, CUT, scenes, folders[layout], change)
        (last,) = completed(folders[layout] / "checkpoints")
        assert int(last.name.removeprefix("step-")) in (CUT, CUT + 1) and CUT + 1 < STEPS
    return folders


@pytest.fixture(scope="module")
def alone(whole) -> Path:
    return whole["alone"]


def assert_equal_up_to_rounding(found: Path, expected: Path) -> None:
    for name in ("loss", "gradient_norm"):
        mine, theirs = figures(found, name), figures(expected, name)
        assert mine.keys() == theirs.keys() and len(mine) >= STEPS
        for step in mine:
            assert mine[step] == pytest.approx(theirs[step], rel=2e-5), (name, step)
    mine, theirs = weights(found), weights(expected)
    assert mine.keys() == theirs.keys()
    for name, x in theirs.items():
        if name.startswith("model."):
            # Adam turns the rounding of a gradient near zero into a whole step, at most.
            assert (mine[name] - x).abs().mean() < 2e-6, name


@pytest.mark.parametrize(
    "changes",
    [
        ("train.micro_batch=4",),
        ("train.micro_batch=1",),
        ("train.activation_checkpointing=true",),
        ("train.activation_checkpointing=true", "train.micro_batch=8"),
    ],
)
def test_accumulation_and_checkpointing_equal_the_whole_batch(alone, scenes, tmp_path, changes):
    assert run(scenes, tmp_path, *changes) == 0
    assert_equal_up_to_rounding(tmp_path, alone)


@pytest.mark.parametrize("layout", ["ddp", "fsdp"])
def test_two_ranks_equal_one(whole, layout):
    assert_equal_up_to_rounding(whole[layout], whole["alone"])


@pytest.mark.parametrize(
    "ranks,changes",
    [
        (2, ("train.micro_batch=4",)),
        (2, ("train.shard=2", "train.micro_batch=4", "train.activation_checkpointing=true")),
        (4, ("train.shard=2",)),
    ],
    ids=["ddp-accumulated", "fsdp-accumulated-checkpointed", "hsdp"],
)
def test_many_ranks_equal_one(alone, scenes, tmp_path, ranks, changes):
    assert run_ranks(ranks, run, scenes, tmp_path, *changes) == [0] * ranks
    assert_equal_up_to_rounding(tmp_path, alone)


def test_torchrun_starts_the_ranks(alone, scenes, tmp_path):
    """The command that the pages name, sharded over two processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [
        *torchrun,
        "--nproc-per-node",
        "2",
        "-m",
        "septet",
        "train",
        "clip",
        str(scenes),
    ]
    for change in (*TINY, *SIZE, "train.shard=2"):
        command += ["--set", change]
    command += ["--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_equal_up_to_rounding(tmp_path, alone)
    assert json.loads((tmp_path / "run.json").read_text())["world"]["ranks"] == 2


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on PATH")
def test_compiled_blocks_equal_plain_ones(alone, scenes, tmp_path):
    assert run(scenes, tmp_path, "train.compile=true") == 0
    assert sum(torch._dynamo.utils.counters["stats"].values()) > 0
    assert_equal_up_to_rounding(tmp_path, alone)


@pytest.mark.parametrize("changes", [(), ("train.shard=2",)], ids=["autocast", "sharded"])
def test_bf16_follows_fp32(alone, scenes, tmp_path, changes):
    ranks = 2 if changes else 1
    assert run_ranks(ranks, run, scenes, tmp_path, "train.precision=bf16", *changes) == [0] * ranks
    found, expected = figures(tmp_path), figures(alone)
    assert found != expected
    assert all(found[step] == pytest.approx(expected[step], rel=0.02) for step in expected)


@pytest.mark.parametrize("layout", ["ddp", "fsdp"])
def test_resume_on_the_same_ranks_is_bit_exact(whole, cut, scenes, tmp_path, layout):
    ranks, change = LAYOUTS[layout]
    resumed = shutil.copytree(cut[layout], tmp_path / "resumed")
    assert run_ranks(ranks, run, scenes, resumed, change) == [0] * ranks
    assert figures(whole[layout]) == figures(resumed)
    assert same(whole[layout], resumed)


@pytest.mark.parametrize("before,ranks,shard", [("fsdp", 1, 1), ("alone", 2, 2), ("ddp", 4, 4)])
def test_resume_on_other_ranks_goes_on_with_the_same_batches(
    alone, cut, scenes, tmp_path, before, ranks, shard
):
    resumed = shutil.copytree(cut[before], tmp_path / "resumed")
    assert run_ranks(ranks, run, scenes, resumed, f"train.shard={shard}") == [0] * ranks
    assert_equal_up_to_rounding(resumed, alone)


def gather_gradients() -> list[float]:
    from septet.trainers.engine.world import world

    with world() as ranks:
        x = torch.full((2, 3), float(ranks.rank + 1), requires_grad=True)
        rows, first = ranks.gather(x)
        assert rows[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0] and first == 2 * ranks.rank
        (rows * torch.arange(4.0)[:, None] * (ranks.rank + 1)).sum().backward()
        return x.grad[:, 0].tolist()


def test_gathered_rows_get_the_gradient_of_every_rank():
    assert run_ranks(2, gather_gradients) == [[0.0, 3.0], [6.0, 9.0]]


def test_ranks_that_cannot_form_groups_are_an_error(scenes, tmp_path):
    with pytest.raises(ValueError, match=r"1 ranks cannot be cut into groups of train\.shard=2"):
        run(scenes, tmp_path, "train.shard=2")


def slowed(corpus: Path, out: Path, clock: Any) -> int:
    """Train by a clock of all ranks, which stands still but for rank 1's half second a step."""
    metrics.clock = lambda: clock.value
    preset = settings("train.steps=9", "train.log_every=3")
    task = preset.task()
    constrain = task.after_step

    def after_step(module: torch.nn.Module) -> None:
        constrain(module)
        if os.environ["RANK"] == "1":
            time.sleep(0.1)  # so that a rank that does not wait would look too early
            clock.value += 0.5

    task.after_step = after_step
    object.__setattr__(preset, "task", lambda: task)
    return train(preset, corpus, out)


def test_throughput_counts_the_wait_for_slow_ranks(scenes, tmp_path):
    """All ranks are as fast as rank 1: 16 samples in half a second, a save in between or not."""
    assert run_ranks(2, slowed, scenes, tmp_path, shared(0.0)) == [0, 0]
    speed, left = figures(tmp_path, "samples_per_second"), figures(tmp_path, "seconds_left")
    assert "step-00000004" in [path.name for path in completed(tmp_path / "checkpoints")]
    assert (speed[6], speed[9], left[6]) == (32, 32, 1.5)


def interrupted(corpus: Path, out: Path) -> int:
    """Rank 1 alone is asked to leave during the second step."""
    preset = settings("train.steps=20")
    task, steps = preset.task(), itertools.count(1)

    def after_step(module: torch.nn.Module) -> None:
        if next(steps) == 2 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)

    task.after_step = after_step
    object.__setattr__(preset, "task", lambda: task)
    return train(preset, corpus, out)


def test_ranks_leave_together_at_the_step_after_the_signal(scenes, tmp_path):
    assert run_ranks(2, interrupted, scenes, tmp_path) == [128 + signal.SIGTERM] * 2
    assert [path.name for path in completed(tmp_path / "checkpoints")] == ["step-00000003"]
