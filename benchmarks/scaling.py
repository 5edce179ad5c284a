"""Parallelism of a build: workers of the local runner, cores of Spark.

    python -m benchmarks.scaling [--quick] [--spark] [--images N] [--rows N] [--rounds N]

Builds a corpus whose cost is decoding and resizing large JPEGs of a list, with one worker and with
two, interleaved, and once more with nothing to do; with --spark also on one-machine standalone
clusters of one and two cores (needs Java, Maven and `make spark-parts`), and, on the one of two,
which has built before, the demo corpus and a list of captions, each beside two local workers.
Prints the machine's load, wall times of the fetch stage and of whole builds, and ratios, which are
medians of the rounds': of the fetch for workers and cores, of whole builds elsewhere. Other load on
the machine spoils them all; for workers and cores it takes idle cores.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from septet.pipelines.build import build
from septet.pipelines.progress import BuildProgress
from septet.pipelines.runners import Runner, make_runner
from septet.schemas.recipe_file import parse_recipe

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "examples/recipes/demo.yaml"
PORT = 23077


def make_inputs(folder: Path, images: int) -> Path:
    """A list of large JPEGs with captions, and the recipe over it."""
    root = folder / "images"
    root.mkdir(parents=True)
    lines = []
    for n in range(images):
        small = np.random.default_rng(n).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        large = cv2.resize(small, (2048, 1536), interpolation=cv2.INTER_CUBIC)
        noisy = cv2.add(large, np.random.default_rng(n).integers(0, 40, large.shape, np.uint8))
        cv2.imwrite(str(root / f"{n}.jpg"), noisy)
        lines.append(f'{{"url": "{n}.jpg", "caption": "A large image with the number {n}"}}')
    (folder / "list.jsonl").write_text("\n".join(lines))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: scaling\nsources: [{kind: list, paths: [list.jsonl], image_root: images}]\n"
        f"image: {{image_size: 768}}\nwrite: {{samples_per_shard: {max(4, images // 32)}}}\n"
    )
    return recipe


def make_captions(folder: Path, rows: int) -> Path:
    """A list of captions without images, all different, and the recipe over it."""
    folder.mkdir(parents=True)
    words = ["red", "blue", "old", "small", "bright", "quiet", "wooden", "long", "round", "open"]
    with (folder / "captions.txt").open("w") as out:
        for n in range(rows):
            some = " ".join(words[n // 10**k % 10] for k in range(5))
            out.write(f"The {some} thing with the number {n}\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: captions\nsources: [{kind: list, paths: [captions.txt], url_col: null, "
        "columns: [caption]}]\n"
    )
    return recipe


def timed(recipe: Path, folder: Path, runner: Runner, anew: bool = True) -> tuple[float, float]:
    """Wall seconds of the fetch stage and of the whole build, anew unless it is there."""
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    parsed = parse_recipe(recipe.read_text())
    quiet = BuildProgress(Console(quiet=True))
    start = time.perf_counter()
    result = build(parsed, str(recipe.parent), str(folder), runner, quiet)
    seconds = {stage.name: stage.seconds for stage in result.stages}
    return seconds["fetch"], time.perf_counter() - start


class Cluster:
    """A standalone Spark cluster on this machine, for the block."""

    def __init__(self, folder: Path, cores: int):
        self.cores, self.port = cores, PORT + 10 * cores
        self.where = ["--state", str(folder / f"spark-{cores}"), "--port", str(self.port)]

    def _script(self, action: str, *more: str) -> None:
        script = str(ROOT / "infra/spark/cluster.sh")
        environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
        subprocess.run([script, action, *self.where, *more], env=environment, check=True)

    def __enter__(self) -> Runner:
        self._script("start", "--cores", str(self.cores))
        endpoints = (
            f"--job_endpoint=127.0.0.1:{self.port + 2}",
            f"--environment_config=127.0.0.1:{self.port + 4}",
        )
        return make_runner("spark", 1, endpoints)

    def __exit__(self, *exc: object) -> None:
        self._script("stop")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--spark", action="store_true", help="Spark, too (minutes)")
    parser.add_argument("--images", type=int, help="JPEGs of 2048 x 1536 (1600; quick: 320)")
    parser.add_argument("--rows", type=int, default=50_000, help="captions of the list (50000)")
    parser.add_argument("--rounds", type=int, help="builds of each kind (3; quick: 1)")
    options = parser.parse_args()
    images = options.images or (320 if options.quick else 1600)
    rounds = options.rounds or (1 if options.quick else 3)
    figures: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = make_inputs(folder / "in", images)
        print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")

        def note(label: str, recipe: Path, runner: Runner, anew: bool = True) -> None:
            figures.setdefault(label, []).append(timed(recipe, folder / "corpus", runner, anew))

        def locally(label: str, recipe: Path, workers: int, again: bool = False) -> None:
            with make_runner("local", workers) as runner:
                runner.check()
                note(label, recipe, runner)
                if again:
                    note("local, nothing to do", recipe, runner, anew=False)

        for _ in range(rounds):
            locally("local, 1 worker(s)", recipe, 1)
            locally("local, 2 worker(s)", recipe, 2, again=True)
        if options.spark:
            others = {"demo": DEMO, "captions": make_captions(folder / "captions", options.rows)}
            for cores in (1, 2):
                with Cluster(folder, cores) as runner:
                    for _ in range(rounds):
                        note(f"spark, {cores} core(s)", recipe, runner)
                    for name, other in others.items() if cores == 2 else ():
                        for _ in range(rounds):
                            locally(f"{name}, local", other, 2)
                            note(f"{name}, spark", other, runner)
    print(f"{images} JPEGs of 2048 x 1536, {rounds} round(s)")
    for label, times in figures.items():
        fetch, whole = (statistics.median(values) for values in zip(*times, strict=True))
        print(f"{label:<24}fetch {fetch:7.2f} s   whole build {whole:7.2f} s")

    def ratio(what: str, above: str, below: str, column: int) -> None:
        pairs = zip(figures[above], figures[below], strict=False)
        value = statistics.median(a[column] / b[column] for a, b in pairs)
        print(f"ratio {what} {value:.2f}")

    one, two = "local, 1 worker(s)", "local, 2 worker(s)"
    ratio("local_workers_2_vs_1", one, two, 0)
    ratio("second_build_vs_first", "local, nothing to do", two, 1)
    if options.spark:
        ratio("spark_cores_2_vs_1", "spark, 1 core(s)", "spark, 2 core(s)", 0)
        ratio("spark_vs_local_images", "spark, 2 core(s)", two, 1)
        ratio("spark_vs_local_demo", "demo, spark", "demo, local", 1)
        ratio("spark_vs_local_captions", "captions, spark", "captions, local", 1)


if __name__ == "__main__":
    main()
