"""Experts spread over ranks, so that each holds some and runs them for the tokens of several."""

from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard, distribute_tensor

from septet.trainers.engine.config import TrainSettings
from septet.trainers.engine.world import World
from septet.trainers.task import ExpertModule


def expert_mesh(settings: TrainSettings, world: World) -> DeviceMesh:
    """The ranks by experts: neighbours hold all experts together (axis `expert`); those that hold
    the same experts shard them (`expert_shard`), as far as `train.shard` asks for more parts than
    there are neighbours, and groups of those replicate them (`expert_replicate`).

    Raises:
        ValueError: the ranks cannot be cut so.
    """
    spread, shard = settings.expert_parallel, settings.shard
    if world.size % spread or max(spread, shard) % min(spread, shard):
        raise ValueError(
            f"{world.size} ranks in groups of train.shard={shard} cannot hold experts in "
            f"train.expert_parallel={spread} parts: it must divide the ranks, and divide "
            "train.shard or be a multiple of it"
        )
    parts = max(1, shard // spread)
    shape = (world.size // (parts * spread), parts, spread)
    names = ("expert_replicate", "expert_shard", "expert")
    return init_device_mesh(world.device.type, shape, mesh_dim_names=names)


def spread_experts(module: nn.Module, mesh: DeviceMesh, policy: MixedPrecisionPolicy) -> list[str]:
    """Leave each rank its part of all experts, sharded over the ranks that hold the same.

    Gradients of experts come out averaged over the ranks that hold the same ones, each with the
    sum over the tokens of all ranks of its group: `expert` times too great.

    Returns:
        The names of experts' parameters.

    Raises:
        ValueError: there are none, or they cannot be cut evenly.
    """
    found = {name: m for name, m in module.named_modules() if isinstance(m, ExpertModule)}
    if not found:
        raise ValueError("train.expert_parallel is of models with experts; this one has none")
    parts = mesh["expert"].size() * mesh["expert_shard"].size()
    replicated = mesh["expert_replicate"].size() > 1
    over: Any = ("expert_replicate", "expert_shard") if replicated else "expert_shard"
    for experts in found.values():
        for part in experts.modules():
            for name, x in part.named_parameters(recurse=False):
                if len(x) % parts:
                    raise ValueError(
                        f"{len(x)} experts cannot be cut into {parts} equal parts, as "
                        "train.expert_parallel and train.shard ask for"
                    )
                mine = distribute_tensor(x, mesh["expert"], [Shard(0)], src_data_rank=None)
                setattr(part, name, nn.Parameter(mine, requires_grad=x.requires_grad))
        experts.ranks = mesh.get_group("expert")
        fully_shard(experts, mesh=mesh[over], mp_policy=policy)
    return [f"{at}.{name}" for at, m in found.items() for name, _ in m.named_parameters()]
