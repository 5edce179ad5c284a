from pathlib import Path

import pytest
from rich.console import Console

from septet.pipelines.build import build
from septet.pipelines.cli import main
from septet.pipelines.progress import BuildProgress
from septet.pipelines.runners.base import Job
from septet.pipelines.runners.measure import MeasuringRunner
from septet.schemas.recipe_file import parse_recipe

DEMO = Path(__file__).parents[3] / "examples/recipes/demo.yaml"


def test_no_element_of_the_demo_is_larger_than_a_table_of_text_rows(tmp_path: Path) -> None:
    runner = MeasuringRunner(Job(corpus=str(tmp_path)))
    recipe = parse_recipe(DEMO.read_text())
    result = build(
        recipe, str(DEMO.parent), str(tmp_path), runner, BuildProgress(Console(quiet=True))
    )
    assert list(runner.figures)[:13] == [
        "source", "filter: texts", "filter: sites", "filter: all sites", "filter: priors", "filter",
        "dedup: survey", "dedup: plan", "fetch: missing", "fetch", "fetch: located", "curate",
        "write",
    ]  # fmt: skip
    largest = {name: figures.largest for name, figures in runner.figures.items()}
    # Rows of text travel in the plan and of the store, ids and hashes in survey and curate, else
    # keys of tasks.
    of_text = {"dedup: plan", "fetch: missing", "fetch: located"}
    assert max(largest, key=lambda name: largest[name]) in of_text
    assert max(largest.values()) < 200_000, largest
    assert all(largest[name] < 200 for name in ("source", "filter", "fetch", "write"))
    shuffled = sum(figures.shuffled_bytes for figures in runner.figures.values())
    pairs = result.stages[0].counts.rows_in
    assert 100 < shuffled / pairs < 1000
    assert shuffled < result.stages[3].counts.other["bytes"] / 5  # the images' own


def test_a_dry_run_needs_no_account(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["build", "--runner", "dataflow", "--dry-run", str(DEMO), "--price-vcpu-hour", "0.05"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for word in ("15 jobs", "identical", "cost, 10B", "shuffled", "Dataflow needs a project"):
        assert word in " ".join(out.split()), word
