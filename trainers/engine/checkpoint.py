"""Checkpoints that are complete or absent, and resume that is exact or refused.

A checkpoint is a folder `step-00001000` of `torch.distributed.checkpoint` files with `state.json`
(place in the data, and the run's settings) and the seal `COMPLETE`, on disk or in an object store.
A kill at any moment leaves the earlier ones as they were.
"""

import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn

from septet.preprocess import files
from septet.trainers.engine.optim import MovingAverage
from septet.trainers.engine.resume import Described, differences
from septet.trainers.engine.sealed import damage, is_sealed, read_state
from septet.trainers.engine.world import World
from septet.trainers.loader.batches import Progress
from septet.trainers.optimizers.base import Optimizer

warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninit")


class CheckpointError(ValueError):
    """A checkpoint that does not belong to this run, is damaged, or cannot be written or read."""


def completed(folder: str) -> list[str]:
    """Complete checkpoints below `folder`, oldest first."""
    names = [name for name in files.list_folder(folder) if name.startswith("step-")]
    return [path for name in names if is_sealed(path := files.join(folder, name))]


class SavedWeights:
    """A run's newest weights under the model's names, each read when it is asked for: the moving
    average where the run keeps one.

    Args:
        folder: Of the run's checkpoints.

    Raises:
        CheckpointError: it has no complete checkpoint, or the newest is damaged.
    """

    def __init__(self, folder: str):
        from septet.trainers.engine import storage

        if not (found := completed(folder)):
            raise CheckpointError(f"{folder} has no complete checkpoint; train first")
        self.path = found[-1]
        with _sentences(self.path, "read"):
            if fault := damage(self.path):
                raise CheckpointError(
                    f"{self.path} is damaged: {fault}. Remove it to use an older one"
                )
            stored = storage.stored(self.path)
        kept: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}}
        for key, (size, dtype) in stored.items():
            group, _, name = key.partition(".")
            if group in kept:
                kept[group][name] = torch.empty(size, dtype=dtype, device="meta")
        self._group = {n: group for group, named in kept.items() for n in named}
        self.empty = {**kept["model"], **kept["average"]}
        """Their shapes and types, on the meta device."""

    def __getitem__(self, name: str) -> torch.Tensor:
        found = torch.empty_like(self.empty[name], device="cpu")
        self.read({name: found})
        return found

    def read(self, into: Mapping[str, torch.Tensor]) -> None:
        """Read weights into tensors of their shapes."""
        from septet.trainers.engine import storage

        state: dict[str, Any] = {}
        for name, x in into.items():
            state.setdefault(self._group[name], {})[name] = x
        with _sentences(self.path, "read"):
            storage.load(state, self.path, alone=True)


def read_weights(folder: str, module: nn.Module) -> str:
    """Load a run's newest weights into a module that is neither sharded nor wrapped, in place.

    Returns:
        The checkpoint's name.

    Raises:
        CheckpointError: see `SavedWeights`; or it is another model's.
    """
    saved, wanted = SavedWeights(folder), module.state_dict()
    known = {name: x.shape for name, x in saved.empty.items()}
    if wrong := [name for name, x in wanted.items() if known.get(name) != x.shape]:
        raise CheckpointError(
            f"{saved.path} is another model's: of {len(wanted)} weights {len(wrong)} are "
            f"missing or of another shape, {wrong[0]} among them"
        )
    saved.read(wanted)
    return saved.path.rsplit("/", 1)[-1]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they are: a local path, or a URL that fsspec knows.
        keep: How many of the newest stay.
        described: The run's settings and data, see `engine.resume`.
        in_background: Whether `save` returns before the files are written.
        damaged: Whether an older one is used in place of a damaged one.
    """

    def __init__(
        self,
        folder: str,
        keep: int,
        described: Described,
        world: World,
        in_background: bool = False,
        damaged: Literal["use_older", "refuse"] = "use_older",
    ):
        self.folder, self.keep, self.world = folder, keep, world
        self.described, self._damaged = described, damaged
        self.told: list[str] = []
        """What a person should know of the checkpoint that was loaded, a sentence each."""
        self._unusable: list[str] = []
        self._background = in_background
        self._pending: tuple[str, Future[Any]] | None = None
        # Saving in the background needs collectives of its own, beside those of training.
        self._group: dist.ProcessGroup | None = None
        if in_background and world.size > 1:
            self._group = dist.new_group(backend="gloo")  # type: ignore[assignment]

    def save(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        progress: Progress,
        average: MovingAverage | None = None,
    ) -> None:
        """Write a checkpoint of `progress.step`, then remove the oldest beyond `keep`.

        Raises:
            CheckpointError: the storage fails; earlier checkpoints stay as they were.
        """
        from septet.trainers.engine import storage

        self.wait()
        final = files.join(self.folder, f"step-{progress.step:08d}")
        if final not in self._unusable and self.world.all(is_sealed(final)):
            return
        with _sentences(final, "written"):
            if self.world.main:
                for name in files.list_folder(self.folder):
                    path = files.join(self.folder, name)
                    if path in self._unusable or not is_sealed(path):
                        files.remove(path)
            self._unusable = []
            self.world.barrier()
            record = {"progress": asdict(progress), **self.described, **_shapes(module)}
            state = _state(module, optimizer, average)
            if self._background:
                writing = storage.save_in_background(state, final, record, self._group)
                self._pending = final, writing
            else:
                storage.save(state, final, record, alone=self.world.size == 1)
                self._remove_oldest()

    def wait(self) -> None:
        """Until a save in the background is complete. All ranks call it together."""
        if self._pending is not None:
            (path, writing), self._pending = self._pending, None
            with _sentences(path, "written"):
                writing.result()
                self._remove_oldest()

    def poll(self) -> None:
        """Complete a save in the background if its files are written on every rank."""
        if self._pending is not None and self.world.all(self._pending[1].done()):
            self.wait()

    def abandon(self) -> None:
        """When a run fails: let a save in the background come to its end, as far as this rank can
        without the others. It raises nothing, so that the failure itself is told."""
        if self._pending is not None:
            (_, writing), self._pending = self._pending, None
            writing.exception()

    def _remove_oldest(self) -> None:
        if self.world.main:
            for old in completed(self.folder)[: -self.keep]:
                files.remove(old)

    def newest(self, module: nn.Module) -> str | None:
        """The newest checkpoint that is intact and belongs to this run; None where there is none.

        Raises:
            CheckpointError: it was saved by a run on other data, with another batch or seed, or
                by another model; or it is damaged, and so is every older one, or `damaged` says to
                refuse that.
        """
        faults: list[str] = []
        for path in reversed(completed(self.folder)):
            with _sentences(path, "read"):
                mine = damage(path, self.world.rank, self.world.size)
                fault = next(filter(None, self.world.gather_objects(mine)), None)
            if fault is None:
                self.told += [f"{fault}: going on from {path}" for fault in faults]
                self._agree(path, {**self.described, **_shapes(module)})
                return path
            faults.append(f"{path} is damaged: {fault}")
            self._unusable.append(path)
            if self._damaged == "refuse":
                raise CheckpointError(
                    f"{faults[-1]}. Remove that folder to go on from an older one, or set "
                    "train.damaged=use_older"
                )
        if faults:
            raise CheckpointError(
                f"no checkpoint is intact: {'; '.join(faults)}. --no-resume starts anew"
            )
        return None

    def load(
        self,
        path: str,
        module: nn.Module,
        optimizer: Optimizer,
        average: MovingAverage | None = None,
    ) -> Progress:
        """Restore what `newest` found.

        Raises:
            CheckpointError: the storage fails.
        """
        from septet.trainers.engine import storage

        with _sentences(path, "read"):
            # What had no gradient yet has no moments, neither then nor now.
            saved = storage.stored(path)
            kept, other = {key.rpartition(".")[0] for key in saved}, 0
            for name, parameter in module.named_parameters():
                state = optimizer.empty_state(parameter) if parameter.requires_grad else {}
                if state and all(f"optimizer.{name}.{key}" in saved for key in state):
                    optimizer.state[parameter] = state
                elif state and f"optimizer.{name}" in kept:
                    other += 1
            if other:
                self.told.append(
                    f"the optimizer keeps other moments than {path} has: those of {other} "
                    "parameters begin anew"
                )
            tensors = _state(module, optimizer, average)
            storage.load(tensors, path, alone=self.world.size == 1)
            return Progress(**read_state(path)["progress"])

    def _agree(self, path: str, now: Described) -> None:
        then = read_state(path)
        del then["progress"]
        refused, told = differences(then, now)
        if refused:
            raise CheckpointError(
                f"{path} does not belong to this run: {'; '.join(refused)}. Resume with what it "
                "was started with, or give the new run another --out (or --no-resume)"
            )
        self.told += told


def _shapes(module: nn.Module) -> dict[str, dict[str, list[int]]]:
    named = [*module.named_parameters(), *module.named_buffers()]
    return {"parameters": {name: list(x.shape) for name, x in named}}


def _state(
    module: nn.Module, optimizer: Optimizer, average: MovingAverage | None
) -> dict[str, Any]:
    """Everything that is saved; the tensors are those of the run and are loaded in place."""
    moments = {
        name: dict(optimizer.state[parameter])
        for name, parameter in module.named_parameters()
        if parameter in optimizer.state
    }
    state: dict[str, Any] = {"model": module.state_dict(), "optimizer": moments}
    if average is not None:
        state["average"] = average.mean
    return state


@contextmanager
def _sentences(path: str, done: str) -> Iterator[None]:
    """Failures of the storage as one sentence."""
    try:
        yield
    except _failures() as error:
        failures = getattr(error, "failures", None) or {0: (error, None)}
        cause = _root(next(iter(failures.values()))[0])
        raise CheckpointError(
            f"{path} could not be {done}: {type(cause).__name__}: {cause}. Earlier checkpoints "
            "stay as they were; mend the storage and give the same command again"
        ) from error


def _failures() -> tuple[type[BaseException], ...]:
    from septet.trainers.engine.storage import FAILURES

    return FAILURES


def _root(error: BaseException) -> BaseException:
    """The failure of the storage behind an error, where one is."""
    at: BaseException | None = error
    while at is not None and not isinstance(at, OSError):
        at = at.__cause__ or at.__context__
    return at or error
