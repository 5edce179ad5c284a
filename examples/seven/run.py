"""`make seven`: one corpus, seven models trained from it, one table and one page.

    python -m examples.seven.run [MODEL…] [--out FOLDER] [--jobs N]

Does what a user would, command by command; run again, it goes on where it stopped. Ends with an
error where a model misses a bound of its main measure.
"""

import argparse
import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from examples.seven.cards import Shown
from examples.seven.corpus import write_inputs, write_vocabularies
from examples.seven.models import SEVEN, Model
from examples.seven.page import write_page
from examples.seven.results import read_result, table, verdicts
from septet.preprocess.shards.reader import Corpus

ROOT = Path(__file__).resolve().parents[2]
FIRST = ("pali", "ofa", "m6", "beit3", "flava", "ernie_vil", "clip")
"""The order of training: what takes longest first, so that no core is idle at the end."""
TOLD_EVERY = 30.0
"""Seconds between lines on how far the runs are."""
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Build, train, show.

    Returns:
        The status of the first command that fails, 1 where a bound is missed.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [model.name for model in SEVEN]
    parser.add_argument("models", nargs="*", choices=[*names, []], help="all without")
    parser.add_argument("--out", type=Path, default=Path("build/seven"))
    parser.add_argument("--scenes", type=int, default=6300, help="to train on")
    parser.add_argument("--held", type=int, default=540, help="scenes to measure on")
    parser.add_argument("--pages", action=argparse.BooleanOptionalAction, default=True,
                        help="real pages, beside scenes")  # fmt: skip
    parser.add_argument("--steps", type=int, help="of each model, to try this out")
    parser.add_argument("--seed", type=int, default=0, help="of the runs")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, a thread each")
    given = parser.parse_args()
    began = time.monotonic()
    models = [model for model in SEVEN if model.name in (given.models or names)]
    if given.steps:
        models = [replace(model, steps=given.steps) for model in models]
    out: Path = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if code := make_corpora(out, given.scenes, given.held, given.pages):
        return code
    print(f"corpora after {time.monotonic() - began:.0f} s", flush=True)
    if code := train(models, out, given.seed, given.jobs):
        return code
    held = len(Corpus(str(out / "held-out")))
    found = []
    for model in models:
        shown = shown_file(out, model).read_text(encoding="utf-8")
        result = read_result(model, out / model.name, held)
        found.append((model, result, Shown.model_validate_json(shown)))
    print(f"\n{table(found)}\n")
    print(f"page       {write_page(out, found)}")
    print(f"wall time  {time.monotonic() - began:.0f} s\n")
    print(verdicts([(model, result) for model, result, _ in found]))
    return 1 if any(result.missed for _, result, _ in found) else 0


def make_corpora(out: Path, scenes: int, held: int, pages: bool = True) -> int:
    """Build what is trained on and what is measured on, with all columns. What is up to date stays.

    Returns:
        The first status that is not 0.
    """
    write_inputs(out, scenes, held, pages)
    commands = [
        septet("build", out / f"{name}.yaml", "--out", out / name, "--workers", 2)
        for name in ("corpus", "held-out")
    ]
    if not (out / "corpus/answers.jsonl").exists():
        commands.append(module("septet.trainers.ofa.lists", out / "corpus"))
    for command in commands:
        print(f"$ {told(command)}", flush=True)
        if code := start(command).wait():
            return code
    write_vocabularies(out / "corpus", out)
    return 0


def septet(*arguments: object) -> list[str]:
    """A command of `septet`."""
    return module("septet", *arguments)


def module(name: str, *arguments: object) -> list[str]:
    """A command that runs a module."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def told(command: Sequence[str]) -> str:
    """A command as a user would type it."""
    return shlex.join(command[2:] if command[2] == "septet" else ["python", *command[1:]])


def start(command: Sequence[str], log: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start a command on one thread, which ends with this process; what it says goes to a log."""
    paths = [str(ROOT), str(ROOT / "examples/columns"), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, paths))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with log.open("ab") if log else nullcontext() as file:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=file,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - this process has one thread
        )  # fmt: skip


def _end_with_parent() -> None:
    """Have the kernel kill this command when its parent is killed: it would hold its run's lock."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def shown_file(out: Path, model: Model) -> Path:
    """What a trained model says (`cards.Shown`); it is written when all else of it is done."""
    return out / model.name / "shown.json"


def is_done(out: Path, model: Model, seed: int) -> bool:
    """Whether a model was trained for so many steps from this seed and has said what it predicts.
    A run of other settings is none of this table: `septet train` refuses to go on in its folder."""
    if not shown_file(out, model).exists():
        return False
    record = json.loads((out / model.name / "run.json").read_text(encoding="utf-8"))
    train = record["settings"]["train"]
    return bool((train["steps"], train["seed"]) == (model.steps, seed))


class Running:
    """A model's commands, one after the other.

    Args:
        model: Which.
        out: The folder of all.
        seed: Of its run.
    """

    def __init__(self, model: Model, out: Path, seed: int):
        self.model, self.folder = model, out / model.name
        self.log = out / "logs" / f"{model.name}.log"
        corpus, held = out / "corpus", out / "held-out"
        settings = [
            f"train.steps={model.steps}", f"train.eval_every={model.steps}",
            f"train.save_every={max(1, model.steps // 5)}",
            f"train.log_every={max(1, model.steps // 40)}",
            *(change.format(out=out) for change in model.changes),
        ]  # fmt: skip
        changes = [part for setting in settings for part in ("--set", setting)]
        train = septet(
            "train", model.name, corpus, "--held-out", held, "--out", self.folder,
            "--seed", seed, *changes,
        )  # fmt: skip
        show = module("examples.seven.shown", self.folder, corpus, held, shown_file(out, model))
        self._left = [train, show]
        self._next()

    def _next(self) -> None:
        self._command = self._left.pop(0)
        self.process = start(self._command, self.log)

    def poll(self) -> int | None:
        """The status of the first command that failed, 0 when all are done, else None."""
        code = self.process.poll()
        if code or code is None or not self._left:
            return code
        self._next()
        return None

    def reached(self) -> str:
        """How far the run is."""
        lines = _lines(self.folder / "metrics.jsonl")
        step = json.loads(lines[-1])["step"] if lines else 0
        return f"{self.model.title} {step}/{self.model.steps}"


def _lines(path: Path) -> list[str]:
    """The whole lines of a file that is written to."""
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()


def train(models: Sequence[Model], out: Path, seed: int, jobs: int) -> int:
    """Train what is not trained yet, some at once, and have each say what it has learnt.

    Returns:
        The first status that is not 0; the others of that moment are asked to leave, and resume.
    """
    (out / "logs").mkdir(exist_ok=True)
    ordered = sorted(models, key=lambda model: FIRST.index(model.name))
    waiting = [model for model in ordered if not is_done(out, model, seed)]
    running: list[Running] = []
    last = began = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Running(waiting.pop(0), out, seed))
            time.sleep(0.1)
            for each in list(running):
                code = each.poll()
                if code is None:
                    continue
                running.remove(each)
                if code:
                    print("".join(each.log.read_text().splitlines(keepends=True)[-20:]), end="")
                    print(f"{each.model.title} failed ({code}); all of its log: {each.log}")
                    return code
                print(f"{time.monotonic() - began:5.0f} s  {each.model.title} done", flush=True)
            if running and time.monotonic() - last > TOLD_EVERY:
                last = time.monotonic()
                print(f"{last - began:5.0f} s  " + ", ".join(r.reached() for r in running),
                      flush=True)  # fmt: skip
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            each.process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
