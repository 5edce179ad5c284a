import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn

from septet.trainers.engine.config import OptimizerSettings
from septet.trainers.engine.optim import (
    MovingAverage,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from septet.trainers.optimizers.adamw import AdamW


def rates(**changes):
    settings = OptimizerSettings(lr=2.0, warmup_steps=4, **changes)
    return [learning_rate(settings, step, 12) for step in range(13)]


def test_warm_up_is_linear_and_reaches_the_peak():
    assert rates()[:4] == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("changes,middle,last", [
    ({}, 1.0, 0.0),
    ({"schedule": "linear"}, 1.0, 0.0),
    ({"schedule": "polynomial", "power": 2.0}, 0.5, 0.0),
    ({"schedule": "constant"}, 2.0, 2.0),
    ({"final_lr_ratio": 0.1}, 1.1, 0.2),
])  # fmt: skip
def test_schedules(changes, middle, last):
    found = rates(**changes)
    assert found[4] == 2.0
    assert found[8] == pytest.approx(middle) and found[12] == pytest.approx(last)
    assert all(a >= b for a, b in itertools.pairwise(found[4:]))


def test_noams_schedule_falls_with_the_root_of_the_step():
    found = rates(schedule="inverse_sqrt")
    assert found[:4] == [0.5, 1.0, 1.5, 2.0]
    assert found[4:] == pytest.approx([2.0 * math.sqrt(4 / n) for n in range(5, 14)])
    without = OptimizerSettings(lr=2.0, warmup_steps=0, schedule="inverse_sqrt")
    assert learning_rate(without, 0, 9) == 2.0 and learning_rate(without, 3, 9) == 1.0


def test_adamw_is_torchs():
    """Bit for bit, with a parameter that has no gradient in some steps."""
    ends = []
    for make in (AdamW, partial(torch.optim.AdamW, fused=True)):
        draw = torch.Generator().manual_seed(0)
        x, y = (nn.Parameter(torch.randn(4, 3, generator=draw)) for _ in range(2))
        groups = [{"params": [x], "weight_decay": 0.2}, {"params": [y], "weight_decay": 0.0}]
        optimizer = make(groups, lr=0.1, betas=(0.9, 0.98), eps=1e-6)
        for step in range(5):
            x.grad = torch.randn(4, 3, generator=draw)
            y.grad = torch.randn(4, 3, generator=draw) if step % 2 else None
            optimizer.step()
            optimizer.zero_grad()
            assert x.grad is None
        ends.append([x.detach(), y.detach(), *optimizer.state[y].values()])
        assert optimizer.state[y]["step"] == 2 and len(optimizer.state) == 2
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


class Layered:
    """Two linear layers; the first is one layer further from the output."""

    def decays(self, name, parameter):
        return parameter.ndim > 1

    def depth(self, name):
        return 1 - int(name.split(".")[0])


def test_groups_have_their_decay_and_their_share_of_the_rate():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight.requires_grad_(False)
    settings = OptimizerSettings(lr=1.0, weight_decay=0.3, layer_decay=0.5)
    optimizer = make_optimizer(module, Layered(), settings)
    set_learning_rate(optimizer, 0.8)
    found = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert found == {
        id(module[0].weight): (0.4, 0.3),
        id(module[0].bias): (0.4, 0.0),
        id(module[1].bias): (0.8, 0.0),
    }


def test_moving_average_follows_its_definition_and_swaps_back():
    module = nn.Linear(1, 1, bias=False)
    average = MovingAverage(module, 0.75)
    mean = module.weight.item()
    for value in (1.0, 5.0, -2.0):
        nn.init.constant_(module.weight, value)
        average.update(module)
        mean = 0.75 * mean + 0.25 * value
    assert math.isclose(float(average.mean["weight"]), mean, rel_tol=1e-6)
    average.swap(module)
    assert module.weight.item() == pytest.approx(mean)
    average.swap(module)
    assert torch.equal(module.weight, torch.tensor([[-2.0]]))
