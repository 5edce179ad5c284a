"""Checkpoints of runs whose experts are spread: they load at other degrees, and outlast a kill."""

import json
import os
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from septet.trainers.engine.loop import fit
from septet.trainers.engine.sealed import damage
from septet.trainers.engine.storage import _SealingWriter
from septet.trainers.engine.world import world
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import run_of
from tests.trainers.experts.small import SmallPreset
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import completed, figures, same, stopping_after

STEPS, CUT = 6, 3


RULES = ("model.experts.chosen=2", "model.experts.capacity_factor=0.6", "train.ema=0.5")
KINDS = [("optimizer.kind=adamw",), ("optimizer.kind=adafactor",)]


class Job(NamedTuple):
    """A run of few steps."""

    name: str
    spread: int = 1
    changes: tuple[str, ...] = ()
    cut: int | None = None
    """The step in which it is asked to leave."""


def runs(corpus: Path, out: Path, *jobs: Job) -> None:
    """Runs in the same ranks, one after the other."""
    with world() as ranks:
        for job in jobs:
            settings = f"train.steps={STEPS}", f"train.expert_parallel={job.spread}"
            preset = override(SmallPreset(), [*RULES, *settings, *job.changes])
            if job.cut:
                preset = stopping_after(job.cut, preset)
            code = fit(run_of(preset, corpus, out / job.name), ranks)
            assert code == (128 + signal.SIGTERM if job.cut else 0)


@pytest.mark.slow
@pytest.mark.parametrize("changes", KINDS, ids=["adamw", "adafactor"])
def test_a_run_of_degree_two_resumes_at_any(scenes, tmp_path, changes):
    runs(scenes, tmp_path, Job("alone", 1, changes))
    begun = [Job(name, 2, changes, CUT) for name in ("one", "two", "four", "sharded")]
    run_ranks(2, runs, scenes, tmp_path, Job("whole", 2, changes), *begun)
    runs(scenes, tmp_path, Job("one", 1, changes))
    run_ranks(2, runs, scenes, tmp_path, Job("two", 2, changes))
    more = (*changes, "train.shard=4")
    run_ranks(4, runs, scenes, tmp_path, Job("four", 4, changes), Job("sharded", 2, more))
    assert same(tmp_path / "two", tmp_path / "whole")
    expected = list(figures(tmp_path / "alone").values())
    assert len(expected) == STEPS and expected[-1] < expected[0] - 0.05
    for name in ("whole", "one", "two", "four", "sharded"):
        assert list(figures(tmp_path / name).values()) == pytest.approx(expected, rel=1e-5)
        state = json.loads(
            (completed(tmp_path / name / "checkpoints")[-1] / "state.json").read_text()
        )
        assert state["parameters"]["blocks.0.experts.networks.up"] == [4, 16, 8]


def killed(corpus: Path, out: Path, where: str, victim: int) -> None:
    """A run of which one rank is killed within its second save."""
    plain = getattr(_SealingWriter, where)

    def dying(self, *given, **named):
        if self._folder.endswith("step-00000004") and int(os.environ["RANK"]) == victim:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, *given, **named)

    setattr(_SealingWriter, where, dying)
    runs(corpus, out, Job("cut", 2))


@pytest.mark.slow
@pytest.mark.parametrize("where,victim", [("write_data", 1), ("finish", 0)])
def test_a_kill_within_a_save_leaves_the_checkpoint_before(scenes, tmp_path, where, victim):
    with pytest.raises(RuntimeError, match=r"ranks ended with \[.*-9"):
        run_ranks(2, killed, scenes, tmp_path, where, victim)
    (whole,) = completed(tmp_path / "cut/checkpoints")
    assert whole.name == "step-00000002" and damage(str(whole)) is None
    assert (tmp_path / "cut/checkpoints/step-00000004").exists()
    runs(scenes, tmp_path, Job("cut"), Job("alone"))
    mine, expected = (list(figures(tmp_path / name).values()) for name in ("cut", "alone"))
    assert mine == pytest.approx(expected, rel=1e-5)
