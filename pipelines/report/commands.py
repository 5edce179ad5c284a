"""The commands `septet stats` and `septet show`."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from septet.pipelines.report.compare import Comparison
    from septet.pipelines.report.figures import Statistics

_CORPUS = typer.Argument(
    metavar="CORPUS", help="A corpus folder, local or on any store that fsspec knows.",
    show_default=False,
)  # fmt: skip


def stats(
    corpus: Annotated[str, _CORPUS],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; equal corpora give equal bytes.")
    ] = False,
    html: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Write the report, one HTML page that needs no network."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="OTHER", help="An older corpus, or what `--json` printed of it: show changes."
        ),
    ] = None,
    recount: Annotated[
        bool,
        typer.Option(
            "--recount", help="Read all sidecars, also where the build's figures are kept."
        ),
    ] = False,
    examples: Annotated[
        int,
        typer.Option(min=0, max=100, help="Rows to show of each reason on the terminal."),
    ] = 0,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:CLASS",
            help="With --html: import this class, if a column was made with it, to draw its "
            "values. Nothing else that the corpus names is imported.",
        ),
    ] = None,
) -> None:
    """Count what a corpus holds and what its build dropped.

    Tables on the terminal, unless `--json` or `--html` asks for another form. Nothing is written
    but what `--html` names. The figures are those that the build counted, where they are kept
    beside the corpus's shards; else its sidecars are read.

    **Examples**

    septet stats corpora/demo

    septet stats corpora/demo --examples 3

    septet stats corpora/demo --html report.html

    septet stats corpora/demo --json | jq .samples

    septet stats corpora/demo-2 --against corpora/demo

    septet stats corpora/demo-2 --against demo.json --html changes.html
    """
    from septet.pipelines.report import terminal
    from septet.pipelines.report.columns import trusted_columns
    from septet.pipelines.report.compare import compare
    from septet.pipelines.report.page import report_page
    from septet.pipelines.report.readable import size
    from septet.preprocess import files

    found = _measured(corpus, recount)
    changes = compare(_other(against, recount), found) if against else None
    if html is not None:
        live = trusted_columns(corpus, trust or ())
        page = report_page(corpus, found, changes, live)
        files.write_bytes(html, page)
        typer.echo(f"{html}: {size(len(page))}", err=as_json)
    if as_json:
        text = changes.to_json() if changes else found.to_json()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
    elif html is None:
        _print(found, changes, corpus, examples)
        if not changes:
            terminal.print_columns(found.columns or [], Console())


def show(
    corpus: Annotated[str, _CORPUS],
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="A sample's key, or its beginning where no other key begins so.",
            show_default=False,
        ),
    ],
    image: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Write its image there, byte for byte as stored."),
    ] = None,
) -> None:
    """Print one sample: its caption, its metadata and what the tar holds of it.

    The key is as the report and the sidecars show it; its beginning is enough where no other key
    begins so. With `--image` the image is written too; where PATH is a folder the key becomes its
    name, and where it has no extension the right one is added.

    **Examples**

    septet show corpora/demo 00f3a9

    septet show corpora/demo 00f3a9 --image image.jpg
    """
    from septet.pipelines.report.readable import size
    from septet.pipelines.report.show import print_sample, resolve_key, write_image
    from septet.preprocess.shards.reader import Corpus

    opened = Corpus(corpus, open_shards=2)
    index = resolve_key(opened, key)
    print_sample(opened, index, Console())
    if image is not None:
        path, length = write_image(opened, index, image)
        typer.echo(f"{path}: {size(length)}")


def _measured(corpus: str, recount: bool) -> "Statistics":
    """Read or count the corpus's statistics; where its sidecars are read, an interactive terminal
    shows a progress bar."""
    from septet.pipelines.report.statistics import corpus_statistics, known_statistics, with_columns

    def measure(progress: Callable[[int, int], None] | None) -> "Statistics":
        if recount:
            return with_columns(corpus, corpus_statistics(corpus, progress))
        return known_statistics(corpus, progress)

    console = Console(stderr=True)
    if not console.is_terminal:
        return measure(None)
    with console.status("Reading figures") as status:
        return measure(lambda done, of: status.update(f"Reading sidecars: {done:,} of {of:,}"))


def _other(against: str, recount: bool) -> "Statistics":
    from septet.pipelines.report.figures import Statistics
    from septet.preprocess import files

    if against.endswith(".json"):
        if not files.exists(against):
            raise ValueError(
                f"--against {against}: no such file; expected a corpus folder, or a file with what "
                "`septet stats --json` printed"
            )
        return Statistics.from_json(files.read_bytes(against), against)
    return _measured(against, recount)


def _print(found: "Statistics", changes: "Comparison | None", corpus: str, examples: int) -> None:
    from septet.pipelines.report import terminal
    from septet.pipelines.report.losses import MOST_REASONS
    from septet.pipelines.report.rejects import SEED, count_rejects, sample_rejects
    from septet.preprocess.shards.heads import read_head
    from septet.preprocess.shards.views import split_view

    console = Console()
    if changes:
        terminal.print_comparison(changes, console)
        return
    path = split_view(corpus)[0]
    drawn = (
        sample_rejects(path, count_rejects(path), examples, MOST_REASONS, SEED) if examples else {}
    )
    terminal.print_statistics(found, console, read_head(path).recipe, drawn)
