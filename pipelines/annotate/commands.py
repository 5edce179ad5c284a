"""The commands `septet annotate` and `septet columns`."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from septet.preprocess.log import make_console, tell

if TYPE_CHECKING:
    from septet.preprocess.columns.base import Column

_console = make_console(stderr=True)


def annotate(
    corpus: Annotated[str, typer.Argument(help="A corpus folder.", show_default=False)],
    column: Annotated[
        str, typer.Option("--column", "-c", help="Kind of column; `septet columns` lists them.")
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call it in this corpus; the kind when absent.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the column, as YAML."),
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="A YAML file of settings; --set overrides it.")
    ] = None,
    only_missing: Annotated[
        bool,
        typer.Option(
            "--only-missing",
            help="Refuse to make anew what was made with other settings or models.",
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes of the local runner; one a core when absent."),
    ] = None,
    runner: Annotated[str, typer.Option(help="Where the pipeline runs.")] = "local",
    beam: Annotated[list[str] | None, typer.Option(help="A further flag for Beam.")] = None,
) -> None:
    """Make a column: one annotation of every sample, beside the base shards.

    Shards that are there are kept; so an annotation that was interrupted goes on where it stopped.
    Where settings, models or base shards changed, what no longer fits is made anew. A sample
    without a value keeps its row, with the reason.

    **Examples**

    septet annotate corpora/demo --column scene-graphs --workers 4

    septet annotate corpora/demo --column codes --name codes-flava --set tokenizer=dvae --set
    weights=/models/dvae.safetensors
    """
    import septet
    from septet.preprocess import files
    from septet.preprocess.shards.views import split_view
    from septet.schemas.layout import column_folder

    manifest = septet.annotate(
        corpus,
        column,
        name=name,
        settings=read_settings(settings_file, settings or []),
        only_missing=only_missing,
        runner=runner,
        workers=workers,
        beam=beam or [],
        console=_console,
    )
    folder = files.join(split_view(corpus)[0], column_folder(manifest.name))
    tell(
        _console,
        f"[bold]{manifest.values:,}[/] values for {manifest.samples:,} samples, "
        f"{manifest.bytes:,} bytes: {folder}",
        True,
        column=manifest.name,
        values=manifest.values,
    )


def columns(
    kind: Annotated[
        str | None, typer.Argument(help="Show this kind's settings.", show_default=False)
    ] = None,
) -> None:
    """List the kinds of columns that are installed, or the settings of one.

    **Examples**

    septet columns

    septet columns scene-graphs
    """
    from rich.markup import escape
    from rich.table import Table

    from septet.preprocess.columns.registry import ColumnError, column_class, column_kinds

    console = Console()
    if kind is None:
        table = Table("kind", "what it holds", box=None)
        for one in column_kinds():
            try:
                text = " ".join(_documentation(column_class(one)).split("\n\n")[0].split())
            except ColumnError as error:
                text = f"[dim]{escape(str(error))}[/]"
            table.add_row(one, text)
        console.print(table)
        return
    found = column_class(kind)
    console.print(escape(_documentation(found)))
    table = Table("setting", "default", "what it does", box=None)
    for key, field in found.Settings.model_fields.items():
        default = "needed" if field.is_required() else str(field.default)
        table.add_row(key, escape(default), escape(field.description or ""))
    console.print(table)


def _documentation(kind: "type[Column]") -> str:
    return inspect.getdoc(kind) or ""


def read_settings(path: Path | None, pairs: list[str]) -> dict[str, Any]:
    """Settings from a YAML file, overlaid with KEY=VALUE pairs.

    Raises:
        ColumnError: no such file, not YAML, or a pair without `=`.
    """
    from septet.preprocess.columns.registry import ColumnError
    from septet.schemas.strict_yaml import YamlError, parse_yaml

    found: dict[str, Any] = {}
    try:
        if path is not None:
            if not path.is_file():
                raise ColumnError(f"{path}: no such file of settings")
            data = parse_yaml(path.read_text(encoding="utf-8"), str(path))[1] or {}
            if not isinstance(data, dict):
                raise ColumnError(f"{path}: expected `setting: value` lines")
            found |= data
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise ColumnError(f"--set {pair}: expected KEY=VALUE")
            found[key] = parse_yaml(value, f"--set {pair}")[1]
    except YamlError as error:
        raise ColumnError(f"settings: {error}") from error
    return found
