"""A module over many ranks: replicated or sharded, in bf16, compiled, checkpointing activations."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from septet.trainers.engine.config import TrainSettings
from septet.trainers.engine.world import World
from septet.trainers.sharded import is_sharded, local_part, ranks_of
from septet.trainers.task import Task

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import MixedPrecisionPolicy


def _mesh(settings: TrainSettings, world: World) -> "DeviceMesh | None":
    if world.size % settings.shard:
        raise ValueError(
            f"{world.size} ranks cannot be cut into groups of train.shard={settings.shard}"
        )
    if settings.shard == 1:
        return None
    from torch.distributed.device_mesh import init_device_mesh

    kind = world.device.type
    if settings.shard == world.size:
        return init_device_mesh(kind, (world.size,), mesh_dim_names=("shard",))
    return init_device_mesh(
        kind, (world.size // settings.shard, settings.shard), mesh_dim_names=("replicate", "shard")
    )


def _empty(x: Tensor, device: torch.device) -> Tensor:
    """As `Module.to_empty` has it. `empty_like` on the meta device is Python that imports sympy."""
    if is_sharded(x):
        return torch.empty_like(x, device=device)
    return torch.empty(x.shape, dtype=x.dtype, device=device)


def _policy(bf16: bool) -> "MixedPrecisionPolicy":
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # Autocast does it, operation by operation.
    )


class Parallel:
    """A module made ready for its ranks.

    `module` is what to run forward; `raw` holds the parameters under their own names. The order
    is checkpointing, then compilation, then experts, then sharding, each by block and the root
    last; then, where the module has no memory yet, `begin`; then replication.

    In bf16 every forward pass runs under autocast, so that each operation computes in the same type
    however the parameters lie. Sharded parameters are gathered as bf16, but for those that the task
    keeps in fp32: each rank holds them whole, and their gradients are averaged here.

    Args:
        module: On the meta device, or with values.
        task: Its task.
        settings: Of the run.
        world: The ranks.
        begin: Gives the module's tensors values once they have memory.
    """

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        settings: TrainSettings,
        world: World,
        begin: Callable[[nn.Module], None] | None = None,
    ):
        mesh = _mesh(settings, world)
        self.world, self.raw, self.module = world, module, module
        self._bf16 = settings.precision == "bf16"
        self._whole: list[str] = []
        self._experts, self._spread = list[str](), settings.expert_parallel
        blocks = task.blocks(module)
        if settings.activation_checkpointing:
            checkpoint_blocks(blocks)
        if settings.compile:
            for block in blocks:
                block.compile()
        if self._spread > 1:
            from septet.trainers.engine.experts import check_spread, expert_mesh, spread_experts

            meshes = expert_mesh(settings, world)
            found = check_spread(module, settings, world.size)
            self._experts = spread_experts(found, meshes, _policy(self._bf16))
        if mesh is not None:
            self._shard(blocks, task, mesh, _policy(self._bf16))
        if begin is not None:
            module._apply(partial(_empty, device=world.device))
            begin(module)
        if mesh is None and world.size > 1:
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
                module, self._experts
            )
            self.module = DistributedDataParallel(
                module,
                broadcast_buffers=False,
                find_unused_parameters=task.unused_parameters,
                gradient_as_bucket_view=True,
            )
        self._cut_alike: dict[tuple[dist.ProcessGroup, ...], list[nn.Parameter]] = {}
        for parameter in module.parameters():
            self._cut_alike.setdefault(ranks_of(parameter), []).append(parameter)

    def _shard(
        self,
        blocks: Sequence[nn.Module],
        task: Task,
        mesh: "DeviceMesh",
        policy: "MixedPrecisionPolicy",
    ) -> None:
        from torch.distributed.fsdp import fully_shard

        named = dict(self.raw.named_parameters())
        if self._bf16:
            self._whole = [name for name, x in named.items() if task.stays_fp32(name, x)]
        whole = {named[name] for name in self._whole}
        for part in [*blocks, self.raw]:
            fully_shard(part, mesh=mesh, mp_policy=policy, ignored_params=whole)

    def precision(self) -> Any:
        """Context of forward passes."""
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self._bf16)

    def synchronise(self, now: bool) -> Any:
        """Context of a forward and backward pass whose gradients are reduced now, or later.

        Sharded gradients are always reduced at once: kept whole they would not fit.
        """
        if now or not isinstance(self.module, DistributedDataParallel):
            return nullcontext()
        return self.module.no_sync()

    @torch.no_grad()
    def finish_gradients(self) -> None:
        """After the last backward pass: average, over ranks, the gradients of the parameters that
        each rank of a sharded module holds whole; and make those of experts, which are sums over
        the ranks that hold them together, averages."""
        named = dict(self.raw.named_parameters()) if self._whole or self._experts else {}
        gradients = [x for name in self._whole if (x := named[name].grad) is not None]
        self._average(gradients)
        for name in self._experts:
            if (gradient := named[name].grad) is not None:
                gradient.div_(self._spread)

    @torch.no_grad()
    def average_statistics(self) -> None:
        """After an update: average over ranks the running statistics that each rank's batch norms
        took of its own rows, so that checkpoints and measures hold one module's."""
        if self.world.size > 1:
            norms = [m for m in self.raw.modules() if isinstance(m, _NormBase)]
            found = [x for m in norms for x in (m.running_mean, m.running_var) if x is not None]
            self._average(found)

    def _average(self, tensors: Sequence[Tensor]) -> None:
        """Average tensors of one type over all ranks, in one exchange."""
        if tensors:
            flat = torch.cat([x.flatten() for x in tensors])
            dist.all_reduce(flat)
            for x, mean in zip(
                tensors, (flat / self.world.size).split([x.numel() for x in tensors]), strict=True
            ):
                x.copy_(mean.view_as(x))

    def gradient_norm(self) -> Tensor:
        """The norm of all gradients, equal on all ranks, []."""
        squares = []
        for ranks, parameters in self._cut_alike.items():
            if gradients := _gradients(parameters):
                squares.append(torch.nn.utils.get_total_norm(gradients).double().square())
                for group in ranks:
                    dist.all_reduce(squares[-1], group=group)
        return torch.stack(squares).sum().sqrt().float()

    def clip_gradients(self, most: float, norm: Tensor) -> None:
        """Scale all gradients so that their norm, which is `norm` now, is `most`."""
        torch._foreach_mul_(_gradients(self.raw.parameters()), (most / (norm + 1e-6)).clamp(max=1))

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The module in evaluation mode, without gradient, in the run's precision."""
        module = self.raw  # What replicates it passes on no `encode`, and is needed for gradients.
        module.eval()
        try:
            with torch.no_grad(), self.precision():
                yield module
        finally:
            module.train()


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """What this rank holds of gradients. An operation on parts costs the host a fraction of what it
    does on whole tensors that are sharded."""
    return [local_part(x.grad) for x in parameters if x.grad is not None]


def checkpoint_blocks(blocks: Sequence[nn.Module]) -> None:
    """Keep only the blocks' inputs for the backward pass and compute the rest again then. Done on
    the instances, so that parameters keep their names."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
