"""What a run asks of its machines, estimated without them: on the meta device."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from septet.preprocess.columns.base import IMAGE
from septet.preprocess.shards.reader import Corpus
from septet.schemas.versioned import ManifestError
from septet.trainers.engine.config import OptimizerSettings, TrainSettings
from septet.trainers.engine.experts import check_spread
from septet.trainers.engine.metrics import DENSE_BF16_PEAK, sample_flops
from septet.trainers.engine.optim import make_optimizer
from septet.trainers.engine.parallel import checkpoint_blocks
from septet.trainers.loader.members import Members
from septet.trainers.loader.source import with_otherwise
from septet.trainers.optimizers.base import Optimizer
from septet.trainers.scale.wire import Passes, Traffic, exchanged, traffic
from septet.trainers.task import Task, expert_parameters

ASSUMED_DEVICE, ASSUMED_MFU = "H100", 0.4
A_NODE = 8
"""Ranks of a node, where no cluster is named."""
PLANNED = 1000
"""So many steps are looked at where steps differ."""


@dataclass(frozen=True)
class Estimate:
    """Figures of a planned run; bytes and FLOPs are whole numbers."""

    parameters: dict[str, int]
    """By top-level part of the module, and `all`."""
    forward_flops: dict[str, int]
    """A sample of each stream, forward."""
    step_flops: int
    """A step on all ranks, in the mean: forward, backward, and forward once more where pooled
    losses are accumulated over micro-batches."""
    rows_per_rank: dict[str, int]
    """By stream."""
    micro_batches: dict[str, int]
    joined: dict[str, int]
    """Samples that a row is made of at most, of streams that join several."""
    images: float
    """Decoded in a step on all ranks, in the mean."""
    traffic: list[Traffic]
    """What a rank sends in a step."""
    state_bytes: int
    """On each rank: fp32 weights; of those that are trained also their moving average, gradients
    and what the optimizer keeps (AdamW two moments, Adafactor means of rows and columns)."""
    cast_bytes: int
    """On each rank: bf16 copies of parameters while they are used: all without sharding, with it
    those of two blocks and of what is in none."""
    logit_bytes: int
    """On each rank: scores of its rows against all rows, both ways, and their gradients, where
    losses compare rows."""
    activation_bytes: int
    """On each rank: what a micro-batch keeps for its backward pass; bf16 counted as half."""
    seconds_per_step: float
    """If each rank is an H100 at 40 % MFU; small steps take longer."""
    samples_per_second: float
    """Of all ranks, likewise; a row of several samples (`joined`) counts as one."""
    bytes_per_second: float | None
    """What the loader then reads from storage, all ranks, of rows of several samples all that they
    may be made of; None where that is not known."""
    unread: str
    """Why it is not."""

    @property
    def bytes_in_all(self) -> int:
        """On each rank, all at once."""
        return self.state_bytes + self.cast_bytes + self.activation_bytes + self.logit_bytes


def activation_bytes(task: Task, train: TrainSettings, stream: str, rows: int) -> int:
    """Bytes that one forward pass of `rows` keeps for its backward pass, parameters left out."""
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        if not isinstance(x, nn.Parameter):
            kept[x.untyped_storage()._cdata] = x
        return x

    with torch.device("meta"):
        module = task.build()
        own = {p.untyped_storage()._cdata for p in module.parameters()}
        if train.activation_checkpointing:
            checkpoint_blocks(task.blocks(module))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            outputs = task.forward(module, task.example(stream, rows))
    total = sum(x.untyped_storage().nbytes() for at, x in kept.items() if at not in own)
    del outputs
    return total // 2 if train.precision == "bf16" else total


def estimate(
    task: Task,
    train: TrainSettings,
    optimizer: OptimizerSettings,
    corpora: Mapping[str, Sequence[tuple[Corpus, float]]],
    ranks: int,
    a_node: int = A_NODE,
) -> Estimate:
    """What a run on `ranks` devices needs, `a_node` of them in each node.

    Raises:
        ValueError: the batch or the sharding does not fit the number of ranks.
    """
    if ranks % train.shard:
        raise ValueError(f"{ranks} ranks cannot be cut into groups of train.shard={train.shard}")
    with torch.device("meta"):
        module = task.build().eval()
    parameters = {name: _count(child) for name, child in module.named_children()}
    parameters["directly"] = sum(p.numel() for p in module.parameters(recurse=False))
    parameters["all"] = _count(module)
    flops = sample_flops(task)
    if train.expert_parallel > 1:
        check_spread(module, train, ranks)
    brought = {kind: exchanged(task, module, kind) for kind in flops}
    plans = [task.plan(train.seed, step) for step in range(min(train.steps, PLANNED))]
    subs = Counter((sub.kind, sub.total) for plan in plans for sub in plan if sub.total)
    by_stream: Counter[str] = Counter()
    for plan in plans:
        for sub in plan:
            by_stream.update(sub.rows)
    joined = {name: stream.joins for name, stream in task.streams.items() if stream.joins > 1}
    rows, micros, total, kept = {}, {}, 0, 0
    tokens = pooled = forwards = backwards = width = 0
    for (stream, count), times in subs.items():
        if count % ranks:
            raise ValueError(f"{count} rows of {stream} cannot be shared by {ranks} ranks")
        share = count // ranks
        micro = min(train.micro_batch or share, share)
        if share % micro:
            raise ValueError(f"a rank's {share} rows are no multiple of train.micro_batch {micro}")
        rows[stream], micros[stream] = share, share // micro
        forwards_each = 2 if task.pooled and share > micro else 1
        again = (
            flops[stream].forward - flops[stream].frozen if train.activation_checkpointing else 0
        )
        extra = (forwards_each - 1) * flops[stream].forward
        total += times * count * (flops[stream].training + again + extra)
        seen = brought[stream]
        tokens += times * share * seen.tokens
        pooled += times * share * seen.pooled
        width = max(width, seen.width)
        backwards += times * (share // micro)
        forwards += times * (share // micro) * forwards_each
        kept = max(kept, activation_bytes(task, train, stream, micro))
    n = len(plans)
    step = total // n
    made = Passes(forwards / n, backwards / n, tokens / n, pooled / n)
    step_rows = sum(times * count for (_, count), times in subs.items()) / n
    rate = DENSE_BF16_PEAK[ASSUMED_DEVICE] * ASSUMED_MFU * ranks / (step / step_rows)
    read, unread = None, "give a corpus to know"
    if all(corpora.get(name) for name in task.streams):
        try:
            sizes = {name: _sample_bytes(task, name, parts) for name, parts in corpora.items()}
            size = sum(sizes[one] * joined.get(one, 1) * count for one, count in by_stream.items())
            read = rate * size / n / step_rows
        except ManifestError as error:  # A column that is still to be made.
            unread = f"not known: {error}"
    largest = max((count for _, count in subs), default=0) if task.pooled else 0
    return Estimate(
        parameters=parameters,
        forward_flops={kind: one.forward for kind, one in flops.items()},
        step_flops=step,
        rows_per_rank=rows,
        micro_batches=micros,
        joined=joined,
        images=sum(k for name, k in by_stream.items() if IMAGE in task.streams[name].members) / n,
        traffic=traffic(module, made, train, width, ranks, a_node),
        state_bytes=_state_bytes(module, train, make_optimizer(module, task, optimizer)),
        cast_bytes=_cast_bytes(task, module, train),
        activation_bytes=kept,
        logit_bytes=4 * 4 * (largest // ranks) * largest,
        seconds_per_step=step_rows / rate,
        samples_per_second=rate,
        bytes_per_second=read,
        unread=unread,
    )


def _state_bytes(module: nn.Module, train: TrainSettings, optimizer: Optimizer) -> int:
    """What lies on a rank between steps, fp32; means of a matrix's columns lie whole on each."""
    whole, sharded = 0, 0.0
    experts = expert_parameters(module)
    for p in module.parameters():
        parts = max(train.expert_parallel, train.shard) if p in experts else train.shard
        held = p.numel()
        if p.requires_grad:
            held += (2 if train.ema else 1) * p.numel()
            for name, x in optimizer.empty_state(p).items():
                if name == "column" and p.ndim == 2:
                    whole += x.numel()
                elif name != "step":
                    held += x.numel()
        sharded += held / parts
    return int(4 * sharded) + 4 * whole


def _sample_bytes(task: Task, stream: str, parts: Sequence[tuple[Corpus, float]]) -> float:
    """What a sample of a stream makes the loader read, in the mean of its corpora by weight."""
    total = sum(weight for _, weight in parts)
    joined = with_otherwise(task.streams, stream)
    read = [(Members(c, joined, task).bytes_per_sample(), w) for c, w in parts]
    return sum(size * weight for size, weight in read) / total


def _cast_bytes(task: Task, module: nn.Module, train: TrainSettings) -> int:
    """Copies of weights in use; a rank makes none of experts that others hold."""
    away = (train.expert_parallel - 1) / train.expert_parallel

    def gathered(part: nn.Module) -> float:
        return _count(part) - away * sum(x.numel() for x in expert_parameters(part))

    if train.shard == 1:
        return int(2 * gathered(module)) if train.precision == "bf16" else 0
    blocks = [gathered(block) for block in task.blocks(module)]
    width = 2 if train.precision == "bf16" else 4
    return int(width * (gathered(module) - sum(blocks) + 2 * max(blocks, default=0)))


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
