"""What is due after a step, and signals that ask a run to leave."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from septet.trainers.engine.config import TrainSettings

LEAVE_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@dataclass(frozen=True)
class Due:
    """What is due once a step is done, in this order."""

    log: bool
    save: bool
    leave: bool
    measure: bool

    @classmethod
    def after(cls, step: int, train: TrainSettings, asked: bool) -> "Due":
        """What is due after `step` steps.

        Args:
            step: Steps that are done.
            train: The run's settings.
            asked: Whether a signal asked some rank to leave.
        """
        last = step >= train.steps
        return cls(
            log=last or step % train.log_every == 0,
            save=last or asked or step % train.save_every == 0,
            leave=asked and not last,
            measure=last or step % train.eval_every == 0,
        )


class Signals:
    """The first signal that asked to leave; a second interrupt leaves at once."""

    received: int | None = None

    def _note(self, number: int, frame: object) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number

    @contextmanager
    def caught(self) -> Iterator["Signals"]:
        """Note signals instead of dying of them while the block runs."""
        before = {number: signal.signal(number, self._note) for number in LEAVE_ON}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
