"""The command `septet curate`."""

from typing import Annotated

import typer


def curate(
    corpus: Annotated[
        str, typer.Argument(help="A corpus folder, or PATH@VIEW to choose from a view of it.")
    ],
    name: Annotated[str, typer.Option(help="Name of the view.")],
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="What samples must meet; several must all be met. FIELD is a column of the "
            "sidecars, or COLUMN.FACT of a column of annotations.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Take `top` and `bottom` within each value of it."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART=SHARE",
            help="Hold a share out, as a view NAME-PART; NAME is the rest. By a hash of ids: all "
            "captions of an image go together, and stay there in later builds.",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where views go; into the corpus.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over views of these names, however chosen.")
    ] = False,
) -> None:
    """Choose samples by what is known of them: a view, without computing or copying any.

    A view is a list of ids with what it was chosen by. PATH@NAME stands for its samples wherever a
    corpus is asked for. Conditions compare a field (`<`, `>=`, `==`, `!=`, `in a, b`, `contains`,
    `exists`, `missing`), or take the `top 30%` or `bottom 5%` of all samples that have a value;
    `and`, `or`, `not` and brackets join them.

    **Examples**

    septet curate corpora/demo --keep "clip_similarity top 30%" --by language --name best

    septet curate corpora/demo --keep "width >= 200 and language in de, fr" --name wide

    septet curate corpora/demo --name train --split val=0.01
    """
    from rich.console import Console

    import septet

    shares: dict[str, float] = {}
    for text in split or ():
        part, _, share = text.partition("=")
        try:
            given = float(share)
        except ValueError:
            raise ValueError(f"--split {text}: expected PART=SHARE, such as val=0.01") from None
        if part in shares:
            raise ValueError(f"--split {text}: there is such a part already")
        shares[part] = given
    console = Console(stderr=True)
    views = septet.curate(
        corpus, name, keep=keep or (), by=by, split=shares, out=out, force=force, console=console
    )
    whole = views[-1].given

    def say(samples: int, what: str) -> None:
        share = samples / whole if whole else 0
        line = f"{samples:>12,} {share:6.1%}  {what}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    for kept in views[-1].keep:
        say(kept.samples, kept.keep)
    for view in views:
        say(view.samples, f"of {whole:,} samples: view {view.name}")
