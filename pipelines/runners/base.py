"""What every runner is: a checked way to run one stage of a build as one Beam pipeline."""

import argparse
import logging
import re
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import grpc  # type: ignore[import-untyped]
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from apache_beam.runners.worker import sdk_worker

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
    # A stage's failure is raised with its traceback; most engines log it several times besides.
    log_level: ClassVar[int] = logging.CRITICAL

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

    def run(self, name: str, build_graph: BuildGraph) -> PipelineResult:
        """Build, run and await one pipeline; returns Beam's result, which has its metrics.

        Raises:
            StageFailed: the pipeline ended in any state but DONE. Beam's own error, with the
                worker's traceback, is the cause.
        """
        pipeline = beam.Pipeline(runner=self.engine(), options=self.pipeline_options(name))
        build_graph(pipeline)
        try:
            with quiet_beam(self.log_level):
                result = pipeline.run()
                state = result.wait_until_finish()
        except Exception as error:
            raise StageFailed(f"stage {name} failed: {summary(error)}") from error
        if state != PipelineState.DONE:
            raise StageFailed(f"stage {name} ended as {state} instead of {PipelineState.DONE}")
        return result


def job_name(name: str) -> str:
    """`name` in the letters that all engines take for a job: lower case, digits, dashes."""
    return "septet-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def summary(error: BaseException) -> str:
    """The exception that a worker raised, without the frames above it, and the step it was in."""
    text = "".join(traceback.format_exception_only(error)).strip()
    # Errors of other processes arrive as text: take the last exception of the last traceback.
    raised = [*re.finditer(r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b", text, re.M)]
    if raised:
        text = text[raised[-1].start() :]
    step = re.search(r" \[while running '(.+?)'\]", text)
    text = text[: step.start()] if step else text
    text = re.split(r"\n(?:\tat |Caused by: )", text)[0].strip()
    return f"{text} (in {step.group(1)})" if step else text


# What Beam logs or prints while it tears a pipeline down, when nothing is wrong with it.
_HARMLESS = re.compile(
    "Multiplexer hanging up|No session file found|No semi_persistent_directory|"
    "Waiting for grpc channel|Discarding unparseable args"
)
_ENGINE_LOGGERS = ("PrismJobServer", "PrismRunner", "SdkWorker@")


@contextmanager
def quiet_beam(level: int) -> Iterator[None]:
    """Within the block Beam logs from `level` on, without lines that are known to be harmless.

    A level that the user has set on the logger "apache_beam" is kept.
    """
    logger = logging.getLogger("apache_beam")
    before = logger.level
    noted = vars(sdk_worker).get("print", print)
    handlers = [*logging.getLogger().handlers, logging.lastResort]
    hook = threading.excepthook

    def wanted(record: logging.LogRecord) -> bool:
        # Messages of job servers come from loggers of other names, the root's among them.
        engines = record.module == "portable_runner" or record.name.startswith(_ENGINE_LOGGERS)
        quiet = engines and before == logging.NOTSET and record.levelno < level
        return not quiet and not _HARMLESS.search(record.getMessage())

    def ignore_broken_streams(args: threading.ExceptHookArgs) -> None:
        # Beam's reader threads end so when a worker dies, which is reported otherwise.
        if not issubclass(args.exc_type, grpc.RpcError):
            hook(args)

    if before == logging.NOTSET:
        logger.setLevel(level)
    # A worker in this process prints the traceback of a failed bundle besides raising it.
    sdk_worker.print = lambda *_, **__: None
    # A logger's filters do not see its children's records; those of handlers do.
    for handler in handlers:
        if handler:
            handler.addFilter(wanted)
    threading.excepthook = ignore_broken_streams
    try:
        yield
    finally:
        logger.setLevel(before)
        threading.excepthook = hook
        sdk_worker.print = noted
        for handler in handlers:
            if handler:
                handler.removeFilter(wanted)


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
