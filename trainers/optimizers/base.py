"""What all optimizers here have.

They are not torch's `Optimizer`, which imports torch._dynamo, with sympy and inductor, when it is
made: most of the time until the first step of a small run.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from torch import Tensor


class Optimizer(ABC):
    """Groups of parameters, and what is kept of each parameter.

    Args:
        params: Parameters, or groups of them: `params`, and settings of their own.
        defaults: Settings of groups that have no others.
    """

    def __init__(self, params: Iterable[Any], **defaults: Any):
        given = list(params)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        self.param_groups: list[dict[str, Any]] = [
            {**defaults, **group, "params": list(group["params"])} for group in groups
        ]
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        """Of the parameters that have been updated."""

    @abstractmethod
    def empty_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """What is kept of a parameter before its first update, sharded as it is."""

    @abstractmethod
    def step(self) -> None:
        """One update of all parameters that have a gradient."""

    def state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """What is kept of a parameter, from now on."""
        if not self.state[parameter]:
            self.state[parameter] = self.empty_state(parameter)
        return self.state[parameter]

    def zero_grad(self) -> None:
        """Let all gradients go."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
