"""Runners: where the stages of a build run. Beam is imported only by the runners that need it."""

import importlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from septet.pipelines import quiet  # noqa: F401  (before anything imports Beam)
from septet.pipelines.runners.base import Job, Runner, RunnerError, StageFailed

__all__ = ["RUNNERS", "Job", "Runner", "RunnerError", "StageFailed", "cores", "make_runner"]

RUNNERS = {
    "local": "septet.pipelines.runners.local:LocalRunner",
    "embedded": "septet.pipelines.runners.embedded:EmbeddedRunner",
    "prism": "septet.pipelines.runners.prism:PrismRunner",
    "spark": "septet.pipelines.runners.spark:SparkRunner",
    "flink": "septet.pipelines.runners.flink:FlinkRunner",
    "dataflow": "septet.pipelines.runners.dataflow:DataflowRunner",
}


def make_runner(
    name: str = "local",
    workers: int | None = None,
    options: Sequence[str] = (),
    corpus: str = "",
    inputs: Sequence[str] = (),
) -> Runner:
    """The runner of that name for one build, a context manager; call its `check` before anything
    else.

    Args:
        name: One of `RUNNERS`.
        workers: Worker processes of the local runner; when absent one a core. Elsewhere 1.
        options: Further Beam flags.
        corpus: The folder or URL that is written.
        inputs: Files and folders that are read.

    Raises:
        RunnerError: there is no runner of that name.
    """
    if name not in RUNNERS:
        raise RunnerError(f"no runner {name!r}; there are {', '.join(RUNNERS)}")
    module, _, kind = RUNNERS[name].partition(":")
    if workers is None:
        workers = cores() if name == "local" else 1
    runner: type[Runner] = getattr(importlib.import_module(module), kind)
    return runner(Job(workers, tuple(options), corpus, tuple(inputs)))


def cores() -> int:
    """How many cores this process may use: by its affinity, and by its container's limit."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    with suppress(OSError, ValueError):  # "max 100000" where there is no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, -(-int(quota) // int(period)))
    return max(1, count)
