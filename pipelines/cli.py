"""The front door: `septet`."""

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from septet.pipelines import quiet  # noqa: F401  (before anything imports Beam)
from septet.pipelines.report.readable import clean

app = typer.Typer(
    name="septet",
    help="From crawled pages to vision-language pretraining: one corpus engine, seven recipes.\n\n"
    "A first round: septet build examples/recipes/demo.yaml, then septet stats corpora/demo, "
    "then septet train clip corpora/demo --preset debug.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_console = Console(stderr=True)


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)],
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="The corpus folder or URL; corpora/NAME when absent."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes of the local runner; one a core when absent."),
    ] = None,
    runner: Annotated[str, typer.Option(help="Where the pipelines run.")] = "local",
    beam: Annotated[
        list[str] | None,
        typer.Option(help="A further flag for Beam, such as --beam=--save_main_session."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the resolved stages and run nothing.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="With --runner dataflow: translate the graphs, measure them here on the recipe's "
            "inputs, and print what the build would cost. Needs no account and no network.",
        ),
    ] = False,
    retry: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="Fetch images again that failed for reasons of this class, such as passing "
            "(docs/reasons.md has the classes).",
        ),
    ] = None,
    price_vcpu_hour: Annotated[
        float, typer.Option(help="Price of a vCPU for an hour, for --dry-run.")
    ] = 0.0,
    price_memory_gb_hour: Annotated[
        float, typer.Option(help="Price of a GB of memory for an hour, for --dry-run.")
    ] = 0.0,
    price_shuffle_gb: Annotated[
        float, typer.Option(help="Price of a shuffled GB, for --dry-run.")
    ] = 0.0,
) -> None:
    """Build a corpus from a recipe; resume it; or do nothing where it is whole.

    Only what changed is done again, and no image is fetched twice.

    **Examples**

    septet build examples/recipes/demo.yaml

    septet build my.yaml --out /data/my-corpus --workers 8

    septet build my.yaml --explain

    septet build sample.yaml --runner dataflow --dry-run --price-vcpu-hour 0.06
    """
    from septet.pipelines.annotate.from_recipe import recipe_columns
    from septet.pipelines.build import build as run_build
    from septet.pipelines.build import resolve
    from septet.pipelines.dry_run import dry_run as run_dry
    from septet.pipelines.explain import explain_stages
    from septet.pipelines.progress import BuildProgress
    from septet.pipelines.runners import make_runner
    from septet.pipelines.runners.cost import Prices
    from septet.pipelines.runners.dataflow import DataflowRunner
    from septet.schemas.recipe_file import parse_recipe

    if not recipe.is_file():
        raise ValueError(f"{recipe}: no such recipe file")
    parsed = parse_recipe(recipe.read_text(encoding="utf-8"), str(recipe))
    folder = str(recipe.resolve().parent)
    corpus = out or str(Path("corpora") / parsed.name)
    if explain:
        columns = recipe_columns(parsed, folder)
        explain_stages(parsed, resolve(parsed, folder, corpus), columns, Console())
        return
    inputs = [str(path) for source in parsed.sources for path in source.paths]
    chosen = make_runner(runner, workers, beam or [], corpus, inputs)
    if dry_run:
        if not isinstance(chosen, DataflowRunner):
            raise ValueError("--dry-run goes with --runner dataflow; --explain with any runner")
        prices = Prices(price_vcpu_hour, price_memory_gb_hour, price_shuffle_gb)
        run_dry(parsed, folder, chosen, prices, Console(width=max(_console.width, 120)))
        return
    chosen.check()
    result = run_build(parsed, folder, corpus, chosen, BuildProgress(_console), retry or [])
    if result.nothing_to_do:
        _console.print(f"{corpus} is whole already: nothing to do")
    for column in result.columns:
        _console.print(f"column {column.name}: {column.values:,} values")
    _console.print(
        f"[bold]{result.manifest.samples:,}[/] samples in {result.manifest.shards:,} shards: "
        f"{corpus}\nreport: {corpus.rstrip('/')}/stats/report.html"
    )


@app.command()
def index(
    folder: Annotated[str, typer.Argument(help="A folder of img2dataset or WebDataset shards.")],
    name: Annotated[str | None, typer.Option(help="Name of the corpus; the folder's.")] = None,
) -> None:
    """Give any folder of WebDataset shards sidecars and a manifest, so that it is a corpus.

    The tars are read once and left as they are; sidecars go into `index/` below the folder. Rows
    of img2dataset's own Parquet files are joined in where their keys match. A tar that is cut short
    is named and left out, and the status is 1; samples and rows that are of no use are counted.

    **Example**

    septet index /data/laion/00000-of-00100
    """
    from septet.pipelines.index import index_folder

    found = index_folder(folder, name, _console)
    for note in found.notes:
        _console.print(note, markup=False, soft_wrap=True)
    for tar in found.left_out:
        _console.print(f"left out: {tar}", markup=False, soft_wrap=True)
    manifest = found.manifest
    _console.print(f"{manifest.samples:,} samples in {manifest.shards:,} shards: {folder}")
    if found.left_out:
        raise typer.Exit(1)


@app.command()
def check(
    corpus: Annotated[str, typer.Argument(help="A corpus folder.")],
    decode: Annotated[bool, typer.Option("--decode", help="Decode every image, too.")] = False,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:CLASS",
            help="Import this class, if a column was made with it, and let it check its values. "
            "Nothing else that the corpus names is imported.",
        ),
    ] = None,
) -> None:
    """Check a corpus and its columns against their manifests: digests, offsets, checksums, order
    and keys; of columns also alignment with the base, types, shapes and ranges of all values.

    Ends with status 1, and a line for each fault, when anything is not as it should be.

    **Example**

    septet check corpora/demo --decode
    """
    from septet.pipelines.annotate.check import check_columns
    from septet.pipelines.check import check_corpus

    faults = check_corpus(corpus, decode, _console)
    faults += check_columns(corpus, _console, trust or ())
    for fault in faults:
        print(fault)
    if faults:
        raise typer.Exit(1)
    _console.print(f"{corpus}: no fault found")


def _mount() -> None:
    """Add the commands that live in rooms of their own; those of other packages by entry point."""
    from septet.pipelines.annotate.commands import annotate, columns
    from septet.pipelines.report.commands import show, stats

    app.command("annotate")(annotate)
    app.command("columns")(columns)
    app.command("stats")(stats)
    app.command("show")(show)
    for entry in entry_points(group="septet.commands"):
        app.command(entry.name)(entry.load())


_mount()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's error is one message and status 2."""
    from septet.pipelines.runners import StageFailed

    try:
        app(arguments)
    except (ValueError, OSError, StageFailed) as error:
        _console.print(
            f"[bold red]septet:[/] {escape(clean(str(error)))}", highlight=False, soft_wrap=True
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
