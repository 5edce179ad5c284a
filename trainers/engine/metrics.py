"""Metrics of a run: a line a person can read, `metrics.jsonl`, TensorBoard and other trackers."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from time import perf_counter as clock
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import nn

from septet.preprocess.log import tell
from septet.trainers.engine.world import World
from septet.trainers.standard_json import figures_line
from septet.trainers.task import Task, Tracker

DENSE_BF16_PEAK = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}
"""Dense bf16 tensor FLOP/s by a part of the device's name (NVIDIA's data sheets); the first that
matches counts. On other devices MFU has no meaning and is not shown."""


class Flops(NamedTuple):
    """FLOPs of one sample: two for each multiply-add of matrix products, convolutions and
    attention."""

    forward: int
    frozen: int
    """Of those, in parts none of whose parameters is trained: they have no backward pass."""

    @property
    def training(self) -> int:
        """Forward and backward, which costs twice its forward pass."""
        return 3 * self.forward - 2 * self.frozen


def sample_flops(task: Task) -> dict[str, Flops]:
    """FLOPs of one sample at its longest, by kind, counted on a module without memory."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad():
        module = task.build().eval()
        name = type(module).__name__
        frozen = [f"{name}.{at}" for at in _frozen_parts(module)]
        found = {}
        for kind in task.kinds:
            with FlopCounterMode(display=False) as counter:
                task.forward(module, task.example(kind, 1))
            by_part = counter.get_flop_counts()
            still = sum(sum(by_part[part].values()) for part in frozen if part in by_part)
            found[kind] = Flops(counter.get_total_flops(), still)
    return found


def _frozen_parts(module: nn.Module, name: str = "") -> Iterator[str]:
    """The largest parts all of whose parameters are frozen, by name."""
    for child_name, child in module.named_children():
        own = list(child.parameters())
        if own and not any(x.requires_grad for x in own):
            yield name + child_name
        elif own:
            yield from _frozen_parts(child, f"{name}{child_name}.")


def peak_flops(device: torch.device) -> float | None:
    """The device's dense bf16 peak in FLOP/s, where known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    known = DENSE_BF16_PEAK.items()  # "L4" is no part of "L40", nor "A100" of "A1000".
    return next((peak for part, peak in known if re.search(rf"\b{part}\b", name)), None)


class Meter:
    """What a rank did since the last report, and how long it took.

    Pauses (measuring, saving) are left out, and so is the first step of a process. Waiting for
    other ranks counts: they are as fast as the slowest.
    """

    def __init__(self) -> None:
        self._begun = 0
        self.restart()

    def restart(self) -> None:
        """Begin a new stretch."""
        self._begin = clock()
        self._paused = self.waited = 0.0
        self.samples = self.tokens = self.steps = 0
        self.flops = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the block's time as waiting for data."""
        began = clock()
        yield
        self.waited += clock() - began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block's time out."""
        began = clock()
        yield
        self._paused += clock() - began

    def begin_step(self) -> None:
        """Before each step: leave the first one of the process out."""
        self._begun += 1
        if self._begun == 2:
            self.restart()

    @property
    def seconds(self) -> float:
        """Length of the stretch without pauses."""
        return clock() - self._begin - self._paused


class Reporter:
    """Writes a run's figures; only the main rank does."""

    def __init__(
        self,
        out: Path,
        world: World,
        steps: int,
        start: int,
        console: Console,
        trackers: Sequence[Tracker] = (),
    ):
        self._world, self._steps, self._console = world, steps, console
        self._trackers, self._out, self._start = trackers, out, start
        self._peak = peak_flops(world.device)
        self._file: Any = None
        if world.main:
            path = out / "metrics.jsonl"
            _truncate(path, start)
            self._file = path.open("a")
            for tracker in trackers:
                tracker.begin(out)

    @cached_property
    def _board(self) -> Any:
        # Not before there are figures: the import takes as long as a first step.
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self._out / "tensorboard"), purge_step=self._start + 1)

    def rates(self, meter: Meter, left: int) -> dict[str, float]:
        """Throughput of a stretch over all ranks, the waiting of the slowest for its data, and
        the time that `left` more steps take."""
        waited = meter.waited / max(meter.seconds, 1e-9)
        wait = self._world.max(torch.tensor(waited, dtype=torch.float64))
        seconds = max(meter.seconds, 1e-9)  # now that the slowest rank has come here, too
        found = {
            "samples_per_second": meter.samples / seconds,
            "tokens_per_second": meter.tokens / seconds,
            "data_wait_percent": 100 * float(wait),
            "seconds_left": seconds / meter.steps * left,
        }
        if self._peak:
            done = meter.flops / seconds
            found["mfu_percent"] = 100 * done / (self._peak * self._world.size)
        return found

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Record figures of a step."""
        if not self._world.main:
            return
        self._file.write(figures_line(step, figures) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)
        for tracker in self._trackers:
            tracker.log(step, figures)

    def show(self, step: int, losses: dict[str, float], figures: dict[str, float]) -> None:
        """One line on the terminal: of all figures these losses and the rates."""
        if not self._world.main:
            return
        parts = [f"{name} {value:.4f}" for name, value in losses.items()]
        speed, tokens = figures["samples_per_second"], figures["tokens_per_second"]
        parts += [f"{speed:,.0f} samples/s", f"{tokens:,.0f} tokens/s"]
        parts.append(f"data wait {figures['data_wait_percent']:.0f} %")
        if "mfu_percent" in figures:
            parts.append(f"MFU {figures['mfu_percent']:.1f} %")
        parts.append(f"{timedelta(seconds=round(figures['seconds_left']))} left")
        width = len(str(self._steps))
        text = f"step {step:>{width}}/{self._steps}  " + "  ".join(parts)
        tell(self._console, text, step=step, **figures)

    def say(self, text: str, **fields: float) -> None:
        """A line of the main rank."""
        if self._world.main:
            tell(self._console, text, **fields)

    def close(self) -> None:
        """Finish the files."""
        if self._file is not None:
            self._file.close()
            if "_board" in vars(self):
                self._board.close()
            for tracker in self._trackers:
                tracker.close()


def _truncate(path: Path, step: int) -> None:
    """Drop what an interrupted run logged after the checkpoint that is resumed."""
    if path.exists():
        lines = path.read_text().splitlines()
        kept = [line for line in lines if _step(line) <= step]
        path.write_text("".join(line + "\n" for line in kept))


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError):
        return float("inf")  # A line that a kill cut short.
