"""Submits pipelines with mistakes that only show on other machines, as the one who launches.

    python mistakes.py ENDPOINT IMAGE

Prints what each came to, as JSON. Lies beside `only_here.py` when it runs.
"""

import json
import sys
from pathlib import Path

import apache_beam as beam
import only_here  # type: ignore[import-not-found]

from septet.pipelines.runners import make_runner

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


def main(endpoint: str, image: str) -> None:
    options = [
        "--project=a-project", "--region=europe-west4", f"--temp_location={BUCKET}/temp",
        f"--sdk_container_image={image}", f"--dataflow_endpoint={endpoint}",
    ]  # fmt: skip
    found = {}
    with make_runner("dataflow", 1, options, f"{BUCKET}/corpus") as runner:
        runner.check()
        for build in (no_mistake, local_path, own_module, generator):
            try:
                runner.run_pipeline(build.__name__, build)
                found[build.__name__] = ""
            except Exception as error:
                found[build.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
