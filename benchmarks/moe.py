"""Our layer of experts beside Switch Transformers' sparse layer of `transformers`.

    python -m benchmarks.moe [--threads 2]

Both have the same weights, capacity and tokens, in fp32, and give the same outputs and gradients,
which is looked at first. Theirs counts capacity by sequence, so it is given all tokens as one; ours
has them as one group. A round is a third of a second of forward and backward passes of ours, and as
many of theirs in turns with them; its ratio is their time to ours. Of each shape the median and the
quartiles of the rounds are printed, and the last line is the geometric mean of the medians. Freed
memory is kept, as `septet train` keeps it on a CPU: else gradients would cost more than products.
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

from septet.trainers.memory import keep_freed_memory
from septet.trainers.nets.experts import Experts
from septet.trainers.nets.routing import ExpertSettings


class Shape(NamedTuple):
    """Of a layer and what it is given."""

    name: str
    rounds: int
    """Of the benchmark."""
    width: int
    inner: int
    experts: int
    tokens: int


SHAPES = (
    Shape("debug", 25, 64, 128, 8, 1024),
    Shape("many narrow experts", 25, 256, 512, 128, 4096),
    Shape("M6-T base", 5, 1024, 4096, 32, 2176),
)
FACTOR = 1.25
SECONDS = 0.3
"""Of each layer in a round, about."""


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


def ratios(shape: Shape) -> list[float]:
    """Theirs to ours, of each round."""
    ours, theirs = layers(shape)
    x = torch.randn(1, shape.tokens, shape.width).requires_grad_()
    real, slope = torch.ones(1, shape.tokens, dtype=torch.bool), torch.randn(x.shape)
    require_equal(ours, theirs, x, real, slope)
    passes = max(1, round(SECONDS / once(ours, x, real, slope)[0]))
    found, seconds = list[float](), {True: list[float](), False: list[float]()}
    for _ in range(shape.rounds):
        spent = {True: 0.0, False: 0.0}
        for i in range(passes):
            for layer in (ours, theirs) if (len(found) + i) % 2 else (theirs, ours):
                spent[layer is ours] += once(layer, x, real, slope)[0] / passes
        found.append(spent[False] / spent[True])
        for mine, one in spent.items():
            seconds[mine].append(one)
    ms = {mine: 1000 * statistics.median(each) for mine, each in seconds.items()}
    print(f"{shape.name:>20}  ours {ms[True]:7.1f} ms, theirs {ms[False]:7.1f} ms", end="  ")
    return found


def main() -> None:
    """Print each shape, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    medians = []
    for shape in SHAPES:
        found = ratios(shape)
        low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
        medians.append(middle)
        print(
            f"{shape.width} x {shape.inner}, {shape.experts} experts, {shape.tokens} tokens: "
            f"{middle:.2f} ({low:.2f} to {high:.2f})"
        )
    print(f"ratio moe_layer_vs_transformers {statistics.geometric_mean(medians):.2f}")


if __name__ == "__main__":
    main()
