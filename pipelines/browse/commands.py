"""The command `septet browse`."""

from typing import Annotated

import typer


def browse(
    corpus: Annotated[
        str, typer.Argument(help="A corpus folder or URL, or PATH@VIEW.", show_default=False)
    ],
    beside: Annotated[
        str | None,
        typer.Option(
            "--with", metavar="CORPUS", help="Another corpus, view or build, to compare it with."
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="The port; any free one where it is 0.")] = 0,
    run: Annotated[
        str | None, typer.Option(help="A run whose model can be asked about samples.")
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(help="Weights of the tokenizer, to draw image codes as images again."),
    ] = None,
    no_open: Annotated[
        bool,
        typer.Option("--no-open", help="Print the link, and do not open it in a browser."),
    ] = False,
) -> None:
    """See, filter and cut a corpus in a browser.

    Serves pages on this machine alone, until it is stopped: how values are spread, samples,
    rejects. What is typed as *Keep* is what `septet curate --keep` takes, and stands in the
    address, so a link shows the same again. What is kept can be saved as a view. Nothing is
    imported or copied: sidecars are read where they lie. Needs `pip install "septet[browse]"`.

    **Examples**

    septet browse corpora/demo

    septet browse corpora/demo@best --port 8000 --no-open

    septet browse corpora/before --with corpora/after

    septet browse corpora/demo --run runs/ofa
    """
    try:
        from septet.pipelines.browse.serve import serve
    except ModuleNotFoundError as error:
        raise ValueError(
            f'`septet browse` needs {error.name}: pip install "septet[browse]"'
        ) from error
    serve(corpus, port, not no_open, run, codes, beside)
