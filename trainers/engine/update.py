"""One update: denominators, forward, backward, checks, optimizer."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from septet.trainers.draws import generator
from septet.trainers.engine.optim import set_learning_rate
from septet.trainers.engine.parallel import Parallel
from septet.trainers.optimizers.base import Optimizer
from septet.trainers.task import Batch, Task, concatenate

Factors = Mapping[str, Tensor]
"""What each loss's sum is multiplied by, float32 []."""


class ContractError(ValueError):
    """A task whose names of losses and counts do not go together; says which."""


class NonFiniteError(RuntimeError):
    """A loss or gradient that is not finite; the parameters are those of the step before."""


@dataclass
class Update:
    """What a step came to, equal on all ranks."""

    losses: dict[str, float]
    """Mean of each loss over its global denominator."""
    total: float
    """The weighted sum of the means."""
    gradient_norm: float
    rate: float
    """Learning rate."""
    asked: bool
    """Whether some rank said that it is asked to leave."""


class Updater:
    """Runs updates of one module.

    For each loss, its sums over all micro-batches and ranks are divided by its count over all of
    them, which is known before the first backward pass. So the gradient is that of one big batch,
    however it is cut and however unevenly the counts fall.
    """

    def __init__(
        self,
        task: Task,
        parallel: Parallel,
        optimizer: Optimizer,
        seed: int,
        clip_norm: float | None,
    ):
        self._task, self._parallel, self.optimizer = task, parallel, optimizer
        self._seed, self._clip = seed, clip_norm
        self._world = parallel.world

    def _stack(self, names: Sequence[str], values: Mapping[str, Tensor | float]) -> Tensor:
        """Values by the order of names, float64 [n], zero where there is none."""
        made = [values.get(name, 0.0) for name in names]
        # `full` is filled on the device; `torch.tensor` would be copied there and waited for.
        return torch.stack(
            [
                x.double()
                if isinstance(x, Tensor)
                else torch.full((), x, dtype=torch.float64, device=self._world.device)
                for x in made
            ]
        )

    def _forward(
        self, batch: Batch, step: int, sub: int, micro: int, pooled: bool = False
    ) -> dict[str, Tensor]:
        """Outputs (or the pooled ones alone); dropout is a pure function of seed, step, place."""
        draw = generator("torch", self._seed, step, sub, micro, self._world.rank)
        # On a CPU `torch.manual_seed` keeps each seed for a GPU that may come, with a traceback.
        alone = self._world.device.type == "cpu"
        seed = torch.default_generator.manual_seed if alone else torch.manual_seed
        seed(int(draw.integers(2**63)))
        with self._parallel.precision():
            way = self._task.pooled_outputs if pooled else self._task.forward
            return way(self._parallel.module, batch)

    def _objective(self, sums: dict[str, Tensor], factors: Factors) -> Tensor:
        """This pass's part of the objective."""
        for name in sums:
            if name not in factors:
                raise ContractError(
                    f"{type(self._task).__name__}: there is a loss {name!r} and no count of it; "
                    f"`counts` gave {', '.join(sorted(factors)) or 'none'}. Count what divides it"
                )
        return torch.stack([x.float() * factors[name] for name, x in sums.items()]).sum()

    def _counts(self, batches: Iterable[Batch]) -> dict[str, Tensor | float]:
        counts: dict[str, Tensor | float] = {}
        for batch in batches:
            for name, count in self._task.counts(batch).items():
                counts[name] = counts[name] + count if name in counts else count
        if unknown := sorted(counts.keys() - self._task.loss_weights.keys()):
            raise ContractError(
                f"{type(self._task).__name__}: `counts` gave {', '.join(unknown)}, which has no "
                f"weight; `loss_weights` has {', '.join(sorted(self._task.loss_weights))}"
            )
        return counts

    def __call__(
        self,
        sub_batches: Sequence[Sequence[Batch]],
        step: int,
        rate: float,
        asked: bool = False,
    ) -> Update:
        """Do one update. The host waits for the device once: for its figures, before the
        optimizer's step.

        Args:
            sub_batches: This rank's micro-batches of each sub-batch, on its device.
            step: Number of the update, from 0.
            rate: Learning rate.
            asked: Whether this rank is asked to leave, which all ranks are to know.

        Raises:
            NonFiniteError: a loss or the gradient's norm is infinite or not a number; nothing was
                updated.
            ContractError: the task's names do not go together.
        """
        task, world = self._task, self._world
        names = sorted(task.loss_weights)
        found = self._counts(micro for sub in sub_batches for micro in sub)
        counts = world.sum(self._stack(names, found))
        inverse = torch.where(counts > 0, 1 / counts, 0)
        # Ranks' gradients are averaged later, so each is scaled by their number here.
        scaled = (inverse * world.size).float()
        factors = {
            name: task.loss_weights[name] * factor
            for name, factor in zip(names, scaled.unbind(), strict=True)
            if name in found
        }
        sums: dict[str, Tensor | float] = {}
        for number, sub in enumerate(sub_batches):
            last = number == len(sub_batches) - 1
            if task.pooled and len(sub) > 1:
                parts = self._accumulate_pooled(sub, factors, step, number, last)
            else:
                parts = self._accumulate(sub, factors, step, number, last)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value
        reduced = world.sum(self._stack([*names, ""], {**sums, "": float(asked)}))
        self._parallel.finish_gradients()
        norm = self._parallel.gradient_norm()
        on_device = reduced[:-1] * inverse, counts, reduced[-1:], norm.double().view(1)
        figures: list[float] = torch.cat(on_device).tolist()
        means = {
            name: mean
            for name, mean, count in zip(names, figures, figures[len(names) :], strict=False)
            if count > 0
        }
        total = sum(task.loss_weights[name] * mean for name, mean in means.items())
        if not (math.isfinite(total) and math.isfinite(figures[-1])):
            self.optimizer.zero_grad()
            raise NonFiniteError(
                f"step {step + 1}: losses {means}, gradient norm {figures[-1]}; nothing was "
                "updated. Lower optimizer.lr, or set optimizer.clip_norm"
            )
        if self._clip is not None and figures[-1] + 1e-6 > self._clip:
            self._parallel.clip_gradients(self._clip, norm)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            task.after_step(self._parallel.raw)
        self._parallel.average_statistics()
        return Update(means, total, figures[-1], rate, figures[-2] > 0)

    def _accumulate(
        self,
        sub: Sequence[Batch],
        factors: Mapping[str, Tensor],
        step: int,
        number: int,
        last: bool,
    ) -> dict[str, Tensor]:
        """Forward and backward, one micro-batch after the other; sums of losses."""
        task, totals = self._task, dict[str, Tensor]()
        for i, batch in enumerate(sub):
            with self._parallel.synchronise(last and i == len(sub) - 1):
                outputs = self._forward(batch, step, number, i)
                sums = dict(task.losses(outputs, batch))
                if task.pooled and all(name in outputs for name in task.pooled):
                    pooled = {name: outputs[name] for name in task.pooled}
                    sums |= task.pooled_losses(pooled, batch, self._world.gather)
                self._objective(sums, factors).backward()
            for name, value in sums.items():
                totals[name] = totals.get(name, 0) + value.detach()
        return totals

    def _accumulate_pooled(
        self,
        sub: Sequence[Batch],
        factors: Mapping[str, Tensor],
        step: int,
        number: int,
        last: bool,
    ) -> dict[str, Tensor]:
        """The same where losses compare rows of all micro-batches.

        A first pass without gradient gathers the pooled outputs of all micro-batches; the losses'
        gradients with respect to them are kept; a second pass sends each micro-batch's part of
        those back through the module. Equal to one big batch, for one more forward pass
        (gradient caching: Gao et al., arXiv 2101.06983).
        """
        task, raw = self._task, self._parallel.raw
        buffers = [buffer.clone() for buffer in raw.buffers()]
        with torch.no_grad():
            cached = [self._forward(b, step, number, i, True) for i, b in enumerate(sub)]
        for buffer, before in zip(raw.buffers(), buffers, strict=True):
            buffer.copy_(before)  # Running statistics advance in the second pass alone.
        if len(cached[0]) < len(task.pooled):  # Rows of a kind that has no pooled losses.
            return self._accumulate(sub, factors, step, number, last)
        leaves = {}
        for name in task.pooled:
            parts = [outputs[name] for outputs in cached]
            whole = parts[0] if name in task.scalars else torch.cat(parts)
            leaves[name] = whole.detach().requires_grad_()
        del cached
        pooled_sums = task.pooled_losses(leaves, concatenate(sub), self._world.gather)
        self._objective(pooled_sums, factors).backward()
        totals = {name: value.detach() for name, value in pooled_sums.items()}
        begin = 0
        for i, batch in enumerate(sub):
            final = i == len(sub) - 1
            with self._parallel.synchronise(last and final):
                outputs = self._forward(batch, step, number, i)
                objective = torch.zeros((), device=self._world.device)
                for name, leaf in leaves.items():
                    if leaf.grad is None:
                        continue
                    if name in task.scalars:  # Its gradient is whole; every pass must touch it.
                        part = leaf.grad * float(final)
                    else:
                        part = leaf.grad[begin : begin + len(batch)]
                    objective = objective + (outputs[name] * part).sum()
                sums = task.losses(outputs, batch)
                if sums:
                    objective = objective + self._objective(sums, factors)
                objective.backward()
            begin += len(batch)
            for name, value in sums.items():
                totals[name] = totals.get(name, 0) + value.detach()
        return totals
