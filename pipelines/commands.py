"""The commands `septet build`, `septet index`, `septet check` and `septet clean`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console


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
    runner: Annotated[str, typer.Option(help="Where the stages run.")] = "local",
    beam: Annotated[
        list[str] | None,
        typer.Option(help="A flag for Beam on any other runner, such as --beam=--region=NAME."),
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
            help="Fetch images again that failed for reasons of this class, such as passing, or "
            "for this reason, such as timeout (docs/reasons.md has both).",
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
    """Build a corpus from a recipe; resume it; or do nothing where it is up to date.

    Only what changed is done again, and no image is fetched twice.

    **Examples**

    septet build examples/recipes/demo.yaml

    septet build my.yaml --out /data/my-corpus --workers 8

    septet build my.yaml --explain

    septet build sample.yaml --runner dataflow --dry-run --price-vcpu-hour 0.06
    """
    from septet.pipelines.up_to_date import find_corpus, is_noted
    from septet.preprocess.log import make_console
    from septet.schemas.recipe_text import read_recipe

    console = make_console(stderr=True)
    text = read_recipe(recipe)
    corpus = find_corpus(text, out)
    plain = not explain and not dry_run and not beam and not retry and runner == "local"
    if plain and corpus is not None:
        figures = is_noted(corpus, recipe, text)
        if figures is not None:
            console.print(f"{corpus} is up to date: nothing to do", soft_wrap=True)
            _print_result(console, corpus, **figures)
            return
    if explain:
        _explain(recipe, text, corpus)
        return
    if dry_run:
        prices = (price_vcpu_hour, price_memory_gb_hour, price_shuffle_gb)
        _dry_run(recipe, text, runner, beam or [], prices)
        return
    import septet
    from septet.schemas.reasons import class_of

    result = septet.build(
        recipe,
        out,
        runner=runner,
        workers=workers,
        beam=beam or [],
        retry=retry or [],
        console=console,
    )
    if result.nothing_to_do:
        console.print(f"{result.corpus} is up to date: nothing to do", soft_wrap=True)
    for column in result.columns:
        console.print(f"column {column.name}: {column.values:,} values")
    passing = sum(
        count
        for stage in result.stages
        if stage.name == "fetch" and not stage.skipped
        for reason, count in stage.counts.rejected.items()
        if class_of(reason) == "passing"
    )
    if passing:
        console.print(
            f"{passing:,} samples lost their image for reasons that may pass: `--retry passing` "
            "fetches such images again",
            soft_wrap=True,
        )
    _print_result(console, result.corpus, result.manifest.samples, result.manifest.shards)


def _print_result(console: "Console", corpus: str, samples: int, shards: int) -> None:
    from septet.preprocess.log import tell

    tell(
        console,
        f"[bold]{samples:,}[/] samples in {shards:,} shards: {corpus}\n"
        f"report: {corpus.rstrip('/')}/stats/report.html",
        True,
        samples=samples,
        shards=shards,
    )


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
    from rich.console import Console

    import septet

    console = Console(stderr=True)
    found = septet.index(folder, name, console=console)
    for note in found.notes:
        console.print(note, markup=False, soft_wrap=True)
    for tar in found.left_out:
        console.print(f"left out: {tar}", markup=False, soft_wrap=True)
    manifest = found.manifest
    console.print(f"{manifest.samples:,} samples in {manifest.shards:,} shards: {folder}")
    if found.left_out:
        raise typer.Exit(1)


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
    """Check a corpus and its columns against their manifests.

    Digests, offsets, checksums, order and keys; of columns also alignment with the base, types,
    shapes and ranges of all values. Ends with status 1, and a line for each fault, when anything
    is not as it should be.

    **Example**

    septet check corpora/demo --decode
    """
    from rich.console import Console

    import septet

    console = Console(stderr=True)
    faults = septet.check(corpus, decode=decode, trust=trust or (), console=console)
    for fault in faults:
        print(fault)
    if faults:
        raise typer.Exit(1)
    console.print(f"{corpus}: no fault found")


def clean(
    corpus: Annotated[str, typer.Argument(help="A corpus folder that `septet build` made.")],
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the files; without it they are only listed.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="This kind of files alone; may be given several times."),
    ] = None,
) -> None:
    """List the files of a corpus folder that nothing needs any more, and remove them.

    Kinds: `settings` (images that were fetched under other settings), `images` (images that no
    sample of the last build has), `shards` (shards and columns' files that the corpus does not
    have), `unfinished` (what killed writers left), `sites` (what servers' robots.txt and the like
    said, where it is too old to count). Removing waits for no build: it is refused while one is at
    work.

    **Examples**

    septet clean corpora/demo

    septet clean corpora/demo --only settings --remove
    """
    from rich.console import Console

    import septet
    from septet.pipelines.clean import KINDS
    from septet.pipelines.report.readable import size

    console = Console(stderr=True)
    found = septet.clean(corpus, remove=remove, only=only or tuple(KINDS), console=console)
    for leftover in found:
        ages = ""
        if leftover.ages is not None:
            ages = " ({:.1f} to {:.1f} days old)".format(*(age / 86400 for age in leftover.ages))
        print(
            f"{leftover.kind:<11} {len(leftover.paths):>9,} files {size(leftover.bytes):>10}"
            f"  {KINDS[leftover.kind]}{ages}"
        )
    total = size(sum(leftover.bytes for leftover in found))
    if not found:
        console.print(f"{corpus}: nothing to remove", markup=False, soft_wrap=True)
    elif remove:
        console.print(f"{corpus}: removed {total}", markup=False, soft_wrap=True)
    else:
        console.print(f"{total}; `--remove` removes them", markup=False, soft_wrap=True)


def _explain(recipe: Path, text: str, corpus: str | None) -> None:
    from rich.console import Console

    from septet.pipelines.annotate.from_recipe import recipe_columns
    from septet.pipelines.build import resolve
    from septet.pipelines.explain import explain_stages
    from septet.schemas.recipe_file import parse_recipe

    parsed = parse_recipe(text, str(recipe))
    folder = str(recipe.absolute().parent)
    columns = recipe_columns(parsed, folder)
    corpus = corpus or str(Path("corpora") / parsed.name)
    explain_stages(parsed, resolve(parsed, folder, corpus), columns, Console())


def _dry_run(
    recipe: Path, text: str, runner: str, beam: list[str], prices: tuple[float, float, float]
) -> None:
    from rich.console import Console

    from septet.pipelines.dry_run import dry_run
    from septet.pipelines.runners import make_runner
    from septet.pipelines.runners.cost import Prices
    from septet.pipelines.runners.dataflow import DataflowRunner
    from septet.schemas.recipe_file import parse_recipe

    with make_runner(runner, options=beam) as chosen:
        if not isinstance(chosen, DataflowRunner):
            raise ValueError("--dry-run goes with --runner dataflow; --explain with any runner")
        parsed = parse_recipe(text, str(recipe))
        console = Console(width=max(Console().width, 120))
        dry_run(parsed, str(recipe.absolute().parent), chosen, Prices(*prices), console)
