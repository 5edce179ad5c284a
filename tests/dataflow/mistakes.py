"""Submits pipelines with mistakes that only show on other machines, as the one who launches.

    python mistakes.py ENDPOINT IMAGE FORGETFUL RECIPE

Prints what each came to, as JSON: of the pipelines below, and of a build of the recipe with workers
of the image FORGETFUL. Lies beside `only_here.py` when it runs.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apache_beam as beam
import only_here  # type: ignore[import-not-found]
from rich.console import Console

from septet.pipelines.build import build
from septet.pipelines.progress import BuildProgress
from septet.pipelines.runners import Runner, make_runner
from septet.schemas.recipe_file import parse_recipe

BUCKET = "gs://septet-test"


def no_mistake(pipeline: beam.Pipeline) -> None:
    _ = pipeline | beam.Create(["a"]) | beam.Map(len)


def local_path(pipeline: beam.Pipeline) -> None:
    path = only_here.__file__
    _ = pipeline | beam.Create([path]) | beam.Map(lambda here: Path(here).read_text())


def own_module(pipeline: beam.Pipeline) -> None:
    _ = pipeline | beam.Create(["a"]) | beam.Map(only_here.length)


def generator(pipeline: beam.Pipeline) -> None:
    numbers = (number for number in range(3))
    _ = pipeline | beam.Create(["a"]) | beam.Map(lambda _: next(numbers))


def come_to(do: Callable[[], object]) -> str:
    """What something came to: nothing, or an error."""
    try:
        do()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(endpoint: str, image: str, forgetful: str, recipe: str) -> None:
    options = [
        "--project=a-project", "--region=europe-west4", f"--temp_location={BUCKET}/temp",
        f"--dataflow_endpoint={endpoint}",
    ]  # fmt: skip

    def runner(image: str, corpus: str) -> Runner:
        made = make_runner("dataflow", 1, [*options, f"--sdk_container_image={image}"], corpus)
        made.check()
        return made

    with runner(image, f"{BUCKET}/corpus") as chosen:
        found = {
            each.__name__: come_to(partial(chosen.run_pipeline, each.__name__, each))
            for each in (no_mistake, local_path, own_module, generator)
        }
    options.append("--labels=Team=vision")
    with runner(image, f"{BUCKET}/corpus") as chosen:
        found["label"] = come_to(partial(chosen.run_pipeline, "label", no_mistake))
    options.pop()
    parsed, corpus = parse_recipe(Path(recipe).read_text()), f"{BUCKET}/corpus-2"
    with runner(forgetful, corpus) as chosen:
        folder = str(Path(recipe).parent)
        found["no_package"] = come_to(
            partial(build, parsed, folder, corpus, chosen, BuildProgress(Console(quiet=True)))
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
