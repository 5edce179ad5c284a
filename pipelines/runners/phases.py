"""Phases of a graph on the local runner: the code between two shuffles, as a worker runs it."""

import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from septet.pipelines.runners.base import summary
from septet.pipelines.runners.spill import SegmentReader, SegmentWriter
from septet.pipelines.runners.usage import Meter, forget_peak
from septet.pipelines.stages.counts import UNDER_WAY, Counts
from septet.pipelines.stages.graphs import Graph, StreamsParts, has_files
from septet.preprocess import files

_TELL_SECONDS = 1.0


@dataclass(frozen=True)
class Phase:
    """One step of a graph, with the folders of the shuffles before and after it."""

    step: Any
    reads: Path | None
    """The folder of the segments whose groups are the tasks; None for the first step."""
    writes: Path | None
    """The folder that gets what the step yields; None for the last step."""

    @property
    def is_told(self) -> bool:
        """Whether its tasks count as the graph's: see `Graph.told_tasks`."""
        return self.writes is None or (self.reads is None and has_files(self.step))

    def groups(self) -> list[int]:
        """The groups to which the step before gave anything, ascending."""
        assert self.reads is not None
        with SegmentReader(self.reads) as reader:
            return reader.groups()


def phases_of(graph: Graph, folder: Path) -> list[Phase]:
    """The phases of a graph, in order; its shuffles go through folders below `folder`."""
    shuffles: list[Path | None] = [folder / str(i) for i in range(len(graph.shuffles))]
    steps = graph.steps
    return [
        Phase(step, before, after)
        for step, before, after in zip(steps, [None, *shuffles], [*shuffles, None], strict=True)
    ]


class PhaseRunner:
    """A runner of one phase's tasks in this process."""

    def __init__(self, phase: Phase):
        self.phase = phase
        self._reader = SegmentReader(phase.reads) if phase.reads else None
        self._writer = SegmentWriter(phase.writes) if phase.writes else None
        self.meter = Meter()
        with self.meter.measuring():
            phase.step.setup()

    def run(self, task: Any) -> Counts | None:
        """Run one task, unless its output is complete."""
        with self.meter.measuring():
            return self._run(task)

    def _run(self, task: Any) -> Counts | None:
        step, parts = self.phase.step, self._parts()
        if self._writer:
            pieces = step.regroup(task, parts(task)) if parts else step.split(task)
            for group, data in pieces:
                self._writer.put(group, data)
                self.meter.used.bytes_shuffled += len(data)
            return None
        if files.exists(step.path(task)):
            return None
        found: Counts | None = step.run(task, parts(task)) if parts else step.run(task)
        return found

    def _parts(self) -> Callable[[int], Iterable[bytes]] | None:
        if self._reader is None:
            return None
        streams = isinstance(self.phase.step, StreamsParts)
        return self._reader.pieces if streams else self._reader.read

    def close(self, failed: bool = False) -> None:
        """Let the next phase read what the tasks yielded."""
        if self._reader:
            self._reader.close()
        if self._writer and failed:
            self._writer.discard()
        elif self._writer:
            with self.meter.measuring():
                self._writer.close()


def serve(line: Connection) -> None:
    """The loop of a worker process: phases and tasks come over the line, figures go back.

    Messages of the driver: ("phase", environment, working folder, pickled phase), ("task", task),
    ("seal",). Answers: ("done", counts, usage), ("sealed", usage), ("failed", message, traceback),
    and ("running", counts) from time to time while a task runs.
    """
    UNDER_WAY.clear()  # what the process that this one was forked from ran
    lock = threading.Lock()

    def tell(counts: Counts) -> None:
        with lock:
            line.send(("running", counts))

    with counts_told(tell):
        _serve(line, lock)


def _serve(line: Connection, lock: threading.Lock) -> None:
    runner: PhaseRunner | None = None
    phase: Phase | None = None
    while True:
        kind, *told = line.recv()
        try:
            if kind == "phase":
                environment, folder, pickled = told
                os.environ.clear()
                os.environ.update(environment)
                os.chdir(folder)
                runner, phase = None, pickle.loads(pickled)
                forget_peak()
                continue
            assert phase is not None
            if runner is None:
                runner = PhaseRunner(phase)
            if kind == "task":
                counts = runner.run(told[0])
                answer: tuple[Any, ...] = ("done", counts, runner.meter.take())
            else:
                runner.close()
                answer = ("sealed", runner.meter.take())
        except (Exception, SystemExit) as error:  # own code of users may do either
            answer = ("failed", summary(error), traceback.format_exc())
        UNDER_WAY.clear()
        with lock:
            line.send(answer)


@contextmanager
def counts_told(tell: Callable[[Counts], None]) -> Iterator[None]:
    """Tell the figures of this process's tasks, from time to time while the block runs."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(_TELL_SECONDS):
            if UNDER_WAY:
                tell(Counts.sum([one.snapshot() for one in UNDER_WAY]))

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
