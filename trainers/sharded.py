"""Whether something is sharded over ranks, told without importing what shards it: that takes as
long as torch itself, and a run on one device never needs it."""

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


def is_sharded(x: Any) -> "TypeGuard[DTensor]":
    """Whether a tensor is a DTensor. None is before `torch.distributed.tensor` is imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def local_part(x: Tensor) -> Tensor:
    """What of a tensor this rank holds, in the same memory; all, where it is not sharded."""
    return x.to_local() if is_sharded(x) else x


def ranks_of(x: Tensor) -> "tuple[ProcessGroup, ...]":
    """The groups of ranks over which a tensor is cut, along its first axis: one of each axis of its
    mesh; none where each rank holds it whole."""
    if not is_sharded(x):
        return ()
    placed = x.placements
    axes = [i for i, place in enumerate(placed) if not place.is_replicate()]
    # Of experts over two axes torch says `_StridedShard`, which `is_shard` does not know.
    assert all(getattr(placed[i], "dim", None) == 0 for i in axes)
    return tuple(x.device_mesh.get_group(i) for i in axes)


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
