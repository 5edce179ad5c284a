"""The base class of all runners, which run the passes of a build."""

import re
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self

from septet.pipelines.runners.usage import Usage
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Graph

COLUMN_PASS = "annotate "
"""How the names of passes begin that make a column; its name follows."""

Told = Callable[[int, Counts], None]
"""Called with how many tasks were completed, and the sum of the figures of all tasks so far."""


class RunnerError(ValueError):
    """Raised when the chosen runner cannot run this build as asked; the message says what to
    set."""


class StageFailed(RuntimeError):
    """Raised when a stage failed. The message ends with the error that a worker raised."""


@dataclass(frozen=True)
class Job:
    """The facts of a build that a runner needs.

    `workers` is the number of Python worker processes on the local runner (elsewhere the cluster
    decides), `options` are further Beam flags of the user's, `corpus` is the folder that is
    written and `inputs` are the files and folders that are read.
    """

    workers: int = 1
    options: Sequence[str] = ()
    corpus: str = ""
    inputs: Sequence[str] = ()


class Runner(ABC):
    """A runner: it runs the passes of one build. A context manager: the processes that it starts
    end with the block, and none are started outside of one."""

    name: ClassVar[str]

    def __init__(self, job: Job) -> None:
        self.job = job
        self._inside = False

    def __enter__(self) -> Self:
        self._inside = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inside = False
        self.close()

    @property
    def tasks_at_once(self) -> int | None:
        """How many tasks run at once; None where a cluster decides."""
        return None

    @abstractmethod
    def check(self) -> None:
        """Raise RunnerError for whatever would make a stage fail for want of set-up."""

    @abstractmethod
    def run(self, name: str, graph: Graph, told: Told | None = None, notes: str = "") -> Usage:
        """Run one graph to its end; returns what its tasks used.

        Args:
            name: Its name in messages.
            graph: The graph to run.
            told: Called with the figures of the tasks that were completed and of those that run,
                where the runner has them while it runs.
            notes: The folder in which workers of a cluster note what they use, for the time of the
                run; without one it is not known there.

        Raises:
            StageFailed: a worker raised an error or died; what tasks finished is kept.
        """

    def close(self) -> None:  # noqa: B027
        """End the processes that the runner has started."""


_LONGEST = 2000
"""Characters of an error's text that are shown: own code of users may raise any number."""


def summary(error: BaseException) -> str:
    """The exception that a worker raised as text, without the frames above it, with the step that
    it was in."""
    text = "".join(traceback.format_exception_only(error)).strip()
    # Errors of other processes arrive as text: take the last exception of the last traceback.
    raised = [*re.finditer(r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b", text, re.M)]
    if raised:
        text = text[raised[-1].start() :]
    step = re.search(r" \[while running '(.+?)'\]", text)
    text = text[: step.start()] if step else text
    text = re.split(r"\n(?:\tat |Caused by: )", text)[0].strip()
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{text} (in {step.group(1)})" if step else text
