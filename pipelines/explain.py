"""`septet build --explain`: what a build would do, without doing it."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from septet.pipelines.annotate.annotate import plan_column
from septet.pipelines.sources.base import whole_inputs
from septet.pipelines.stages.stage import Stage
from septet.preprocess.columns.base import Column
from septet.schemas.recipe import Recipe


def explain_stages(
    recipe: Recipe, stages: list[Stage], columns: Mapping[str, Column], console: Console
) -> None:
    """Print each stage and column with its fingerprint, whether it is whole, and its settings."""
    slices = stages[0].context.inputs
    inputs = whole_inputs(slices)
    title = f"{recipe.name}: {len(stages)} stages" + f", {len(columns)} columns" * bool(columns)
    table = Table(title=title, title_justify="left")
    for heading in ("stage", "fingerprint", "state", "settings"):
        table.add_column(heading, overflow="fold")
    for stage in stages:
        counts = stage.done()
        state = "whole" if counts else "to do"
        table.add_row(stage.name, stage.fingerprint, state, _settings(stage))
    for name, column in columns.items():
        table.add_row(*_column_row(stages[0].corpus, name, column))
    console.print(table)
    total = sum(item.bytes for item in inputs)
    console.print(f"{len(inputs):,} inputs in {len(slices):,} slices, {total:,} bytes")
    for item in inputs[:20]:
        console.print(f"  {item.label}  {item.bytes:,} bytes  {item.digest}", highlight=False)
    if len(inputs) > 20:
        console.print(f"  … and {len(inputs) - 20:,} more")


def _column_row(corpus: str, name: str, column: Column) -> tuple[str, str, str, str]:
    settings = column.settings.model_dump(mode="json")
    lines = [f"column: {column.kind}", *(f"{key}: {value}" for key, value in settings.items())]
    try:
        plan = plan_column(corpus, name, column.kind, settings)
    except ValueError:  # no corpus yet, or not the columns that it is made from
        return name, "", "to do", "\n".join(lines)
    whole = not plan.missing and not plan.foreign
    return name, plan.fingerprint, "whole" if whole else "to do", "\n".join(lines)


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
