"""Checkpoints that are whole or absent, and resume that is exact or refused.

A checkpoint is a folder `step-00001000` of `torch.distributed.checkpoint` files with
`state.json` (place in the data, and what a resume must agree on) and an empty file `COMPLETE`.
It is written under a temporary name and renamed last, so a kill at any moment leaves the
previous ones as they were.
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from septet.trainers.engine.distributed import World
from septet.trainers.engine.optim import MovingAverage
from septet.trainers.loader.batches import Progress

_TEMPORARY = ".writing"
warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninit")


class CheckpointError(ValueError):
    """A checkpoint that does not belong to this run, with what differs."""


def completed(folder: Path) -> list[Path]:
    """Whole checkpoints below `folder`, oldest first."""
    found = folder.glob("step-*") if folder.is_dir() else []
    return sorted(path for path in found if (path / "COMPLETE").exists())


def read_weights(folder: Path, module: nn.Module) -> str:
    """Load a run's newest weights into a module that is neither sharded nor wrapped: the moving
    average where the run keeps one.

    Returns:
        The checkpoint's name.

    Raises:
        CheckpointError: the folder has no whole checkpoint.
    """
    found = completed(folder)
    if not found:
        raise CheckpointError(f"{folder} has no whole checkpoint; train first")
    averages = json.loads((found[-1] / "state.json").read_text())["identity"].get("ema")
    state: dict[str, Any] = {"model": module.state_dict()}
    if averages:
        state["average"] = dict(module.named_parameters())
    dcp.load(state, checkpoint_id=str(found[-1]), no_dist=True)
    module.load_state_dict({**state["model"], **state.get("average", {})})
    return found[-1].name


def _shapes(module: nn.Module) -> dict[str, list[int]]:
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: list(x.shape) for name, x in named}


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they are.
        keep: How many of the newest stay.
        identity: What a resumed run must share with the one that saved (JSON values).
        in_background: Whether `save` returns before the files are written.
    """

    def __init__(
        self,
        folder: Path,
        keep: int,
        identity: dict[str, Any],
        world: World,
        in_background: bool = False,
    ):
        self.folder, self.keep, self.world = folder, keep, world
        self.identity = identity
        self._background = in_background
        self._pending: tuple[Future[Any], Callable[[], None]] | None = None
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
        """Write a checkpoint of `progress.step`, then remove the oldest beyond `keep`."""
        self.wait()
        final = self.folder / f"step-{progress.step:08d}"
        if (final / "COMPLETE").exists():
            return
        temporary = self.folder / (final.name + _TEMPORARY)
        if self.world.main:
            for left in [*self.folder.glob(f"*{_TEMPORARY}"), final]:
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir(parents=True)
        self.world.barrier()
        state = _state(module, optimizer, average)
        record = {
            "progress": asdict(progress),
            "identity": self.identity,
            "shapes": _shapes(module),
        }

        def finish() -> None:
            if self.world.main:
                _write(temporary / "state.json", json.dumps(record, indent=1))
                _write(temporary / "COMPLETE", "")
                temporary.rename(final)
                _sync(self.folder)
                for old in completed(self.folder)[: -self.keep]:
                    shutil.rmtree(old)
            self.world.barrier()

        if self._background:
            writing = dcp.async_save(state, checkpoint_id=str(temporary), process_group=self._group)
            self._pending = (writing, finish)  # type: ignore[assignment]
        else:
            dcp.save(state, checkpoint_id=str(temporary), no_dist=self.world.size == 1)
            finish()

    def wait(self) -> None:
        """Until a save in the background is whole. All ranks call it together."""
        if self._pending is not None:
            (writing, finish), self._pending = self._pending, None
            writing.result()
            finish()

    def poll(self) -> None:
        """Complete a save in the background if its files are written on every rank."""
        if self._pending is not None and self.world.all(self._pending[0].done()):
            self.wait()

    def load_latest(
        self, module: nn.Module, optimizer: Optimizer, average: MovingAverage | None = None
    ) -> Progress | None:
        """Restore the newest whole checkpoint; None where there is none.

        Raises:
            CheckpointError: it was saved by a run on other data, with another batch or seed, or
                by another model.
        """
        found = completed(self.folder)
        if not found:
            return None
        newest = found[-1]
        record = json.loads((newest / "state.json").read_text())
        self._agree(newest, record, _shapes(module))
        state = _state(module, optimizer, average)
        # What had no gradient yet has no moments, neither then nor now.
        saved = dcp.FileSystemReader(newest).read_metadata().state_dict_metadata
        state["optimizer"]["state"] = {
            name: moments
            for name, moments in state["optimizer"]["state"].items()
            if f"optimizer.state.{name}.{next(iter(moments))}" in saved
        }
        dcp.load(state, checkpoint_id=str(newest), no_dist=self.world.size == 1)
        set_model_state_dict(module, state["model"])
        partial = StateDictOptions(strict=False)
        set_optimizer_state_dict(module, optimizer, state["optimizer"], options=partial)
        if average is not None:
            average.load(state["average"])
        return Progress(**record["progress"])

    def _agree(self, where: Path, record: dict[str, Any], shapes: dict[str, list[int]]) -> None:
        differ = [
            f"{name} was {record['identity'].get(name)!r}, now is {now!r}"
            for name, now in self.identity.items()
            if record["identity"].get(name) != now
        ]
        then = record["shapes"]
        names = sorted(set(then) ^ set(shapes)) or [n for n in shapes if shapes[n] != then[n]]
        differ += [
            f"parameter {name} was {then.get(name, 'absent')}, now is {shapes.get(name, 'absent')}"
            for name in names[:3]
        ]
        if differ:
            raise CheckpointError(
                f"{where} does not belong to this run: {'; '.join(differ)}. Resume with what it "
                "was started with, or give the new run another --out (or --no-resume)"
            )


def _state(
    module: nn.Module, optimizer: Optimizer, average: MovingAverage | None
) -> dict[str, Any]:
    model, moments = get_state_dict(module, optimizer)
    state: dict[str, Any] = {"model": model, "optimizer": moments}
    if average is not None:
        state["average"] = average.mean
    return state


def _write(path: Path, text: str) -> None:
    with path.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
