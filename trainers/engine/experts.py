"""Experts spread over ranks, so that each holds some and runs them for the tokens of several."""

from collections.abc import Mapping
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
    shape = _shape(settings, world.size)
    names = ("expert_replicate", "expert_shard", "expert")
    return init_device_mesh(world.device.type, shape, mesh_dim_names=names)


def _shape(settings: TrainSettings, ranks: int) -> tuple[int, int, int]:
    """Sizes of the axes of `expert_mesh`.

    Raises:
        ValueError: the ranks cannot be cut so.
    """
    spread, shard = settings.expert_parallel, settings.shard
    if ranks % spread or max(spread, shard) % min(spread, shard):
        raise ValueError(
            f"{ranks} ranks in groups of train.shard={shard} cannot hold experts in "
            f"train.expert_parallel={spread} parts: it must divide the ranks, and divide "
            "train.shard or be a multiple of it"
        )
    parts = max(1, shard // spread)
    return ranks // (parts * spread), parts, spread


def check_spread(module: nn.Module, settings: TrainSettings, ranks: int) -> dict[str, ExpertModule]:
    """A module's experts, by name, which `ranks` ranks can hold as the settings say.

    Raises:
        ValueError: there are none, or they or the ranks cannot be cut so.
    """
    _, parts, spread = _shape(settings, ranks)
    found = {name: m for name, m in module.named_modules() if isinstance(m, ExpertModule)}
    if not found:
        raise ValueError("train.expert_parallel is of models with experts; this one has none")
    for x in (x for experts in found.values() for x in experts.parameters()):
        if len(x) % (parts * spread):
            raise ValueError(
                f"{len(x)} experts cannot be cut into {parts * spread} equal parts, as "
                "train.expert_parallel and train.shard ask for"
            )
    return found


def spread_experts(
    found: Mapping[str, ExpertModule], mesh: DeviceMesh, policy: MixedPrecisionPolicy
) -> list[str]:
    """Leave each rank its part of all experts, sharded over the ranks that hold the same.

    Gradients of experts come out averaged over the ranks that hold the same ones, each with the
    sum over the tokens of all ranks of its group: `expert` times too great.

    Args:
        found: See `check_spread`.
        mesh: See `expert_mesh`.
        policy: Of FSDP.

    Returns:
        The names of experts' parameters.
    """
    replicated = mesh["expert_replicate"].size() > 1
    over: Any = ("expert_replicate", "expert_shard") if replicated else "expert_shard"
    for experts in found.values():
        for part in experts.modules():
            for name, x in part.named_parameters(recurse=False):
                mine = distribute_tensor(x, mesh["expert"], [Shard(0)], src_data_rank=None)
                setattr(part, name, nn.Parameter(mine, requires_grad=x.requires_grad))
        experts.ranks = mesh.get_group("expert")
        fully_shard(experts, mesh=mesh[over], mp_policy=policy)
    return [f"{at}.{name}" for at, m in found.items() for name, _ in m.named_parameters()]
