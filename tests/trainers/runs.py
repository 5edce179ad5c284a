"""What runs left behind, and how to cut one short."""

import itertools
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from septet.trainers.engine import checkpoint
from septet.trainers.task import Tracker
from tests.trainers.conftest import train


def completed(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return [Path(path) for path in checkpoint.completed(str(folder))]


def figures(out: Path, name: str = "loss") -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the newest checkpoint."""
    target = out / "whole.pt"
    dcp_to_torch_save(completed(out / "checkpoints")[-1], target)
    state = torch.load(target, weights_only=False)
    flat = {f"model.{name}": x for name, x in state["model"].items()}
    for name, moments in state["optimizer"].items():
        flat |= {f"{name}.{kind}": x for kind, x in moments.items()}
    flat |= {f"average.{name}": x for name, x in state.get("average", {}).items()}
    return flat


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def stopping_after(step: int, preset: Any) -> Any:
    """The preset, whose task sends this process SIGTERM during update `step`."""
    task, updates = preset.task(), itertools.count(1)
    constrain = task.after_step

    def after_step(module: nn.Module) -> None:
        constrain(module)
        if next(updates) == step:
            os.kill(os.getpid(), signal.SIGTERM)

    task.after_step = after_step
    object.__setattr__(preset, "task", lambda: task)
    return preset


def stop_after(
    step: int, preset: Any, corpus: Path, out: Path, trackers: Sequence[Tracker] = ()
) -> None:
    """Train in this process and send it SIGTERM during update `step`."""
    code = train(stopping_after(step, preset), corpus, out, trackers=trackers)
    assert code == 128 + signal.SIGTERM
