"""The ranks of a run, and what they say to each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

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

    def max(self, x: Tensor) -> Tensor:
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
