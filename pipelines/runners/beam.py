"""The base class of runners that run a graph as a Beam pipeline: flags, errors, quiet logs."""

import argparse
import logging
import re
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
import grpc  # type: ignore[import-untyped]
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from apache_beam.runners.worker import sdk_worker

from septet.pipelines.runners.base import Runner, RunnerError, StageFailed, Told, summary
from septet.pipelines.runners.usage import Note, Usage, read_notes
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Graph, StreamsParts
from septet.preprocess import files

BuildPipeline = Callable[[beam.Pipeline], None]


class BeamRunner(Runner):
    """A runner that hands graphs to one of Beam's engines."""

    # A stage's failure is raised with its traceback; most engines log it several times besides.
    log_level: ClassVar[int] = logging.CRITICAL

    @abstractmethod
    def engine(self) -> PipelineRunner:
        """The Beam runner."""

    @abstractmethod
    def flags(self) -> list[str]:
        """Beam flags of this runner, without those of the user."""

    def pipeline_options(self, name: str) -> PipelineOptions:
        """Beam's options for the stage `name`."""
        return PipelineOptions([*self.flags(), f"--job_name={job_name(name)}", *self.job.options])

    def run(self, name: str, graph: Graph, told: Told | None = None, notes: str = "") -> Usage:
        """See `Runner.run`. Nothing is told while it runs."""
        if not notes:
            self.run_pipeline(name, pipeline_of(graph))
            return Usage()
        files.remove(notes)  # what a driver that was killed left
        try:
            self.run_pipeline(name, pipeline_of(graph, notes))
            return read_notes(notes)
        finally:
            files.remove(notes)

    def run_pipeline(self, name: str, build_pipeline: BuildPipeline) -> PipelineResult:
        """Build, run and await one pipeline; returns Beam's result, which has its metrics.

        Raises:
            StageFailed: the pipeline ended in any state but DONE. Beam's own error, with the
                worker's traceback, is the cause.
        """
        pipeline = beam.Pipeline(runner=self.engine(), options=self.pipeline_options(name))
        build_pipeline(pipeline)
        try:
            with quiet_beam(self.log_level):
                result = pipeline.run()
                state = result.wait_until_finish()
        except Exception as error:
            raise StageFailed(f"stage {name} failed: {summary(error)}") from error
        if state != PipelineState.DONE:
            raise StageFailed(f"stage {name} ended as {state} instead of {PipelineState.DONE}")
        return result


_begun: set[int] = set()


def bundles_begun() -> int:
    """How many bundles this process has begun and not finished."""
    return len(_begun)


class _RunStep(beam.DoFn):
    def __init__(self, step: Any, notes: str):
        self.step, self.notes = step, notes
        self.note: Note | None = None

    def setup(self) -> None:
        """Let the step load what it needs."""
        self.step.setup()

    def start_bundle(self) -> None:
        """Note that some tasks begin."""
        _begun.add(id(self))
        if self.notes:
            self.note = self.note or Note(self.notes)
            self.note.begin()

    def finish_bundle(self) -> None:
        """Note what they used."""
        if self.note:
            self.note.end()
        _begun.discard(id(self))

    def shuffled(self, pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """Count pieces on their way to a shuffle."""
        for group, data in pieces:
            if self.note:
                self.note.shuffled(data)
            yield group, data

    def count(self, counts: Counts | None) -> None:
        """Add a task's figures to the pipeline's metrics, which clusters show."""
        if counts is None:
            return
        namespace = "septet." + self.step.stage
        Metrics.counter(namespace, "in").inc(counts.rows_in)
        Metrics.counter(namespace, "out").inc(counts.rows_out)
        for reason, count in counts.rejected.items():
            Metrics.counter(namespace, f"rejected_{reason}").inc(count)


class _RunTask(_RunStep):
    """The work of a graph without a shuffle: the element is the task."""

    def process(self, task: Any) -> Iterable[None]:
        """Run a task, unless it is complete."""
        if not files.exists(self.step.path(task)):
            self.count(self.step.run(task))
        return ()


class _RunSplit(_RunStep):
    def process(self, task: Any) -> Iterable[tuple[int, bytes]]:
        """Split one task."""
        yield from self.shuffled(self.step.split(task))


class _RunRegroup(_RunStep):
    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterable[tuple[int, bytes]]:
        """Send one group's parts on."""
        yield from self.shuffled(self.step.regroup(group[0], sorted(group[1])))


class _RunGroup(_RunStep):
    """The work of a graph with a shuffle: the element is a group and its parts."""

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterable[None]:
        """Run a group, unless it is complete."""
        number, parts = group
        if not files.exists(self.step.path(number)):
            # A shuffle brings them in any order.
            full = _Full(parts)
            streams = isinstance(self.step, StreamsParts)
            self.count(self.step.run(number, full if streams else sorted(full)))
        return ()


@dataclass(frozen=True)
class _Full:
    """The parts of a group without the empty ones, which only say that the group exists."""

    parts: Iterable[bytes]

    def __iter__(self) -> Iterator[bytes]:
        return (part for part in self.parts if part)


def pipeline_of(graph: Graph, notes: str = "") -> BuildPipeline:
    """The Beam pipeline of a graph, whose workers note what they use in a folder, if there is
    one."""

    def build(pipeline: beam.Pipeline) -> None:
        tasks = (
            pipeline
            | "tasks" >> beam.Create(graph.tasks, reshuffle=False)
            | "spread" >> beam.Reshuffle()
        )
        if not graph.shuffles:
            _ = tasks | graph.work.stage >> beam.ParDo(_RunTask(graph.work, notes))
            return
        split, *regroups = graph.shuffles
        parts = tasks | f"1 {split.stage}" >> _parts(_RunSplit(split, notes))
        for number, step in enumerate(regroups, 2):  # of rounds each has the same name
            parts = parts | f"for {number} {step.stage}" >> beam.GroupByKey()
            parts = parts | f"{number} {step.stage}" >> _parts(_RunRegroup(step, notes))
        every = pipeline | "groups" >> beam.Create(
            [(group, b"") for group in graph.groups], reshuffle=False
        )
        _ = (
            (parts, every)
            | "all" >> beam.Flatten()
            | "shuffle" >> beam.GroupByKey()
            | graph.work.stage >> beam.ParDo(_RunGroup(graph.work, notes))
        )

    return build


def _parts(step: beam.DoFn) -> beam.ParDo:
    return beam.ParDo(step).with_output_types(tuple[int, bytes])


def job_name(name: str) -> str:
    """A name in the letters that all engines take for a job: lower case, digits, dashes."""
    return "septet-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


# What Beam logs or prints while it tears a pipeline down, when nothing is wrong with it.
_HARMLESS = re.compile(
    "Multiplexer hanging up|No session file found|No semi_persistent_directory|"
    "Waiting for grpc channel|Discarding unparseable args"
)
_ENGINE_LOGGERS = ("PrismJobServer", "PrismRunner", "SdkWorker@")


@contextmanager
def quiet_beam(level: int) -> Iterator[None]:
    """Quiet Beam's log within the block: lines below `level` and lines that are known to be
    harmless.

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
