"""What every runner is: a checked way to run one stage of a build as one Beam pipeline."""

import argparse
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner, PipelineState

BuildGraph = Callable[[beam.Pipeline], None]


class RunnerError(ValueError):
    """The chosen runner cannot run this build as asked; the message says what to set."""


class StageFailed(RuntimeError):
    """A stage's pipeline failed. The message ends with the error that a worker raised."""


@dataclass(frozen=True)
class Job:
    """What a runner has to know of a build.

    `workers` is the number of Python worker processes on a local runner (elsewhere the cluster
    decides), `options` are further Beam flags of the user's, `corpus` is the folder that is
    written and `inputs` are the files and folders that are read.
    """

    workers: int = 1
    options: Sequence[str] = ()
    corpus: str = ""
    inputs: Sequence[str] = ()


class Runner(ABC):
    """Runs the stages of one build, one Beam pipeline each."""

    name: ClassVar[str]

    def __init__(self, job: Job) -> None:
        self.job = job

    @abstractmethod
    def check(self) -> None:
        """Raise RunnerError for whatever would make a stage fail for want of set-up."""

    @abstractmethod
    def engine(self) -> PipelineRunner:
        """The Beam runner."""

    @abstractmethod
    def flags(self) -> list[str]:
        """Beam flags of this runner, without those of the user."""

    def pipeline_options(self, name: str) -> PipelineOptions:
        """Beam's options for the stage `name`."""
        return PipelineOptions([*self.flags(), f"--job_name={job_name(name)}", *self.job.options])

    def run(self, name: str, build_graph: BuildGraph) -> None:
        """Build, run and await one pipeline.

        Raises:
            StageFailed: the pipeline ended in any state but DONE. Beam's own error, with the
                worker's traceback, is the cause.
        """
        pipeline = beam.Pipeline(runner=self.engine(), options=self.pipeline_options(name))
        build_graph(pipeline)
        try:
            with quiet_beam():
                state = pipeline.run().wait_until_finish()
        except Exception as error:
            raise StageFailed(f"stage {name} failed: {summary(str(error))}") from error
        if state != PipelineState.DONE:
            raise StageFailed(f"stage {name} ended as {state} instead of {PipelineState.DONE}")


def job_name(name: str) -> str:
    """`name` in the letters that all engines take for a job: lower case, digits, dashes."""
    return "septet-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def summary(error: str) -> str:
    """The last exception of a worker's traceback, with the step that raised it."""
    step = re.search(r"\[while running '(.+?)'\]", error)
    raised = [
        line.strip()
        for line in error.splitlines()
        if re.match(r"(?:RuntimeError: )*[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b", line)
    ]
    text = raised[-1] if raised else (error.strip().splitlines() or ["no message"])[-1]
    text = re.sub(r" \[while running '.+?'\]", "", text)
    return f"{text} (in {step.group(1)})" if step else text


class _Harmless(logging.Filter):
    """Drops lines that Beam logs as warnings or errors when nothing is wrong."""

    LINES = re.compile(
        "Multiplexer hanging up|No session file found|No semi_persistent_directory|"
        "Waiting for grpc channel|apitools not found|"
        "Discarding unparseable args|Error iterating over inbound data|unconsumed"
    )

    def filter(self, record: logging.LogRecord) -> bool:
        return not self.LINES.search(record.getMessage())


class quiet_beam:
    """Within the block, Beam logs warnings and worse only, without the harmless ones."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("apache_beam")
        self._level = self._logger.level
        self._logger.setLevel(logging.WARNING)
        self._filter = _Harmless()
        # Filters of a logger do not see its children's records; those of handlers do.
        self._handlers = [*logging.getLogger().handlers]
        for handler in self._handlers:
            handler.addFilter(self._filter)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
        for handler in self._handlers:
            handler.removeFilter(self._filter)


def check_flags(flags: Sequence[str], ours: Sequence[str]) -> None:
    """Raise RunnerError for Beam flags that Beam does not know or that Septet sets itself."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for options in PipelineOptions.__subclasses__():
        # Beam has no public list of its flags, and drops unknown ones with a log line.
        options._add_argparse_args(parser)
    try:
        _, unknown = parser.parse_known_args(list(flags))
    except argparse.ArgumentError as error:
        raise RunnerError(f"Beam refuses {' '.join(flags)}: {error}") from error
    if unknown:
        raise RunnerError(
            f"Beam knows no flag {unknown[0]!r}; flags are written --name=value "
            "(https://beam.apache.org/documentation/runners lists them)"
        )
    for flag in flags:
        if flag.split("=")[0].lstrip("-") in ours:
            raise RunnerError(f"{flag} is set by Septet itself: leave it out")
