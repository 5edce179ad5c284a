"""`septet build --runner dataflow --dry-run`: the jobs that Dataflow would get, and what they would
cost."""

import tempfile

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult
from rich.console import Console
from rich.table import Table

from septet.pipelines.build import BuildResult, build
from septet.pipelines.progress import BuildProgress
from septet.pipelines.runners.base import Job
from septet.pipelines.runners.beam import BuildPipeline
from septet.pipelines.runners.cost import Measured, Prices, table
from septet.pipelines.runners.dataflow import DataflowRunner, Graph
from septet.pipelines.runners.measure import MeasuringRunner, PassFigures
from septet.schemas.recipe import Recipe


class _DryRunner(MeasuringRunner):
    """A runner that translates each pipeline for Dataflow, then runs it here and measures it."""

    def __init__(self, job: Job, dataflow: DataflowRunner):
        super().__init__(job)
        self.dataflow = dataflow
        self.graphs: list[Graph] = []

    def run_pipeline(self, name: str, build_pipeline: BuildPipeline) -> PipelineResult:
        """See `BeamRunner.run_pipeline`."""

        def translated(pipeline: beam.Pipeline) -> None:
            build_pipeline(pipeline)
            self.graphs.append(self.dataflow.translate(name, pipeline))

        return super().run_pipeline(name, translated)


def dry_run(
    recipe: Recipe, folder: str, dataflow: DataflowRunner, prices: Prices, console: Console
) -> tuple[BuildResult, dict[str, PassFigures]]:
    """Build the recipe's corpus once in a temporary folder, and print what Dataflow would get.

    The figures a pair are those of the recipe's own inputs: give it a sample of them.

    Args:
        recipe: A parsed recipe.
        folder: Where its relative paths start.
        dataflow: The runner, with the user's options.
        prices: The prices of the region, as the provider lists them.
        console: The console to print on.

    Returns:
        The result of the build, and the figures of its pipelines by name.
    """
    with (
        tempfile.TemporaryDirectory() as scratch,
        _DryRunner(Job(corpus=scratch), dataflow) as runner,
    ):
        result = build(recipe, folder, scratch, runner, BuildProgress())
    console.print(f"[bold]{recipe.name}[/] on Dataflow: {len(runner.graphs)} jobs, one a pipeline")
    for graph in runner.graphs:
        figures = runner.figures[graph.name]
        for line in graph.lines():
            console.print(line, highlight=False, soft_wrap=True)
        console.print(
            f"  largest element {figures.largest:,} bytes ({figures.largest_at})",
            highlight=False,
            soft_wrap=True,
        )
    pairs = max(1, result.stages[0].counts.rows_in)
    measured = [
        Measured(name, pairs, figures.cpu_seconds, figures.shuffled_bytes)
        for name, figures in runner.figures.items()
    ]
    header, *rows = table(measured, prices)
    cost = Table(title=f"measured on {pairs:,} pairs", title_justify="left")
    for heading in header:
        cost.add_column(heading, justify="left" if heading == "stage" else "right")
    for row in rows:
        cost.add_row(*row)
    console.print(cost)
    console.print(
        "CPU seconds include the start of each pipeline, 0.4 or so: take a sample that is long "
        "beside it. Waiting for the network is not in them.",
    )
    if not prices.vcpu_hour:
        names = "--price-vcpu-hour, --price-memory-gb-hour, --price-shuffle-gb"
        console.print(f"costs need prices: {names}")
    for problem in dataflow.problems():
        console.print(
            f"before it can run: {problem}", highlight=False, soft_wrap=True, markup=False
        )
    return result, runner.figures
