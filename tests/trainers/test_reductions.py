"""When the gradients of a step are reduced over ranks: once, in the last backward pass."""

from contextlib import nullcontext

import pytest

from septet.trainers.engine.config import TrainSettings
from septet.trainers.engine.parallel import Parallel
from tests.trainers.test_update import OPTIMIZER, WORLD, rows_of
from tests.trainers.updates import updater


@pytest.mark.parametrize("model,passes", [("clip", 3), ("clip", 1), ("flava", 2), ("beit3", 1)])
def test_gradients_are_reduced_in_the_last_backward_pass_alone(model, passes):
    """Of all micro-batches of all sub-batches, whether their losses compare rows or not."""
    task, batches = rows_of(model)
    parallel = Parallel(task.build(), task, TrainSettings(steps=1, global_batch=8), WORLD)
    reduced = []

    def synchronise(now):
        reduced.append(now)
        return nullcontext()

    parallel.synchronise = synchronise
    step = [[batch] * passes for batch in batches.values()] * 2
    updater(task, parallel, OPTIMIZER)(step, 0, 1e-3)
    assert reduced == [False] * (len(step) * passes - 1) + [True]
