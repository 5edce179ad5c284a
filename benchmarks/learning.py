"""How well the debug presets learn scenes: whole runs of theirs, minutes each, that resume.

    python -m benchmarks.learning [RUN…] [--out FOLDER]

Scenes have two or three things each, or as `SCENES` says; those that are measured were never
trained on. A model has learnt when each of its losses and measures is beyond its bound; chance and
what was seen when the bound was set stand beside it. Ends with an error where one is not.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import typer
from typer.testing import CliRunner

from benchmarks import vision
from septet.preprocess.shards.reader import Corpus
from septet.trainers.beit3.presets import PRESETS
from septet.trainers.commands import train as cli
from septet.trainers.commands.export import export
from septet.trainers.engine.checkpoint import read_weights
from tests.trainers.beit3.told import colours_told
from tests.trainers.corpora import scenes_corpus
from tests.trainers.ernie_vil.corpora import annotated
from tests.trainers.pali.corpora import languages_corpus


class Bound(NamedTuple):
    """Of a figure, which must be below or above it (`is_low`)."""

    chance: float
    bound: float
    seen: float


BOUNDS = {
    # `colours`: three times chance with the right image, near chance with another's.
    "beit3": {
        "loss/mim": Bound(6.24, 2.1, 1.80),
        "loss/mlm": Bound(5.55, 1.1, 0.77),
        "loss/mvlm_image": Bound(6.24, 2.1, 1.73),
        "loss/mvlm_text": Bound(5.55, 0.85, 0.66),
        "colours": Bound(0.139, 0.42, 0.46),
        "colours_other_image": Bound(0.139, 0.2, 0.14),
        "predictions/mim": Bound(0.28, 0.45, 0.56),
        "predictions/mim_other_image": Bound(0.28, 0.3, 0.22),
        "predictions/mvlm_image": Bound(0.28, 0.45, 0.56),
        "predictions/mvlm_image_other_image": Bound(0.28, 0.3, 0.22),
        "predictions/mlm": Bound(0.17, 0.5, 0.58),
        "predictions/mvlm_text": Bound(0.20, 0.65, 0.70),
        "predictions/mvlm_text_other_image": Bound(0.20, 0.63, 0.60),
    },
    # The contrastive stage, from the weights of the run above.
    "beit3-itc": {
        "loss/contrastive": Bound(4.16, 1.0, 0.56),
        "retrieval/image_to_text_r1": Bound(1 / 256, 0.25, 0.45),
        "retrieval/text_to_image_r1": Bound(1 / 256, 0.25, 0.42),
    },
    # Scenes told by colour, shape and relation; of the pieces of relations the text alone tells two
    # of three, "of" and whether it is "left" or "right" rather than "above" or "below" being sure.
    "ernie_vil": {
        "loss/mlm": Bound(5.55, 0.3, 0.07),
        "loss/object": Bound(1.79, 0.5, 0.2),
        "loss/attribute": Bound(2.08, 0.6, 0.31),
        "loss/relation": Bound(0.46, 0.2, 0.02),
        "loss/region": Bound(3.87, 2.8, 2.13),
        "loss/match": Bound(0.61, 0.35, 0.14),
        "predictions/object": Bound(1 / 6, 0.7, 0.87),
        "predictions/object_other_image": Bound(1 / 6, 0.28, 0.21),
        "predictions/attribute": Bound(1 / 8, 0.7, 0.84),
        "predictions/attribute_other_image": Bound(1 / 8, 0.2, 0.15),
        "predictions/relation": Bound(2 / 3, 0.9, 0.99),
        "predictions/relation_other_image": Bound(2 / 3, 0.75, 0.65),
        "matching/accuracy": Bound(0.5, 0.9, 0.99),
        "matching/text_to_image_r1": Bound(1 / 32, 0.8, 0.98),
        "matching/image_to_text_r1": Bound(1 / 32, 0.8, 0.98),
    },
    # Chance is what is told with another's image (of `denoising`: with another's text).
    "m6": {
        "tokens/captioning": Bound(0.77, 0.81, 0.85),
        "tokens/captioning_other_image": Bound(0.77, 0.81, 0.77),
        "tokens/image_denoising": Bound(0.95, 0.97, 0.98),
        "tokens/image_denoising_other_image": Bound(0.95, 0.97, 0.95),
        "tokens/denoising": Bound(0.78, 0.87, 0.97),
        "tokens/denoising_other_image": Bound(0.78, 0.87, 0.78),
        "image_denoising/exact": Bound(0.14, 0.35, 0.56),
        "image_denoising/exact_other_image": Bound(0.14, 0.35, 0.14),
        "denoising/exact": Bound(0.0, 0.15, 0.3),
        "denoising/exact_other_image": Bound(0.0, 0.15, 0.0),
        "captioning/cider": Bound(1.74, 2.91, 4.07),
        "captioning/cider_other_image": Bound(1.74, 2.91, 1.74),
        "likelier/drawing": Bound(0.45, 0.8, 0.99),
        "likelier/drawing_other_image": Bound(0.45, 0.8, 0.45),
    },
    # Chance is what is told with another's image (of `infill_text`: of another text).
    "ofa": {
        "tasks/caption": Bound(0.0, 0.1, 0.18),
        "tasks/caption_other_image": Bound(0.0, 0.1, 0.0),
        "tasks/vqa": Bound(0.42, 0.64, 0.86),
        "tasks/vqa_other_image": Bound(0.42, 0.64, 0.42),
        "tasks/ground": Bound(0.03, 0.4, 0.73),
        "tasks/ground_other_image": Bound(0.03, 0.4, 0.03),
        "tasks/detect": Bound(0.0, 0.18, 0.36),
        "tasks/detect_other_image": Bound(0.0, 0.18, 0.0),
        "tasks/infill": Bound(0.22, 0.45, 0.71),
        "tasks/infill_other_image": Bound(0.22, 0.45, 0.22),
        "tasks/infill_text": Bound(0.0, 0.08, 0.16),
        "tasks/infill_text_other_image": Bound(0.0, 0.08, 0.0),
        "tasks/match_answer": Bound(0.51, 0.62, 0.73),
        "tasks/match_answer_other_image": Bound(0.51, 0.62, 0.51),
        "tasks/match_caption": Bound(0.64, 0.7, 0.76),
        "tasks/match_caption_other_image": Bound(0.64, 0.7, 0.64),
    },
    # The names of regions; whether texts match is not learnt in so many steps.
    "ofa-one": {
        "tasks/caption": Bound(0.0, 0.12, 0.25),
        "tasks/caption_other_image": Bound(0.0, 0.12, 0.0),
        "tasks/vqa": Bound(0.54, 0.77, 0.99),
        "tasks/vqa_other_image": Bound(0.54, 0.77, 0.54),
        "tasks/ground": Bound(0.09, 0.5, 0.99),
        "tasks/ground_other_image": Bound(0.09, 0.5, 0.09),
        "tasks/describe": Bound(0.09, 0.15, 0.22),
        "tasks/describe_other_image": Bound(0.09, 0.15, 0.09),
        "tasks/detect": Bound(0.01, 0.07, 0.15),
        "tasks/detect_other_image": Bound(0.01, 0.07, 0.01),
        "tasks/infill": Bound(0.26, 0.45, 0.68),
        "tasks/infill_other_image": Bound(0.26, 0.45, 0.26),
        "tasks/infill_text": Bound(0.0, 0.13, 0.27),
        "tasks/infill_text_other_image": Bound(0.0, 0.13, 0.0),
    },
    # Chance is what is told with another's image (of `spans`: of another text).
    "pali": {
        "vision/shape": Bound(0.17, 0.56, 0.95),
        "vision/colour": Bound(0.12, 0.56, 1.00),
        "vision/left": Bound(0.06, 0.53, 0.99),
        "vision/top": Bound(0.06, 0.53, 0.99),
        "tokens/spans": Bound(0.69, 0.74, 0.79),
        "tokens/spans_other_image": Bound(0.69, 0.72, 0.69),
        "tokens/split_caption": Bound(0.64, 0.8, 0.97),
        "tokens/split_caption_other_image": Bound(0.64, 0.76, 0.64),
        "tokens/caption": Bound(0.67, 0.83, 0.98),
        "tokens/caption_other_image": Bound(0.67, 0.78, 0.67),
        "tokens/vqa": Bound(0.81, 0.91, 1.0),
        "tokens/vqa_other_image": Bound(0.81, 0.88, 0.81),
        "tokens/vqg": Bound(0.86, 0.93, 0.99),
        "tokens/vqg_other_image": Bound(0.86, 0.91, 0.86),
        "tokens/objects": Bound(0.71, 0.83, 0.95),
        "tokens/objects_other_image": Bound(0.71, 0.79, 0.71),
        "tokens/detect": Bound(0.6, 0.69, 0.79),
        "tokens/detect_other_image": Bound(0.6, 0.67, 0.6),
        "detect/labels": Bound(0.1, 0.54, 0.99),
        "detect/labels_other_image": Bound(0.1, 0.41, 0.1),
        "detect/objects": Bound(0.02, 0.5, 0.97),
        "detect/objects_other_image": Bound(0.02, 0.35, 0.02),
        "ocr/character_error_rate": Bound(0.84, 0.42, 0.0),
        "ocr/character_error_rate_other_image": Bound(0.84, 0.55, 0.84),
        "vqa/vqa_accuracy": Bound(0.52, 0.76, 1.0),
        "vqa/vqa_accuracy_other_image": Bound(0.52, 0.69, 0.52),
        "vqg/exact": Bound(0.33, 0.62, 0.91),
        "vqg/exact_other_image": Bound(0.33, 0.53, 0.33),
        "vqg/exact_open": Bound(0.07, 0.47, 0.88),
        "vqg/exact_open_other_image": Bound(0.07, 0.35, 0.07),
        "caption/cider": Bound(1.37, 5.2, 9.03),
        "caption/cider_other_image": Bound(1.37, 4.05, 1.37),
        "objects/exact": Bound(0.22, 0.51, 0.8),
        "objects/exact_other_image": Bound(0.22, 0.42, 0.22),
    },
    # The loss over that of the dense one (chance), in the last third.
    "m6-experts": {
        "loss/over_dense": Bound(1.0, 1.0, 0.96),
        "tokens/captioning": Bound(0.77, 0.81, 0.85),
        "tokens/captioning_other_image": Bound(0.77, 0.81, 0.77),
        "image_denoising/exact": Bound(0.14, 0.35, 0.53),
        "image_denoising/exact_other_image": Bound(0.14, 0.35, 0.20),
        "denoising/exact": Bound(0.0, 0.15, 0.26),
        "denoising/exact_other_image": Bound(0.0, 0.15, 0.0),
        "likelier/drawing": Bound(0.45, 0.8, 0.98),
        "likelier/drawing_other_image": Bound(0.45, 0.8, 0.45),
    },
    "flava": {
        "loss/contrastive": Bound(4.16, 1.0, 0.48),
        "loss/itm": Bound(0.61, 0.50, 0.35),
        "loss/mmm_image": Bound(6.24, 2.2, 1.8),
        "loss/mmm_text": Bound(5.55, 0.95, 0.71),
        "loss/mim": Bound(6.24, 2.5, 2.24),
        "loss/mlm": Bound(5.55, 1.1, 0.79),
        "retrieval/image_to_text_r1": Bound(1 / 256, 0.25, 0.46),
        "retrieval/text_to_image_r1": Bound(1 / 256, 0.25, 0.43),
        "predictions/itm": Bound(0.5, 0.65, 0.74),
        "predictions/mmm_image": Bound(1 / 512, 0.45, 0.55),
        "predictions/mmm_text": Bound(1 / 256, 0.63, 0.69),
        "predictions/mim": Bound(1 / 512, 0.45, 0.56),
        "predictions/mlm": Bound(1 / 256, 0.5, 0.57),
    },
}
LAST = 5
"""Losses are the mean of so many of their last lines: a batch says little."""


def told(run: Path) -> dict[str, list[float]]:
    """All values of each figure of a run, in their order."""
    found: dict[str, list[float]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name != "not_finite":
                found.setdefault(name, []).append(math.nan if value is None else value)
    return found


def figures(run: Path) -> dict[str, float]:
    return {
        name: sum(v[-LAST:]) / len(v[-LAST:]) if name.startswith("loss/") else v[-1]
        for name, v in told(run).items()
    }


def is_low(figure: str) -> bool:
    """Whether a figure of a model that has learnt is low: losses and error rates with the right
    image, other measures with another's."""
    other = figure.endswith("_other_image")
    return other != (figure.startswith("loss/") or "error_rate" in figure)


def beit3_colours(out: Path) -> dict[str, float]:
    """Colour words that only the image can tell, all of a caption masked and nothing else."""
    preset = PRESETS["debug"]
    task = preset.task()
    module = task.build()
    read_weights(str(out / "beit3/checkpoints"), module)
    told = colours_told(task, module, Corpus(str(out / "held")))
    return {"colours": told["right"], "colours_other_image": told["wrong"]}


def over_dense(out: Path) -> dict[str, float]:
    """The loss of M6 with experts over that of the dense one, in the last third of their steps:
    both have had the same rows. A step has one task, so a few of them say little."""
    experts, dense = (told(out / run)["loss/tokens"] for run in ("m6-experts", "m6"))
    last = len(dense) // 3
    return {"loss/over_dense": sum(experts[-last:]) / sum(dense[-last:])}


class Run(NamedTuple):
    """What is trained, and on what."""

    model: str
    preset: str = "debug"
    scenes: str = ""
    """On what (`SCENES`)."""
    changes: tuple[str, ...] = ()
    """Of the preset, KEY=VALUE."""
    initial: str | None = None
    """The run whose weights it begins with."""
    half: Callable[[Sequence[str]], vision.Half] | None = None
    """The vision half that learns by itself first, of the preset with its changes."""
    measure: Callable[[Path], dict[str, float]] | None = None
    """What is measured on the weights at the end, beside the run's own figures."""


SCENES: dict[str, tuple[Callable[..., Path], int]] = {
    "": (scenes_corpus, 3000),
    "annotated": (annotated, 3000),
    "languages": (languages_corpus, 6000),
    "one-each": (partial(languages_corpus, things=(1, 1)), 6000),
    "chinese": (partial(scenes_corpus, languages=("zh",)), 3000),
}
"""What is trained on, and how many scenes of it."""

IN_LANGUAGES = ("model.languages=[en,de,fr,es,zh]", "model.words=1024")

RUNS = {
    "beit3": Run("beit3", measure=beit3_colours),
    "beit3-itc": Run("beit3", preset="debug-itc", initial="beit3"),
    "ernie_vil": Run("ernie_vil", scenes="annotated"),
    "flava": Run("flava"),
    "ofa": Run("ofa", scenes="languages", changes=(*IN_LANGUAGES, "train.steps=4000")),
    "ofa-one": Run(
        "ofa",
        scenes="one-each",
        changes=(*IN_LANGUAGES, "train.steps=2000", "train.eval_every=1000"),
    ),
    "pali": Run(
        "pali",
        scenes="one-each",
        changes=(
            "model.vision.layers=2",
            "model.frozen=vision",
            "train.steps=1200",
            "train.eval_every=1200",
        ),
        half=vision.vit,
    ),
    "m6": Run("m6", scenes="chinese"),
    "m6-experts": Run("m6", preset="debug-experts", scenes="chinese", measure=over_dense),
}


def command(function: Callable[..., None], *arguments: object) -> None:
    app = typer.Typer()
    app.command()(function)
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exit_code:
        raise SystemExit(f"{done.output}\n{' '.join(map(str, arguments))}: {done.exit_code}")


def learn(name: str, out: Path) -> bool:
    run = RUNS[name]
    write, count = SCENES[run.scenes]
    kind = f"-{run.scenes}" if run.scenes else ""
    scenes, held = (out / f"{part}{kind}" for part in ("scenes", "held"))
    if not held.exists():
        write(scenes, seed=1, count=count)
        write(out / "unfinished", seed=1, count=256, first=10**6).rename(held)
    arguments = ["--held-out", held, "--out", out / name, "--preset", run.preset]
    if run.initial:
        if not (out / run.initial / "run.json").exists():
            raise SystemExit(f"{name} begins with the weights of {run.initial}: run that first")
        weights = out / f"{name}-initial"
        command(export, out / run.initial, weights, "--form", run.model)
        arguments += ["--initial", weights / f"{run.model}.pth"]
    alone: dict[str, float] = {}
    if run.half:
        weights = out / f"{name}-vision.pth"
        alone = vision.learn(run.half(run.changes), weights)
        arguments += ["--initial", weights]
    for change in run.changes:
        arguments += ["--set", change]
    command(cli.train, run.model, scenes, *arguments)
    measured = run.measure(out) if run.measure else {}
    measured |= {f"vision/{figure}": share for figure, share in alone.items()}
    found, right = figures(out / name) | measured, True
    print(f"{name}\n{'':36}{'found':>8}{'bound':>8}{'chance':>8}{'seen':>8}")
    for figure, (chance, bound, seen) in BOUNDS.get(name, {}).items():
        value = found[figure]
        good = value < bound if is_low(figure) else value > bound
        mark = "" if good else "  not reached"
        print(f"{figure:36}{value:8.3f}{bound:8.3f}{chance:8.3f}{seen:8.3f}{mark}")
        right &= good
    for figure in measured.keys() - BOUNDS.get(name, {}).keys():
        print(f"{figure:36}{measured[figure]:8.3f}")
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", choices=[*RUNS, []], help="all without")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    given = parser.parse_args()
    results = [learn(name, given.out) for name in given.runs or RUNS]
    if not all(results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
