"""Runners: where the stages of a build run."""

from collections.abc import Sequence

from septet.pipelines import quiet  # noqa: F401  (before anything imports Beam)
from septet.pipelines.runners.base import Job, Runner, RunnerError, StageFailed
from septet.pipelines.runners.dataflow import DataflowRunner
from septet.pipelines.runners.local import LocalRunner
from septet.pipelines.runners.prism import PrismRunner
from septet.pipelines.runners.spark import SparkRunner

__all__ = ["RUNNERS", "Job", "Runner", "RunnerError", "StageFailed", "make_runner"]

RUNNERS: dict[str, type[Runner]] = {
    "local": LocalRunner,
    "prism": PrismRunner,
    "spark": SparkRunner,
    "dataflow": DataflowRunner,
}


def make_runner(
    name: str,
    workers: int = 1,
    options: Sequence[str] = (),
    corpus: str = "",
    inputs: Sequence[str] = (),
) -> Runner:
    """The runner of that name for one build; call its `check` before anything else.

    Raises:
        RunnerError: there is no runner of that name.
    """
    if name not in RUNNERS:
        raise RunnerError(f"no runner {name!r}; there are {', '.join(RUNNERS)}")
    return RUNNERS[name](Job(workers, tuple(options), corpus, tuple(inputs)))
