"""Ranks, their mesh, and what makes one module of many ranks' parts."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from septet.trainers.engine.config import TrainSettings
from septet.trainers.task import Task

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among its peers."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this rank speaks for all."""
        return self.rank == 0

    def sum(self, x: Tensor) -> Tensor:
        """The sum over ranks."""
        if self.size > 1:
            dist.all_reduce(x)
        return x

    def most(self, x: Tensor) -> Tensor:
        """The greatest over ranks."""
        if self.size > 1:
            dist.all_reduce(x, dist.ReduceOp.MAX)
        return x

    def all(self, flag: bool) -> bool:
        """Whether the flag is up on every rank."""
        return not self.any(not flag)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on some rank; the device is not waited for."""
        return bool(self.sum(torch.tensor(int(flag)))) if self.size > 1 else flag

    def gather_objects(self, mine: T) -> list[T]:
        """What every rank has, by rank."""
        found: list[Any] = [mine] * self.size
        if self.size > 1:
            dist.all_gather_object(found, mine)
        return found

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()

    def gather(self, x: Tensor) -> tuple[Tensor, int]:
        """See `task.Gather`."""
        if self.size == 1:
            return x, 0
        return _Gather.apply(x), self.rank * len(x)


class _Gather(torch.autograd.Function):
    """Rows of all ranks. Its gradient is summed over ranks, so each row gets what every rank's
    loss says of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.new_empty((dist.get_world_size() * len(x), *x.shape[1:]))
        dist.all_gather_into_tensor(out, x.contiguous())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        mine = gradient.new_empty((len(gradient) // dist.get_world_size(), *gradient.shape[1:]))
        dist.reduce_scatter_tensor(mine, gradient.contiguous())
        return mine


@contextmanager
def world() -> Iterator[World]:
    """Join the ranks that `torchrun` started, or be alone."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else None
    if device:
        torch.cuda.set_device(device)
    if "RANK" not in os.environ:
        yield World(0, 1, device or torch.device("cpu"))
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device or torch.device("cpu"))
    finally:
        dist.destroy_process_group()


def _mesh(settings: TrainSettings, world: World) -> DeviceMesh | None:
    if world.size % settings.shard:
        raise ValueError(
            f"{world.size} ranks cannot be cut into groups of train.shard={settings.shard}"
        )
    if settings.shard == 1:
        return None
    kind = world.device.type
    if settings.shard == world.size:
        return init_device_mesh(kind, (world.size,), mesh_dim_names=("shard",))
    return init_device_mesh(
        kind, (world.size // settings.shard, settings.shard), mesh_dim_names=("replicate", "shard")
    )


class Parallel:
    """A module made ready for its ranks.

    `module` is what to run forward; `raw` holds the parameters under their own names. The order
    is checkpointing, then compilation, then sharding, each by block and the root last.
    """

    def __init__(self, module: nn.Module, task: Task, settings: TrainSettings, world: World):
        mesh = _mesh(settings, world)
        self.world, self.raw, self.module = world, module, module
        self._bf16 = settings.precision == "bf16"
        blocks = task.blocks(module)
        if settings.activation_checkpointing:
            checkpoint_blocks(blocks)
        if settings.compile:
            for block in blocks:
                block.compile()
        self._sharded = mesh is not None
        if mesh is not None:
            policy = MixedPrecisionPolicy(
                param_dtype=torch.bfloat16 if self._bf16 else None, reduce_dtype=torch.float32
            )
            for block in blocks:
                fully_shard(block, mesh=mesh, mp_policy=policy)
            fully_shard(module, mesh=mesh, mp_policy=policy)
        elif world.size > 1:
            self.module = DistributedDataParallel(
                module,
                broadcast_buffers=False,
                find_unused_parameters=task.unused_parameters,
                gradient_as_bucket_view=True,
            )

    def precision(self) -> Any:
        """Context of forward passes. Sharded modules cast by their own policy."""
        return torch.autocast(
            self.world.device.type, torch.bfloat16, enabled=self._bf16 and not self._sharded
        )

    def synchronise(self, now: bool) -> Any:
        """Context of a forward and backward pass whose gradients are reduced now, or later.

        Sharded gradients are always reduced at once: kept whole they would not fit.
        """
        if now or not isinstance(self.module, DistributedDataParallel):
            return nullcontext()
        return self.module.no_sync()

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The module in evaluation mode, without gradient, in the run's precision."""
        module = self.module if isinstance(self.module, FSDPModule) else self.raw
        module.eval()
        try:
            with torch.no_grad(), self.precision():
                yield module
        finally:
            module.train()


def checkpoint_blocks(blocks: Sequence[nn.Module]) -> None:
    """Keep only the blocks' inputs for the backward pass and compute the rest again then. Done on
    the instances, so that parameters keep their names."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
