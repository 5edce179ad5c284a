"""A mixture of tasks: how many of a step's rows are of which task."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from septet.trainers.draws import generator
from septet.trainers.task import SubBatch


@dataclass(frozen=True)
class Mixture:
    """Tasks with their weights. Each is a stream (`Task.streams`) of the model that is trained.

    A step's rows are dealt by systematic sampling: a task whose weight comes to 41.8 rows of a
    step has 41 or 42, and 41.8 in the mean over steps. So a mixture holds in any stretch of steps,
    more closely than if each row drew its task, and no state is carried from step to step.

    Args:
        weights: By task, relative to each other; tasks of weight 0 are left out.
        kinds: Tasks whose rows share a forward pass, by the kind (`SubBatch.kind`) of the pass.
            Without it all tasks do, in a pass of kind `examples`.
        multiple: The rows of each kind are a multiple of this: of ranks times micro-batch, where
            there are several kinds.

    Raises:
        ValueError: a weight is below zero or not finite, or all are zero; a task is of no kind, of
            two, or unknown.
    """

    weights: Mapping[str, float]
    kinds: Mapping[str, Sequence[str]] = field(default_factory=dict)
    multiple: int = 1

    def __post_init__(self) -> None:
        given = dict(self.weights)
        odd = {task: w for task, w in given.items() if not (w >= 0 and math.isfinite(w))}
        if odd or not sum(given.values()) > 0:
            raise ValueError(
                f"weights of a mixture's tasks are zero (left out) or above, and one is above; "
                f"found {odd or given}"
            )
        kinds = dict(self.kinds) or {"examples": tuple(given)}
        named = [task for tasks in kinds.values() for task in tasks]
        if sorted(named) != sorted(given):
            raise ValueError(
                f"each task of a mixture is of one kind; its tasks are {', '.join(given)}, those "
                f"of its kinds {', '.join(named)}"
            )
        if self.multiple < 1:
            raise ValueError(f"a mixture's `multiple` is 1 or more; found {self.multiple}")
        kept = {kind: tuple(t for t in tasks if given[t] > 0) for kind, tasks in kinds.items()}
        object.__setattr__(self, "weights", {t: w for t, w in given.items() if w > 0})
        object.__setattr__(self, "kinds", {kind: tasks for kind, tasks in kept.items() if tasks})

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that are drawn."""
        return tuple(self.weights)

    @property
    def shares(self) -> dict[str, float]:
        """Each task's share of the rows; they sum to 1."""
        whole = sum(self.weights.values())
        return {task: weight / whole for task, weight in self.weights.items()}

    def rows(self, seed: int, step: int, total: int) -> dict[str, int]:
        """How many of a step's rows are of each task, a pure function of the arguments.

        Args:
            seed: Of the run.
            step: Number of the step.
            total: Rows of all tasks.

        Raises:
            ValueError: `total` is no multiple of `multiple`.
        """
        return {
            task: n for sub in self.sub_batches(seed, step, total) for task, n in sub.rows.items()
        }

    def sub_batches(self, seed: int, step: int, total: int) -> list[SubBatch]:
        """The same as forward passes, one a kind, for `Task.plan`; a kind may have no row."""
        if total % self.multiple:
            raise ValueError(
                f"{total} rows of a mixture are no multiple of {self.multiple}, which the rows of "
                "each of its kinds must be"
            )
        draw = generator("tasks", seed, step, *self.weights)
        by_kind = [sum(self.weights[t] for t in tasks) for tasks in self.kinds.values()]
        found = []
        for (kind, tasks), units in zip(
            self.kinds.items(), _deal(by_kind, total // self.multiple, draw), strict=True
        ):
            dealt = _deal([self.weights[t] for t in tasks], units * self.multiple, draw)
            found.append(SubBatch(kind, dict(zip(tasks, dealt, strict=True))))
        return found

    def after(self, task: str) -> tuple[str, ...]:
        """The other tasks of a task's kind, the next one first: those that may use a sample that
        lacks what the task needs (`Stream.otherwise`).

        Raises:
            ValueError: the task is not drawn.
        """
        if task not in self.weights:
            raise ValueError(f"no task {task!r} is drawn; those are: {', '.join(self.weights)}")
        tasks = next(tuple(tasks) for tasks in self.kinds.values() if task in tasks)
        at = tasks.index(task)
        return tasks[at + 1 :] + tasks[:at]


def _deal(weights: Sequence[float], total: int, draw: np.random.Generator) -> list[int]:
    """Whole numbers that sum to `total`, each its exact part rounded down or up, and equal to it
    in the mean (systematic sampling: Madow, 1949)."""
    order = draw.permutation(len(weights))
    parts = np.asarray(weights, np.float64)[order]
    ends = np.cumsum(parts) / parts.sum() * total
    ends[-1] = total
    marks = np.floor(ends + draw.random()).astype(np.int64)
    found = np.empty(len(weights), np.int64)
    found[order] = np.diff(marks, prepend=0)
    return [int(n) for n in found]
