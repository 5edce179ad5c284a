"""Our layer of experts beside Switch Transformers' sparse layer of `transformers`.

    python -m benchmarks.moe [--pairs 15] [--threads 2]

Both have the same weights, capacity and tokens, in fp32, and give the same outputs and gradients,
which is looked at first. Theirs counts capacity by sequence, so it is given all tokens as one; ours
has them as one group. Each round runs forward and backward of both, in turns which of them first; a
ratio is that of a round, theirs to ours, and the last line the geometric mean over shapes.
"""

import argparse
import statistics
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import SwitchTransformersConfig
from transformers.models.switch_transformers.modeling_switch_transformers import (
    SwitchTransformersSparseMLP,
)

from septet.trainers.nets.experts import Experts
from septet.trainers.nets.routing import ExpertSettings


class Shape(NamedTuple):
    """Of a layer and what it is given."""

    name: str
    width: int
    inner: int
    experts: int
    tokens: int


SHAPES = (
    Shape("debug", 64, 128, 8, 1024),
    Shape("many narrow experts", 256, 512, 128, 4096),
    Shape("M6-T base", 1024, 4096, 32, 2176),
)
FACTOR = 1.25


def layers(shape: Shape) -> tuple[Experts, nn.Module]:
    """Ours and theirs, with the same weights."""
    torch.manual_seed(0)
    ours = Experts(
        shape.width,
        ExpertSettings(
            experts=shape.experts, inner=shape.inner, capacity_factor=FACTOR, activation="relu"
        ),
    )
    config = SwitchTransformersConfig(
        d_model=shape.width,
        d_ff=shape.inner,
        num_experts=shape.experts,
        expert_capacity=-(-shape.tokens * 5 // (4 * shape.experts)),
        dropout_rate=0.0,
        router_jitter_noise=0.0,
    )
    theirs = SwitchTransformersSparseMLP(config)
    with torch.no_grad():
        theirs.router.classifier.weight.copy_(ours.router)
        for e in range(shape.experts):
            expert: Any = theirs.experts[f"expert_{e}"]
            expert.wi.weight.copy_(ours.networks.up[e].T)
            expert.wo.weight.copy_(ours.networks.down[e].T)
    return ours.train(), theirs.train()


def once(layer: nn.Module, x: Tensor, real: Tensor, slope: Tensor) -> tuple[float, Tensor]:
    """Seconds of a forward and backward pass, and the output."""
    x.grad = None
    layer.zero_grad()
    began = time.perf_counter()
    out = layer(x, real)[0] if isinstance(layer, Experts) else layer(x)
    out.backward(slope)
    return time.perf_counter() - began, out.detach()


def require_equal(ours: Experts, theirs: nn.Module, x: Tensor, real: Tensor, slope: Tensor) -> None:
    """Outputs and all gradients of both."""
    found = []
    for layer in (ours, theirs):
        _, out = once(layer, x, real, slope)
        found.append([out, x.grad])
    named = dict(theirs.named_parameters())
    empty = torch.zeros(())
    for mine, their in (("up", "wi"), ("down", "wo")):
        found[0].append(getattr(ours.networks, mine).grad)
        each = [named[f"experts.expert_{e}.{their}.weight"] for e in range(ours.settings.experts)]
        found[1].append(
            torch.stack([(p.grad.T if p.grad is not None else empty.expand_as(p.T)) for p in each])
        )
    found[0].append(ours.router.grad)
    found[1].append(named["router.classifier.weight"].grad)
    for mine, their in zip(*found, strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-3, atol=1e-4 * float(their.abs().max()))


def ratios(shape: Shape, pairs: int) -> list[float]:
    """Theirs to ours, of each round."""
    ours, theirs = layers(shape)
    x = torch.randn(1, shape.tokens, shape.width).requires_grad_()
    real, slope = torch.ones(1, shape.tokens, dtype=torch.bool), torch.randn(x.shape)
    require_equal(ours, theirs, x, real, slope)
    once(ours, x, real, slope)
    found, seconds = [], {True: list[float](), False: list[float]()}
    for i in range(pairs):
        order = (ours, theirs) if i % 2 else (theirs, ours)
        spent = {layer is ours: once(layer, x, real, slope)[0] for layer in order}
        found.append(spent[False] / spent[True])
        for mine, one in spent.items():
            seconds[mine].append(one)
    ms = {mine: 1000 * min(each) for mine, each in seconds.items()}
    print(
        f"{shape.name:>20}  ours {ms[True]:8.1f} ms, theirs {ms[False]:8.1f} ms at best", end="  "
    )
    return found


def main() -> None:
    """Print each shape, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    medians = []
    for shape in SHAPES:
        found = sorted(ratios(shape, given.pairs))
        medians.append(statistics.median(found))
        low, high = found[len(found) // 10], found[-1 - len(found) // 10]
        print(
            f"{shape.width} x {shape.inner}, {shape.experts} experts, {shape.tokens} tokens: "
            f"{medians[-1]:.2f} ({low:.2f} to {high:.2f}, {len(found)} rounds)"
        )
    print(f"ratio moe_layer_vs_transformers {statistics.geometric_mean(medians):.2f}")


if __name__ == "__main__":
    main()
