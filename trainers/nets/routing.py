"""Which experts each token goes to, how many an expert takes, and with what weights their outputs
are summed: top-k routing (Shazeer et al., arXiv 1701.06538), GShard's groups and capacity (Lepikhin
et al., arXiv 2006.16668) and k top-1 routing (expert prototyping, M6-T: Yang et al., arXiv
2105.15082).

N tokens, E experts, P prototypes (groups of experts), K choices of a token, G groups of rows.
"""

from fractions import Fraction
from typing import Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from septet.trainers.settings.base import Settings


class ExpertSettings(Settings):
    """Experts in place of a feed-forward network, and how tokens are routed to them."""

    experts: int = Field(gt=0)
    inner: int = Field(gt=0)
    """Width inside each expert."""
    chosen: int = Field(default=1, gt=0)
    """Experts that a token is sent to (top-k)."""
    prototypes: int = Field(default=1, gt=0)
    """Groups that the experts are split into, each with a softmax of its own. A token is sent to
    the best expert of every group, and their outputs are summed (k top-1)."""
    capacity_factor: float = Field(default=1.25, gt=0)
    """What an expert takes of a group's tokens, over its even share. Tokens beyond it get nothing
    from that expert. In evaluation mode experts take all."""
    capacity: Literal["k", "1"] = "k"
    """An even share is of all choices (M6-T's "capacity k×"), or of the tokens, however many
    choices each has ("capacity 1×")."""
    group_rows: int = Field(default=1, gt=0)
    """Consecutive rows whose tokens queue for the same places. Micro-batches must be whole numbers
    of groups; then no result depends on how a batch is cut or on how many ranks share it."""
    renormalise: Literal["before", "after", "none"] = "before"
    """Whether the weights of a token's chosen experts are made to sum to one: before tokens beyond
    capacity are left out, after it, or not at all. Not where it has one choice, or prototypes."""
    balance: float = Field(default=0.0, ge=0)
    """Weight of the load-balancing loss, for the task's `loss_weights`."""
    activation: Literal["gelu", "relu"] = "gelu"
    std: float = Field(default=0.02, gt=0)
    """Deviation of initial weights, the router's too."""

    @model_validator(mode="after")
    def _fit(self) -> "ExpertSettings":
        if self.chosen > 1 and self.prototypes > 1:
            raise ValueError(
                f"a token has `chosen` experts of all, or one of each of `prototypes`: set one of "
                f"{self.chosen} and {self.prototypes} to 1"
            )
        if self.experts % self.prototypes:
            raise ValueError(
                f"{self.experts} experts cannot be split into {self.prototypes} equal prototypes"
            )
        if self.chosen > self.experts:
            raise ValueError(f"a token cannot choose {self.chosen} of {self.experts} experts")
        return self

    @property
    def choices(self) -> int:
        """Experts that a token is sent to."""
        return self.chosen * self.prototypes


class ExpertSums(NamedTuple):
    """Figures of a pass through experts, each a sum over its real tokens, fp32 []: divided by their
    number (and the number of layers, where layers are added) it is a mean."""

    balance: Tensor
    """The load-balancing loss, with gradient: for each group E times the sum over experts of (share
    of first choices, before capacity) * (mean probability); 1 where both are even. With prototypes,
    their mean, each with its own number of experts."""
    variation: Tensor
    """Coefficient of variation, over experts, of how many tokens of a group choose them."""
    overflow: Tensor
    """Share of a token's choices that are beyond capacity."""

    def plus(self, other: "ExpertSums") -> "ExpertSums":
        """The sums of two layers."""
        return ExpertSums(*(a + b for a, b in zip(self, other, strict=True)))


class Routing(NamedTuple):
    """Choices within capacity, sorted by expert."""

    token: Tensor
    """Whose, int64 [n]."""
    weight: Tensor
    """Factor on the expert's output, fp32 [n]."""
    counts: Tensor
    """How many each expert takes, int64 [E]."""
    sums: ExpertSums


def route(
    logits: Tensor, real: Tensor, s: ExpertSettings, groups: int, limited: bool = True
) -> Routing:
    """Route tokens. In a group they queue in the order of rows, first choices before any second.

    Args:
        logits: The router's scores, fp32 [N, E].
        real: bool [N], False for padding, which is neither routed nor counted.
        s: Settings.
        groups: How many equal parts the tokens are, G.
        limited: Whether experts have a capacity.
    """
    tokens, experts, each = len(logits), s.experts, s.experts // s.prototypes
    chances = logits.view(tokens, s.prototypes, each).softmax(-1)
    weights, best = chances.topk(s.chosen, -1)
    offsets = torch.arange(0, experts, each, device=logits.device)[:, None]
    chosen, weights = (best + offsets).view(tokens, -1), weights.view(tokens, -1)
    if s.chosen > 1 and s.renormalise == "before":
        weights = weights / weights.sum(1, keepdim=True)

    # Choices in the order of group, rank of choice, token; then by expert, group and that order.
    length = tokens // groups
    queue = chosen.view(groups, length, s.choices).transpose(1, 2)
    group = torch.arange(groups, device=logits.device)
    seen = real.view(groups, 1, length)
    key = torch.where(seen, queue * groups + group[:, None, None], experts * groups).flatten()
    key, order = key.sort(stable=True)
    edges = torch.searchsorted(key, torch.arange(experts * groups + 1, device=key.device))
    wanted = edges.diff().view(experts, groups)
    size = seen.sum((1, 2))
    taken = wanted.minimum(_capacity(size, s)) if limited else wanted
    place = torch.arange(len(key), device=key.device) - edges[key]
    room = torch.cat([taken.flatten(), taken.new_zeros(1)])[key]
    # Without memory (device meta) nobody knows which; then all are within.
    order = order if order.is_meta else order[place < room]

    token = order // (length * s.choices) * length + order % length
    slot = token * s.choices + order // length % s.choices
    if s.chosen > 1 and s.renormalise == "after":
        within = torch.zeros(tokens * s.choices, device=order.device).index_fill(0, slot, 1.0)
        weights = weights * within.view_as(weights)
        weights = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo().tiny)
    first = wanted.T
    if s.chosen > 1:
        first = torch.zeros_like(first, memory_format=torch.contiguous_format).scatter_add_(
            1, queue[:, 0], seen[:, 0].long()
        )
    mean = (chances.view(groups, length, experts) * seen.transpose(1, 2)).sum(1)
    at_least_one = size.clamp(min=1)
    balance = (first * mean).sum(1) / at_least_one * (each / s.prototypes)
    with torch.no_grad():
        load = wanted.T.float()
        spread = load.std(1, correction=0) / load.mean(1).clamp(min=torch.finfo().tiny)
        overflow = (wanted - taken).sum().float() / s.choices
    return Routing(
        token,
        weights.flatten().index_select(0, slot),
        taken.sum(1),
        ExpertSums(balance.sum(), (spread * size).sum(), overflow),
    )


def _capacity(size: Tensor, s: ExpertSettings) -> Tensor:
    """What an expert takes of groups of so many tokens, int64 [G]: rounded up, in whole numbers,
    so that no product's last bit decides."""
    share = Fraction(str(s.capacity_factor)) * (s.choices if s.capacity == "k" else 1) / s.experts
    return (size * share.numerator + share.denominator - 1) // share.denominator
