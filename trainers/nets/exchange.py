"""Tokens on their way to ranks that hold their experts, and back (all-to-all), with gradients."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_to_all_single


class Exchange:
    """One exchange of tokens among ranks that hold E experts together, each as many as the others.

    Every rank makes one and calls `there` and `back` at the same time as the others, however few
    tokens it has.

    Args:
        counts: How many of this rank's tokens go to each expert, int64 [E].
        ranks: The ranks.
    """

    def __init__(self, counts: Tensor, ranks: dist.ProcessGroup):
        size = ranks.size()
        arriving = torch.empty_like(counts)
        dist.all_to_all_single(arriving, counts, group=ranks)
        arriving = arriving.view(size, -1)
        self._ranks = ranks
        totals = torch.stack([counts.view(size, -1).sum(1), arriving.sum(1)])
        self._sent, self._received = totals.tolist()
        mine = torch.arange(arriving.shape[1], device=counts.device).repeat(size)
        # Tokens come by rank, then by expert; experts want theirs together.
        mine = mine.repeat_interleave(arriving.flatten(), output_size=sum(self._received))
        self._order = mine.argsort(stable=True)
        self.counts = arriving.sum(0)
        """How many tokens each of this rank's experts has, int64 [E / ranks]."""

    def there(self, tokens: Tensor) -> Tensor:
        """This rank's tokens, sorted by expert, [n, W], to all tokens of its own experts, sorted
        likewise, [m, W]."""
        return self._send(tokens, self._sent, self._received).index_select(0, self._order)

    def back(self, tokens: Tensor) -> Tensor:
        """[m, W] to [n, W]: each to where it came from."""
        by_rank = torch.empty_like(tokens).index_copy(0, self._order, tokens)
        return self._send(by_rank, self._received, self._sent)

    def _send(self, tokens: Tensor, sent: list[int], received: list[int]) -> Tensor:
        arrived = tokens.new_empty(sum(received), tokens.shape[1])
        found: Tensor = all_to_all_single(
            arrived, tokens.contiguous(), received, sent, group=self._ranks
        )
        return found
