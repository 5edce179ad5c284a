"""Graphs of tasks, as plain data: the steps that a pass of a stage runs, and the shuffles between
them.

A graph is a chain of steps. Every runner takes the same one: the local runner runs its steps
itself (`runners/local.py`), all others run the Beam pipeline that `runners/beam.py` makes of it.
Beam is not imported here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from septet.pipelines.stages.counts import Counts


class Step(Protocol):
    """A step of a graph: code that runs in workers. Plain data, for it is shipped to them."""

    @property
    def stage(self) -> str:
        """The step's name, in messages and on a cluster's pages."""

    def setup(self) -> None:
        """Called once in each worker before the first task: models are loaded here."""
        return


class Split(Step, Protocol):
    """The first step before a shuffle: its rows go to groups."""

    def split(self, task: Any) -> Iterable[tuple[int, bytes]]:
        """Yield (group, bytes) for one task."""


class Regroup(Step, Protocol):
    """A step between two shuffles."""

    def regroup(self, group: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (group, bytes) of what the step before gave to one group, `parts` sorted."""


class Work(Step, Protocol):
    """The last step of a graph: it writes files, the one at `path(task)` last.

    A task whose file is there is complete and is not run again. `run` returns what it counted.
    """

    def path(self, task: Any) -> str:
        """The task's main output."""

    @property
    def run(self) -> Callable[..., Counts | None]:
        """`run(task)` after no shuffle, `run(group, parts)` after one, `parts` sorted (but see
        `StreamsParts`)."""


class StreamsParts:
    """A mark for work after a shuffle that reads its parts one by one and holds few of them.

    `run(group, parts)` gets an iterable that can be gone through again, in no certain order, in
    place of a sorted list: for groups that may be larger than a process's memory.
    """


@dataclass(frozen=True)
class Graph:
    """A pipeline: `tasks` go to the first step, what it yields to the next, by group."""

    tasks: Sequence[Any]
    """The tasks of the first step: numbers, or other small plain data."""
    shuffles: Sequence[Split | Regroup]
    """A `Split`, then any number of `Regroup`; empty where nothing is brought together."""
    work: Work
    groups: Sequence[int] = ()
    """All groups that the work after a shuffle is to see, those that got nothing too."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in their order."""
        return (*self.shuffles, self.work)

    @property
    def told_tasks(self) -> int:
        """How many tasks runners tell of: those of the work, and of a first step that writes files
        of its own."""
        first = len(self.tasks) if not self.shuffles or has_files(self.shuffles[0]) else 0
        return first + (len(self.groups) if self.shuffles else 0)


def has_files(step: Step) -> bool:
    """Whether a step writes a file for each of its tasks."""
    return hasattr(step, "path")


def map_tasks(work: Work, tasks: Sequence[Any]) -> Graph:
    """Make a graph that calls `work.run(task)` for each task, spread over the workers."""
    return Graph(tuple(tasks), (), work)


def shuffle_tasks(
    shuffles: Split | Sequence[Split | Regroup],
    tasks: Sequence[Any],
    work: Work,
    groups: Sequence[int],
) -> Graph:
    """Make a graph that splits tasks into (group, bytes) and calls `work.run(group, parts)` for
    each of `groups`; steps between two shuffles come after the split."""
    steps = shuffles if isinstance(shuffles, Sequence) else (shuffles,)
    return Graph(tuple(tasks), tuple(steps), work, tuple(groups))
