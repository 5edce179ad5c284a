"""The training loop: from the newest checkpoint, or the start, to the last step."""

import signal

from rich.console import Console

from septet.trainers.engine.run import Run, prepare
from septet.trainers.engine.schedule import Due, Signals
from septet.trainers.engine.world import World


def fit(run: Run, world: World, console: Console | None = None) -> int:
    """Train from the newest checkpoint in `run.out`, or from the start.

    Returns:
        0 when all steps are done; 128 + N when signal N asked to leave, after saving.

    Raises:
        CheckpointError: what is in `run.out` belongs to another run.
        FolderBusyError: another run trains in it.
        NonFiniteError: see `engine.update`. A checkpoint that was being written is finished.
        TooManyBadSamplesError: see `loader.source`.
    """
    with prepare(run, world, console) as ready, Signals().caught() as signals:
        while ready.progress.step < run.train.steps:
            asked = ready.advance(signals.received is not None)
            asked = asked or (world.size == 1 and signals.received is not None)
            due = Due.after(ready.progress.step, run.train, asked)
            if due.log:
                ready.report()
            if due.save:
                ready.save()
            if due.leave:
                ready.finish("asked to leave: saved step")
                return 128 + (signals.received or signal.SIGTERM)
            if due.measure:
                ready.measure()
        ready.finish("done: steps")
    return 0
