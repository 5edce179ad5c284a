"""A task's module over ranks, and its updates, without a run around them."""

from collections.abc import Callable

from torch import nn

from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.initial import Initial
from septet.trainers.engine.optim import make_optimizer
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.update import Updater
from septet.trainers.engine.world import World
from septet.trainers.task import Task


def over_ranks(
    task: Task,
    train: TrainSettings,
    ranks: World,
    seed: int = 0,
    build: Callable[[], nn.Module] | None = None,
) -> Parallel:
    """The task's module, or what `build` gives, with the values that a run of that seed gives it."""
    initial = Initial(build or task.build, seed)

    def begin(module: nn.Module) -> None:
        initial.fill(module, {})

    return Parallel(initial.module, task, train, ranks, begin)


def updater(task: Task, parallel: Parallel, settings: OptimizerSettings) -> Updater:
    """What updates the module."""
    optimizer = make_optimizer(parallel.raw, task, settings)
    return Updater(task, parallel, optimizer, 0, settings.clip_norm)
