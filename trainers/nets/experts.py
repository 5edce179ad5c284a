"""Mixture of experts: a layer of feed-forward networks of which each token uses a few.

It stands where a feed-forward network would, in any model. R rows of S tokens of width W, E experts
of inner width F. See docs/experts.md.
"""

from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.nets.exchange import Exchange
from septet.trainers.nets.grouped import grouped_product, in_batch
from septet.trainers.nets.routing import ExpertSettings, ExpertSums, route
from septet.trainers.sharded import local_part
from septet.trainers.task import ExpertModule

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


class ExpertNetworks(ExpertModule):
    """The feed-forward networks, without biases: down(act(up x)).

    Args:
        width: Of tokens.
        s: Settings.
    """

    def __init__(self, width: int, s: ExpertSettings):
        super().__init__()
        self.activation = ACTIVATIONS[s.activation]
        self.up = nn.Parameter(torch.empty(s.experts, width, s.inner))
        self.down = nn.Parameter(torch.empty(s.experts, s.inner, width))
        nn.init.normal_(self.up, std=s.std)
        nn.init.normal_(self.down, std=s.std)

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Tokens through their experts' networks, [n, W] to [n, W].

        Args:
            rows: Sorted by expert.
            counts: How many each expert has, int64 [E].
        """
        rows = _in_autocasts_type(rows)
        if self.ranks is None:
            return self._run(rows, counts)
        if self.turn is not None:
            self.turn()
        return self._exchanged(rows, counts, self.ranks)

    def join(self) -> None:
        """See `ExpertModule.join`."""
        assert self.ranks is not None
        experts, width, _ = self.up.shape
        none = torch.zeros(experts, dtype=torch.int64, device=self.up.device)
        rows = torch.zeros(0, width, device=self.up.device)
        self._exchanged(_in_autocasts_type(rows), none, self.ranks)

    def _exchanged(self, rows: Tensor, counts: Tensor, ranks: dist.ProcessGroup) -> Tensor:
        """The same together with the other ranks, each of which brings tokens."""
        exchange = Exchange(counts, ranks)
        return exchange.back(self._run(exchange.there(rows), exchange.counts))

    def _run(self, rows: Tensor, counts: Tensor) -> Tensor:
        """The same for the experts that this rank holds."""
        up, down = (local_part(x).to(rows.dtype) for x in (self.up, self.down))
        if (found := in_batch(rows, up, counts)) is None:
            inner = self.activation(grouped_product(rows, up, counts))
            return grouped_product(inner, down, counts)
        batch, places = found
        made = torch.bmm(self.activation(torch.bmm(batch, up)), down)
        return made.flatten(0, 1).index_select(0, places)


class Experts(nn.Module):
    """The layer: router, experts, and the sum of what they give each token.

    The router works in fp32 under autocast, too; where parameters are sharded in bf16,
    `Task.stays_fp32` names it.

    Args:
        width: Of tokens.
        s: Settings.
    """

    def __init__(self, width: int, s: ExpertSettings):
        super().__init__()
        self.settings = s
        self.router = nn.Parameter(torch.empty(s.experts, width))
        nn.init.normal_(self.router, std=s.std)
        self.networks = ExpertNetworks(width, s)

    def forward(self, x: Tensor, real: Tensor) -> tuple[Tensor, ExpertSums]:
        """What the experts add to the residual.

        Args:
            x: [R, S, W].
            real: bool [R, S], False for padding.

        Returns:
            [R, S, W] of the type of `x`, zero for padding and for what is beyond capacity; and
            the pass's figures.

        Raises:
            ValueError: in training mode, the rows are no whole number of groups.
        """
        s, rows = self.settings, len(x)
        if self.training and rows % s.group_rows:
            raise ValueError(
                f"{rows} rows at once are no whole number of groups of {s.group_rows} rows, which "
                "experts count their capacity in: make the rows of a rank, and train.micro_batch, "
                "a multiple of group_rows"
            )
        if self.router.dtype != torch.float32:
            raise ValueError(
                f"a router works in float32, found {self.router.dtype}: have `Task.stays_fp32` "
                "name its parameter"
            )
        groups = rows // s.group_rows if self.training else 1
        tokens = x.reshape(-1, x.shape[2])
        with torch.autocast(_autocast_kind(x), enabled=False):
            logits = F.linear(tokens.float(), self.router)
            found = route(logits, real.reshape(-1), s, groups, limited=self.training)
        made = self.networks(tokens.index_select(0, found.token), found.counts)
        weighted = made.float() * found.weight[:, None]
        out = torch.zeros_like(tokens, dtype=torch.float32).index_add(0, found.token, weighted)
        return out.to(x.dtype).view_as(x), found.sums


def _in_autocasts_type(x: Tensor) -> Tensor:
    """In the type of autocast's products, where there is autocast."""
    kind = _autocast_kind(x)
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _autocast_kind(x: Tensor) -> str:
    """The kind of device whose autocast an operation is under; there is none of device meta."""
    return "cpu" if x.is_meta else x.device.type
