"""AdamW (Loshchilov and Hutter, arXiv 1711.05101), torch's fused one."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from septet.trainers.optimizers.base import Optimizer
from septet.trainers.sharded import local_part


class AdamW(Optimizer):
    """AdamW.

    Args:
        params: See `Optimizer`; groups have `weight_decay`.
        lr: Learning rate.
        betas: Decays of the mean and of the mean square of gradients.
        eps: Added to the root of the mean square.
    """

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float], eps: float):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=0.0)

    def empty_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Step, mean and mean square."""
        return {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    @torch.no_grad()
    def step(self) -> None:
        """See `Optimizer`."""
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if not trained:
                continue
            kept = [self.state_of(p) for p in trained]
            means, squares, steps = (
                [state[name] for state in kept] for name in ("exp_avg", "exp_avg_sq", "step")
            )
            beta1, beta2 = group["betas"]
            # Each value is updated by itself, so a rank updates what it holds: told of whole
            # tensors, torch reckons for seconds at first how each operation is to be cut.
            mine, gradients, means, squares = (
                [local_part(x) for x in those]
                for those in (trained, [p.grad for p in trained], means, squares)
            )
            adamw(
                mine, gradients, means, squares, [], steps, fused=True,
                amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"], eps=group["eps"],
                weight_decay=group["weight_decay"], maximize=False,
            )  # fmt: skip
