"""Spread experts on ranks that write texts of different lengths: passes in turns."""

from collections.abc import Sequence

import torch
import torch.distributed as dist

from septet.trainers.task import ExpertModule


class Turns:
    """An order of passes through experts that a group of ranks holds together.

    Each pass is an exchange of all its ranks (all-to-all), and a rank whose rows are short needs
    fewer passes than another. So ranks agree before each pass whose experts are run: of those that
    any rank is about to run, the first. The others join in with no tokens, until it is their turn;
    and a rank that has nothing left to write joins in until no rank has.

    Args:
        experts: All experts of a module that the ranks hold, in the same order on each.
    """

    def __init__(self, experts: Sequence[ExpertModule]):
        self._experts = experts
        self._take = torch.compiler.disable(self._until)
        for number, each in enumerate(experts):
            each.turn = lambda number=number: self._take(number)

    def finish(self) -> None:
        """Join in until no rank has a pass left."""
        self._until(len(self._experts))

    def end(self) -> None:
        """Passes are no longer in turns."""
        for each in self._experts:
            each.turn = None

    def _until(self, wanted: int) -> None:
        """Join in the others' passes until it is the turn of the experts of a number; of their
        count, until there are none."""
        ranks = self._experts[0].ranks
        assert ranks is not None
        device = next(self._experts[0].parameters()).device
        while True:
            first = torch.tensor(wanted, device=device)
            dist.all_reduce(first, dist.ReduceOp.MIN, group=ranks)
            if (number := int(first)) == wanted:
                return
            self._experts[number].join()
