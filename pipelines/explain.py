"""`septet build --explain`: what a build would do, without doing it."""

from rich.console import Console
from rich.table import Table

from pipelines.stages.base import Stage
from schemas.recipe import Recipe


def explain_stages(recipe: Recipe, stages: list[Stage], console: Console) -> None:
    """Print each stage with its fingerprint, whether it is whole, and its settings."""
    inputs = stages[0].inputs
    table = Table(title=f"{recipe.name}: {len(stages)} stages", title_justify="left")
    for heading in ("stage", "fingerprint", "state", "settings"):
        table.add_column(heading, overflow="fold")
    for stage in stages:
        counts = stage.done()
        state = "whole" if counts else "to do"
        table.add_row(stage.name, stage.fingerprint, state, _settings(stage))
    console.print(table)
    total = sum(item.bytes for item in inputs)
    console.print(f"{len(inputs):,} input files, {total:,} bytes")
    for item in inputs[:20]:
        console.print(f"  {item.label}  {item.bytes:,} bytes  {item.digest}", highlight=False)
    if len(inputs) > 20:
        console.print(f"  … and {len(inputs) - 20:,} more")


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
