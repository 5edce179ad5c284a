"""Whether something is sharded over ranks, told without importing what shards it: that takes as
long as torch itself, and a run on one device never needs it."""

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


def is_sharded(x: Any) -> "TypeGuard[DTensor]":
    """Whether a tensor is a DTensor. None is before `torch.distributed.tensor` is imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def local_part(x: Tensor) -> Tensor:
    """What of a tensor this rank holds, in the same memory; all, where it is not sharded."""
    return x.to_local() if is_sharded(x) else x


def part_of(whole: Tensor, like: Tensor) -> Tensor:
    """The part of a value which this rank would hold if it were sharded like a tensor. Every rank
    has the value, and nothing is sent."""
    if not is_sharded(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = like.device_mesh, like.placements
    return distribute_tensor(whole, mesh, placements, src_data_rank=None).to_local()


def sharded_modules(module: nn.Module) -> "list[FSDPModule]":
    """The parts of a module, itself among them, that FSDP2 shards."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return [part for part in module.modules() if fsdp and isinstance(part, fsdp.FSDPModule)]
