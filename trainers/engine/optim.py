"""The optimizer, its parameter groups and the learning rate of a step."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from septet.trainers.engine.config import OptimizerSettings
from septet.trainers.optimizers.adafactor import Adafactor
from septet.trainers.optimizers.adamw import AdamW
from septet.trainers.optimizers.base import Optimizer
from septet.trainers.sharded import is_sharded
from septet.trainers.task import Task


def make_optimizer(module: nn.Module, task: Task, settings: OptimizerSettings) -> Optimizer:
    """The optimizer of the parameters that are trained, with one group for each (decays or not,
    layer depth, mesh over which it is sharded)."""
    found: dict[tuple[bool, int, tuple[str, ...]], list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            depth = task.depth(name) if settings.layer_decay else 0
            mesh = parameter.device_mesh.mesh_dim_names if is_sharded(parameter) else ()
            key = task.decays(name, parameter), depth, mesh or ()
            found.setdefault(key, []).append(parameter)
    groups = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "scale": (settings.layer_decay or 1.0) ** depth,
        }
        for (decays, depth, _), parameters in sorted(found.items(), key=lambda item: item[0])
    ]
    if settings.kind == "adafactor":
        return Adafactor(groups, lr=settings.lr)
    return AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)


def learning_rate(settings: OptimizerSettings, step: int, steps: int) -> float:
    """The rate of update `step` (the first is 0) of `steps`."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    done = min(1.0, (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps))
    left = {
        "constant": 1.0,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "linear": 1 - done,
        "polynomial": (1 - done) ** settings.power,
        "inverse_sqrt": math.sqrt(max(1, settings.warmup_steps) / (step + 1)),
    }[settings.schedule]
    return settings.lr * (settings.final_lr_ratio + (1 - settings.final_lr_ratio) * left)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set every group's rate, each scaled by its layer's factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


class MovingAverage:
    """Exponential moving average of a module's trained parameters (fp32, sharded like them)."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.mean = {name: p.detach().clone() for name, p in self._moving(module)}

    def _moving(self, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
        return ((name, p) for name, p in module.named_parameters() if p.requires_grad)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """mean = decay * mean + (1 - decay) * parameter."""
        for name, parameter in self._moving(module):
            self.mean[name].lerp_(parameter.detach(), 1 - self.decay)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange means and parameters; a second call undoes it."""
        for name, parameter in self._moving(module):
            mine = self.mean[name].clone()
            self.mean[name].copy_(parameter)
            parameter.copy_(mine)
