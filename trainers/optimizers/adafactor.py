"""Adafactor (Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
arXiv 1804.04235), for whole and sharded parameters.

In place of the mean square of each gradient it keeps, for large matrices, those of rows and of
columns. The formulas are the paper's; `torch.optim.Adafactor` fails on sharded parameters. Here
each rank works on its own rows and two exchanges a step make sums over all: one of column means,
one of the norms of parameters and updates.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from septet.trainers.optimizers.base import Optimizer
from septet.trainers.sharded import local_part, ranks_of

LEAST = 1e-30
"""Added to squares of gradients (the paper's ε1, as T5X has it); torch has 1e-14 and, where it
divides by their mean, 1e-7, which gradients of large models fall below."""

SMALLEST_FACTORED = 128
"""Rows and columns that a matrix has at least for rows' and columns' means to stand for it, as T5X
has it: of a small one they save nothing, and blur which of its gradients are large."""


@dataclass
class _Part:
    """This rank's rows of a parameter in one update."""

    parameter: Tensor
    """The optimizer's, whole or sharded."""
    rows: Tensor
    """Its values here; all of them where it is not sharded."""
    gradient: Tensor
    groups: tuple[dist.ProcessGroup, ...]
    """The ranks that have the other rows, by axis of the mesh; none where it is whole."""
    settings: dict[str, Any]
    state: dict[str, Any]
    update: Tensor


class Adafactor(Optimizer):
    """Adafactor without momentum.

    Args:
        params: Parameters, or groups of them with `lr` and `weight_decay` of their own.
        lr: Learning rate; the step's size is it times the parameter's root mean square.
        beta2_decay: Power of the step by which the mean squares' memory grows.
        smallest_scale: Least root mean square of a parameter to take.
        clip_update: Most root mean square of an update before the learning rate.
        weight_decay: Of the parameter, times the learning rate.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        beta2_decay: float = -0.8,
        smallest_scale: float = 1e-3,
        clip_update: float = 1.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(
            params, lr=lr, beta2_decay=beta2_decay, smallest_scale=smallest_scale,
            clip_update=clip_update, weight_decay=weight_decay,
        )  # fmt: skip

    @torch.no_grad()
    def step(self) -> None:
        """See `Optimizer`."""
        parts = [
            self._begin(p, g) for g in self.param_groups for p in g["params"] if p.grad is not None
        ]
        matrices = [part for part in parts if "row" in part.state]
        columns = [
            part.gradient.square().sum(-2, keepdim=True)
            if part.rows.ndim == 2
            else part.gradient.square().mean(-2, keepdim=True)
            for part in matrices
        ]
        # Matrices are sharded by rows, so a column's sum is of all ranks; tensors of more axes are
        # sharded by the first, and each rank has whole matrices.
        _sum([(x, p.groups) for x, p in zip(columns, matrices, strict=True) if p.rows.ndim == 2])
        for part, column in zip(matrices, columns, strict=True):
            if part.rows.ndim == 2:
                column /= part.parameter.shape[0]
            part.state["column"].lerp_(column + LEAST, part.settings["forget"])
        for part in parts:
            self._direct(part)
        norms = [torch.stack([_square(p.rows), _square(p.update)]) for p in parts]
        _sum([(x, p.groups) for x, p in zip(norms, parts, strict=True)])
        for part, squares in zip(parts, norms, strict=True):
            settings, scale = part.settings, (squares / part.parameter.numel()).sqrt()
            size = scale[0].clamp(min=settings["smallest_scale"]) * settings["lr"]
            part.rows.mul_(1 - settings["lr"] * settings["weight_decay"])
            short = (scale[1] / settings["clip_update"]).clamp(min=1)
            part.rows.sub_(part.update * (size / short))

    def empty_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Step; mean square, or of large matrices those of rows and of columns."""
        step = torch.zeros((), device=parameter.device)
        if parameter.ndim <= 1 or min(parameter.shape[-2:]) < SMALLEST_FACTORED:
            return {"step": step, "square": torch.zeros_like(parameter)}
        row = torch.zeros_like(parameter[..., :1])
        column = torch.zeros_like(parameter[..., :1, :])
        if parameter.ndim == 2:  # The columns' means are of all ranks' rows, equal on all.
            size, kind = (1, parameter.shape[1]), parameter.dtype
            column = torch.zeros(size, dtype=kind, device=parameter.device)
        return {"step": step, "row": row, "column": column}

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> _Part:
        state = self.state_of(parameter)
        state["step"] += 1
        settings = {**group, "forget": state["step"] ** group["beta2_decay"]}
        assert parameter.grad is not None
        local = {key: local_part(x) for key, x in state.items()}
        rows, gradient = local_part(parameter), local_part(parameter.grad)
        return _Part(parameter, rows, gradient, ranks_of(parameter), settings, local, gradient)

    def _direct(self, part: _Part) -> None:
        """The update before it is scaled: the gradient over the root of its mean square."""
        state, forget = part.state, part.settings["forget"]
        square = part.gradient.square()
        if "row" in state:
            state["row"].lerp_(square.mean(-1, keepdim=True) + LEAST, forget)
            # The mean over rows of rows' means is that over columns of columns' means. Factor by
            # factor, as products of squares this small are zero.
            whole = state["column"].mean(-1, keepdim=True)
            part.update = part.gradient * (state["row"] / whole).rsqrt() * state["column"].rsqrt()
        else:
            part.update = part.gradient * state["square"].lerp_(square + LEAST, forget).rsqrt()


def _square(x: Tensor) -> Tensor:
    return x.square().sum()


def _sum(found: list[tuple[Tensor, tuple[dist.ProcessGroup, ...]]]) -> None:
    """Sum tensors over their ranks in place, group after group; those of the same ranks in one
    exchange."""
    found = [(x, groups) for x, groups in found if groups]
    together: dict[dist.ProcessGroup, list[Tensor]] = {}
    for x, groups in found:
        together.setdefault(groups[0], []).append(x)
    for group, tensors in together.items():
        flat = torch.cat([x.flatten() for x in tensors])
        dist.all_reduce(flat, group=group)
        for x, summed in zip(tensors, flat.split([x.numel() for x in tensors]), strict=True):
            x.copy_(summed.view_as(x))
    if found:
        _sum([(x, groups[1:]) for x, groups in found])
