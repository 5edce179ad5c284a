"""What a trained model of the seven came to."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from examples.seven.cards import Shown
from examples.seven.models import Model

LAST = 4
"""Reports whose mean is the last loss."""


class Result(BaseModel):
    """A run's figures."""

    name: str
    batch: int
    steps: int
    rate: float
    """Samples a second: the median of the run's reports."""
    curve: list[tuple[int, float]]
    """Step and loss of each report."""
    right: float
    """The main measure."""
    wrong: float
    """The same with another sample's image."""
    chance: float
    missed: str
    """Which bounds it misses, in words; empty where none is."""

    @property
    def last_loss(self) -> float:
        """The mean of the last reports, as one batch says little."""
        last = [loss for _, loss in self.curve[-LAST:]]
        return sum(last) / len(last)


def read_result(model: Model, run: Path, held: int) -> Result:
    """The figures of a run that has ended, measured on so many held-out samples.

    Raises:
        ValueError: a figure is not there.
    """
    curve, rates, last = [], [], dict[str, float]()
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        last |= found
        if model.loss in found:
            curve.append((int(found["step"]), float(found[model.loss])))
            rates.append(float(found["samples_per_second"]))
    wanted = [model.figure, model.control]
    wanted += [model.chance] if isinstance(model.chance, str) else []
    if lacking := [name for name in wanted if last.get(name) is None]:
        raise ValueError(f"{run}/metrics.jsonl has no {', '.join(lacking)}")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    train = record["settings"]["train"]
    right, wrong = last[model.figure], last[model.control]
    return Result(
        name=model.name,
        batch=train["global_batch"],
        steps=train["steps"],
        rate=median(rates),
        curve=curve,
        right=right,
        wrong=wrong,
        chance=last[model.chance] if isinstance(model.chance, str) else model.chance / held,
        missed=model.missed(right, wrong),
    )


Found = tuple[Model, Result, Shown]

HEAD = ("model", "parameters", "samples", "rows", "steps", "samples/s", "loss: first", "last",
        "measure", "chance", "wrong image")  # fmt: skip


def table(found: Sequence[Found]) -> str:
    """The figures of all models, as text."""
    rows = [HEAD]
    for model, result, shown in found:
        first, last = result.curve[0][1], result.last_loss
        rows.append((
            model.title, f"{shown.parameters:,}", f"{shown.samples:,}", f"{shown.rows:,}",
            f"{result.steps:,}", f"{result.rate:.0f}", f"{first:.2f}", f"{last:.2f}",
            f"{result.right:.3f}", f"{result.chance:.3f}", f"{result.wrong:.3f}",
        ))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def verdicts(found: Sequence[tuple[Model, Result]]) -> str:
    """A line for each model: its main measure, chance, the wrong-image control, and whether its
    bounds hold."""
    lines = []
    for model, result in found:
        bounds = f"at least {model.least:g}, with another's image at most {model.most:g}"
        held = f"MISSED: {result.missed}" if result.missed else f"held: {bounds}"
        lines.append(
            f"{model.title:<10} {result.right:.3f} {model.meaning}; chance {result.chance:.3f}, "
            f"another's image {result.wrong:.3f}; {held}"
        )
    return "\n".join(lines)
