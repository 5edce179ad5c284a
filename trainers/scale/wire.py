"""Bytes that a rank exchanges with others in a step, by what for, and over which wires.

Counted on the meta device, from the same module and settings that a run would have: nothing is
known of a model by its name.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from septet.trainers.engine.config import TrainSettings
from septet.trainers.task import ExpertModule, Task, expert_parameters

WIDTH = {"bf16": 2, "fp32": 4}
"""Bytes of a gathered weight, and of a token on its way to an expert. Gradients are reduced as
fp32 in either."""


@dataclass(frozen=True)
class Traffic:
    """What a rank sends in a step for one purpose; it receives as much."""

    purpose: str
    near: float
    """Bytes to ranks of its own node."""
    far: float
    """Bytes to ranks of other nodes."""
    overlaps: bool
    """Whether it goes on while the device computes: weights and gradients of one block do beside
    the next block's work, tokens and vectors that the next operation waits for do not."""

    def seconds(self, link: float, network: float) -> float:
        """How long it takes, near and far at once, at so many bytes/s."""
        return max(self.near / link, self.far / network)


@dataclass(frozen=True)
class Passes:
    """Forward and backward passes of a rank in a step, in the mean."""

    forward: float
    """Forward passes, those that are made only for pooled outputs among them."""
    backward: float
    tokens_through_experts: float
    """Of all forward passes with gradient; each layer's, and each choice's, counts."""
    pooled: float
    """Bytes of this rank's pooled outputs, fp32."""


def traffic(
    module: nn.Module, passes: Passes, train: TrainSettings, width: int, ranks: int, a_node: int
) -> list[Traffic]:
    """What a rank of a run sends in a step, largest first; nothing where it is alone.

    Args:
        module: The whole model, on the meta device.
        passes: What a rank does in a step.
        train: Settings of the run.
        width: Of tokens that go to experts.
        ranks: How many there are.
        a_node: How many of them a node has.
    """
    spread, shard = train.expert_parallel, train.shard
    experts = expert_parameters(module) if spread > 1 else set()
    dense = [x for x in module.parameters() if x not in experts]
    apart = [x for x in module.parameters() if x in experts]
    groups = [("weights and gradients", dense, 1, shard)]
    if apart:
        groups.append(("experts' weights and gradients", apart, spread, max(1, shard // spread)))
    found = defaultdict[tuple[str, bool, str], float](float)
    size = WIDTH[train.precision]
    for purpose, parameters, held, parts in groups:
        each = sum(x.numel() for x in parameters) / held
        trained = sum(x.numel() for x in parameters if x.requires_grad) / held
        copies = ranks // (parts * held)
        if parts > 1:
            # What is frozen is gathered for forward passes alone.
            gathered = size * (each * passes.forward + trained * passes.backward)
            sent = (parts - 1) / parts * (gathered + 4 * trained * passes.backward)
            _add(found, purpose, True, sent, parts, held, a_node)
        if copies > 1:
            # Gradients of replicas are reduced once, of shards and of experts after each pass.
            times = passes.backward if parts > 1 or held > 1 else 1
            sent = 2 * (copies - 1) / copies * 4 * trained / parts * times
            _add(found, purpose, True, sent, copies, parts * held, a_node)
    if spread > 1:
        # There and back, forward and backward, and forward once more where blocks are computed
        # again.
        times = 2 * (3 if train.activation_checkpointing else 2)
        sent = passes.tokens_through_experts * width * size * times
        near = (min(spread, a_node) - 1) / spread * sent
        far = max(0, spread - a_node) / spread * sent
        found["tokens to experts and back", False, "near"] += near
        found["tokens to experts and back", False, "far"] += far
    if passes.pooled and ranks > 1:
        # To all ranks, and gradients from all.
        _add(found, "vectors of pooled losses", False, 2 * passes.pooled * (ranks - 1), ranks, 1,
             a_node)  # fmt: skip
    purposes = {purpose: overlaps for purpose, overlaps, _ in found}
    result = [
        Traffic(p, found[p, overlaps, "near"], found[p, overlaps, "far"], overlaps)
        for p, overlaps in purposes.items()
    ]
    return sorted(result, key=lambda one: -(one.near + one.far))


def _add(
    found: defaultdict[tuple[str, bool, str], float],
    purpose: str,
    overlaps: bool,
    sent: float,
    members: int,
    stride: int,
    a_node: int,
) -> None:
    """Add what goes round a ring of `members` ranks, each `stride` from the last: within a node
    where all are of one; else at the pace of the network, for a ring is as slow as its slowest
    link."""
    where = "near" if members * stride <= a_node else "far"
    found[purpose, overlaps, where] += sent


class Exchanged(NamedTuple):
    """What a row brings to an exchange with other ranks."""

    tokens: int
    """That go through experts; each layer's, and each choice's, counts."""
    width: int
    """Of those."""
    pooled: int
    """Bytes of pooled outputs, fp32."""


def exchanged(task: Task, module: nn.Module, kind: str) -> Exchanged:
    """What a row of a kind brings to an exchange, at its longest; the module is on the meta device
    and in evaluation mode."""
    seen: list[tuple[int, int]] = []
    experts = [m for m in module.modules() if isinstance(m, ExpertModule)]
    hooks = [
        m.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape)) for m in experts
    ]
    with torch.device("meta"), torch.no_grad():
        outputs = task.forward(module, task.example(kind, 1))
    for hook in hooks:
        hook.remove()
    names = [name for name in task.pooled if name in outputs and name not in task.scalars]
    return Exchanged(
        tokens=sum(rows for rows, _ in seen),
        width=max((width for _, width in seen), default=0),
        pooled=sum(4 * outputs[name].numel() for name in names),
    )
