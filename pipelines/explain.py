"""`septet build --explain`: prints what a build would do, and does nothing."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from septet.pipelines.annotate.annotate import plan_column
from septet.pipelines.report.readable import clean
from septet.pipelines.sources.base import whole_inputs
from septet.pipelines.stages.stage import Stage
from septet.preprocess.columns.base import Column
from septet.schemas.recipe import Recipe

_SHOWN = 20


def explain_stages(
    recipe: Recipe, stages: list[Stage], columns: Mapping[str, Column], console: Console
) -> None:
    """Print each stage and column: its fingerprint, whether it is complete, and its settings."""
    slices = stages[0].context.inputs
    inputs = whole_inputs(slices)
    title = f"{recipe.name}: {len(stages)} stages" + f", {len(columns)} columns" * bool(columns)
    table = Table(title=title, title_justify="left")
    for heading in ("stage", "fingerprint", "state", "settings"):
        table.add_column(heading, overflow="fold")
    for stage in stages:
        counts = stage.done()
        state = "complete" if counts else "to do"
        table.add_row(stage.name, stage.fingerprint, state, _cell(_settings(stage)))
    for name, column in columns.items():
        table.add_row(*map(_cell, _column_row(stages[0].corpus, name, column)))
    console.print(table)
    total = sum(item.bytes for item in inputs)
    console.print(f"inputs: {len(inputs):,} of {total:,} bytes, cut into {len(slices):,} tasks")
    for item in inputs[:_SHOWN]:
        line = f"  {item.label}  {item.bytes:,} bytes  {item.digest}"
        console.print(_cell(line), highlight=False, soft_wrap=True)
    if len(inputs) > _SHOWN:
        console.print(f"  … and {len(inputs) - _SHOWN:,} more")


def _cell(text: str) -> Text:
    """Text as it is: names may hold what the console takes for markup, or for commands."""
    return Text(clean(text))


def _column_row(corpus: str, name: str, column: Column) -> tuple[str, str, str, str]:
    settings = column.settings.model_dump(mode="json")
    lines = [f"column: {column.kind}", *(f"{key}: {value}" for key, value in settings.items())]
    try:
        plan = plan_column(corpus, name, column.kind, settings)
    except ValueError:  # no corpus yet, or not the columns that it is made from
        return name, "", "to do", "\n".join(lines)
    complete = not plan.missing and not plan.foreign
    return name, plan.fingerprint, "complete" if complete else "to do", "\n".join(lines)


def _settings(stage: Stage) -> str:
    if not stage.sections:
        return ""
    resolved = stage.recipe.resolved()
    lines = []
    for section in stage.sections:
        values = resolved[section]
        for number, part in enumerate(values if isinstance(values, list) else [values]):
            prefix = f"{section}.{number}" if isinstance(values, list) else section
            lines += [f"{prefix}.{key}: {value}" for key, value in part.items()]
    return "\n".join(lines)
