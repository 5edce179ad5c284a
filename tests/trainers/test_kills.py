"""Runs that are killed at random moments, many times.

`KILLS` (an environment variable, 6 unless set) is how often; at least a quarter of the kills fall
within a save. The full count: `KILLS=40`.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.trainers.conftest import settings, train
from tests.trainers.ranks import start
from tests.trainers.runs import completed, figures, same

KILLS = int(os.environ.get("KILLS", "6"))
STEPS = 12


def run(corpus: Path, out: Path, background: str) -> None:
    changes = [f"train.steps={STEPS}", "train.save_every=1", f"train.async_save={background}"]
    train(settings(*changes, "train.workers=1"), corpus, out)


def being_written(out: Path, since: float) -> bool:
    """Whether a checkpoint was begun after a moment and is not complete."""
    for folder in (out / "checkpoints").glob("step-*"):
        try:
            if folder.stat().st_ctime > since and not (folder / "COMPLETE").exists():
                return True
        except FileNotFoundError:
            continue
    return False


def killed(corpus: Path, out: Path, background: str, wait: float, in_save: bool) -> bool | None:
    """Start a run and kill it: within a save, or so long after its first checkpoint of this start
    (before that, one time in four).

    Returns:
        Whether a save was under way; None where the run had ended.
    """
    had, since = len(completed(out / "checkpoints")), time.time()
    process = start(run, corpus, out, background)
    early = not in_save and random.random() < 0.25
    while not early and not in_save and process.exitcode is None:
        if len(completed(out / "checkpoints")) > had:
            break
        time.sleep(0.002)
    until = time.monotonic() + (20 * wait if early else wait)
    while process.exitcode is None:
        if being_written(out, since) if in_save else time.monotonic() > until:
            break
        time.sleep(0.0005)
    if process.exitcode is not None:
        return None
    process.kill()
    process.join()
    return being_written(out, since)


@pytest.mark.slow
def test_whatever_the_moment_of_a_kill_the_run_is_the_same(scenes, tmp_path):
    whole = tmp_path / "whole"
    process = start(run, scenes, whole, "false")
    process.join()
    random.seed(0)
    kills, in_saves, rounds = 0, 0, 0
    while kills < KILLS:
        rounds += 1
        out, background = tmp_path / f"run-{rounds}", ("false", "true")[rounds % 2]
        for _ in range(8):  # Kills of one run, before it is let to its end.
            within = in_saves < (kills + 1) / 3
            found = killed(scenes, out, background, random.uniform(0, 0.6), within)
            if found is None or kills == KILLS:
                break
            kills, in_saves = kills + 1, in_saves + found
        process = start(run, scenes, out, background)
        process.join()
        assert process.exitcode == 0
        assert figures(out) == figures(whole)
        assert same(out, whole)
    print(f"{kills} kills in {rounds} runs, {in_saves} of them within a save")
    assert in_saves >= KILLS / 4
