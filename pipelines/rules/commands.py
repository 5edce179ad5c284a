"""The commands `septet rules` and `septet try`."""

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from septet.preprocess.rules.rule import Rule
    from septet.schemas.rule_sets import RuleSet


def rules(
    name: Annotated[
        str | None,
        typer.Argument(help="A set of rules, or a rule, to show.", show_default=False),
    ] = None,
) -> None:
    """List the rules and the named sets of them, or print the thresholds and sources of one.

    **Examples**

    septet rules

    septet rules cc12m

    septet rules repeated_words
    """
    from rich.console import Console

    from septet.preprocess.rules.own import own_rules
    from septet.preprocess.rules.table import RULES
    from septet.schemas.rule_sets import RULE_SETS

    console = Console()
    sets: dict[str, RuleSet] = dict(RULE_SETS.items())
    if name is None:
        _list_all(console, sets)
    elif name in sets:
        _show_set(console, name, sets[name])
    elif name in RULES:
        _show_rule(console, name, RULES[name])
    elif name in own_rules():
        _show_own(console, name)
    else:
        known = [*sets, *RULES, *own_rules()]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "`septet rules` lists them"
        raise ValueError(f"no rule and no set of rules is called {name!r}; {hint}")


def _table(*headings: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _list_all(console: "Console", sets: "dict[str, RuleSet]") -> None:
    from rich.text import Text

    from septet.preprocess.rules.own import RuleError, own_rules, rule_class
    from septet.preprocess.rules.table import RULES

    table = _table("set", "what it is (`filter: {rules: NAME}`)")
    for name, one in sets.items():
        table.add_row(name, Text(one.text + ("" if one.verified else " Unverified.")))
    console.print(table)
    table = _table("\nrule", "\nswitched on by", "\nwhat it drops")
    for name, rule in RULES.items():
        switches = ", ".join(rule.switches)
        table.add_row(f"{name}@{rule.version}", Text(switches), Text(rule.text))
    for name in own_rules():
        try:
            found = rule_class(name)
            version, text = f"{name}@{found.version}", found.text()
        except RuleError as error:
            version, text = name, str(error)
        table.add_row(version, Text("own_rules"), Text(text))
    console.print(table)
    console.print(
        "\nOf images: curate.min_bytes, min_side, min_pixels, max_aspect_ratio, formats. Of "
        "frequency: dedup, balance. docs/recipe.md has all settings.",
        highlight=False,
    )


def _show_set(console: "Console", name: str, chosen: "RuleSet") -> None:
    from rich.markup import escape
    from rich.text import Text

    from septet.preprocess.rules.apply import asked_rules
    from septet.schemas.recipe import Recipe

    console.print(f"[bold]{name}[/]: {escape(chosen.text)}", highlight=False)
    unverified = "" if chosen.verified else "  [bold]Not compared with the source.[/]"
    console.print(f"Source: {escape(chosen.source)}.{unverified}", highlight=False)
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "sources": [{"kind": "list", "paths": ["x.jsonl"]}],
            "filter": {"rules": name},
            "balance": {"entries": ["x"]} if name == "metaclip" else {},
        }
    )
    defaults = Recipe.model_validate({"name": "x", "sources": recipe.sources})
    table = _table("\nsetting", "\nvalue", "\ndefault")
    for section in ("filter", "balance", "dedup", "curate"):
        values = getattr(recipe, section).model_dump()
        default = getattr(defaults, section).model_dump()
        for key, value in values.items():
            stated = key in chosen.values.get(section, {})
            if stated or (name == "default" and value not in (None, False, 0, [])):
                table.add_row(f"{section}.{key}", Text(_shown(value)), Text(_shown(default[key])))
    console.print(table)
    running = ", ".join(rule.name for rule in asked_rules(recipe.filter))
    console.print(f"\nText rules that run: {running or 'none'}", highlight=False)
    needs = [f"{setting}: {content}" for setting, content in chosen.needs.items()]
    for title, lines in (
        ("Rules that run only where the recipe names a list for them:", needs),
        ("Not implemented, or different from the source:", chosen.missing),
    ):
        if lines:
            console.print(title)
        for line in lines:
            console.print(f"  - {escape(line)}", highlight=False, soft_wrap=True)


def _shown(value: object) -> str:
    return "off" if value is None or value == [] else json.dumps(value, ensure_ascii=False)


def _show_rule(console: "Console", name: str, rule: "Rule") -> None:
    from rich.markup import escape
    from rich.text import Text

    from septet.schemas.filter import Filter
    from septet.schemas.rule_sets import RULE_SETS

    console.print(f"[bold]{name}@{rule.version}[/]: {escape(rule.text)}", highlight=False)
    console.print(f"Source: {escape(rule.source or 'common practice')}", highlight=False)
    table = _table("\nsetting", "\ndefault", "\nmeaning")
    for key in (*rule.switches, *rule.also):
        setting = Filter.model_fields[key]
        table.add_row(key, Text(_shown(setting.default)), Text(setting.description or ""))
    console.print(table)
    users = [
        f"{set_name} ({', '.join(f'{key} {_shown(values[key])}' for key in keys)})"
        for set_name, one in RULE_SETS.items()
        if (values := one.values.get("filter", {}))
        and (keys := [key for key in rule.switches if values.get(key) not in (None, False, 0, [])])
    ]
    console.print(f"\nSets that use it: {escape(', '.join(users) or 'none')}", highlight=False)


def _show_own(console: "Console", name: str) -> None:
    from rich.markup import escape
    from rich.text import Text

    from septet.preprocess.rules.own import rule_class

    found = rule_class(name)
    console.print(f"[bold]{name}@{found.version}[/]: {escape(found.text())}", highlight=False)
    table = _table("\nsetting", "\ndefault", "\nmeaning")
    for key, field in found.model_fields.items():
        default = "needed" if field.is_required() else _shown(field.default)
        table.add_row(key, Text(default), Text(field.description or ""))
    console.print(table)


def try_recipe(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)],
    rows: Annotated[int, typer.Option(min=1, help="The size of the sample.")] = 10_000,
    examples: Annotated[int, typer.Option(min=0, max=100, help="Examples of each rule.")] = 3,
    images: Annotated[
        int, typer.Option(min=0, help="The most images to read, of those that the inputs hold.")
    ] = 500,
) -> None:
    """Show what each rule of a recipe would drop, with examples, without building.

    Reads the first rows of up to 64 slices of the inputs, always the same ones, and asks the text
    rules of `filter`; declared languages weigh what is usual. Then `balance`, `dedup` (with the
    corpora that `dedup.against` names) and `curate` are tried on the rows that pass: a sample holds
    fewer duplicates than all inputs do. Of images those are looked at that the inputs hold
    themselves. Nothing is fetched and nothing written; which settings of the recipe were not tried,
    or on some images only, is told.

    **Examples**

    septet try examples/recipes/demo.yaml

    septet try my.yaml --rows 100000 --examples 10
    """
    from rich.console import Console

    from septet.pipelines.rules.trial import try_rules
    from septet.schemas.recipe_file import parse_recipe
    from septet.schemas.recipe_text import read_recipe

    parsed = parse_recipe(read_recipe(recipe), str(recipe))
    trial = try_rules(parsed, str(recipe.parent), rows, examples, images)
    _show_trial(Console(), parsed.filter.rules, trial)


def _show_examples(console: "Console", name: str, examples: list[tuple[str, str]]) -> None:
    from rich.text import Text

    from septet.pipelines.report.readable import clean

    if examples:
        console.print(f"\n[bold]{name}[/]")
    for value, text in examples:
        line = clean(text)
        cut = line if len(line) <= 100 else line[:100] + "…"
        shown = "" if value in ("", text) else f"{clean(str(value))[:60]}: "
        console.print(Text(f"  {shown}{cut}"), soft_wrap=True)


def _show_trial(console: "Console", rule_set: str, trial: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from septet.pipelines.report.readable import label

    total = max(trial.rows, 1)
    console.print(
        f"{trial.rows:,} texts from {trial.slices:,} of {trial.of_slices:,} slices of the inputs; "
        f"rules: {rule_set}. {trial.kept:,} pass ({trial.kept / total:.1%}).",
        highlight=False,
    )
    if trial.without_text:
        console.print(f"{trial.without_text:,} images without a text pass besides.")
    if trial.cleaned:
        console.print(f"{trial.cleaned:,} captions are cut before.")
    table = Table(box=None, pad_edge=False)
    table.add_column("rule")
    for heading in ("drops", "share", "fail it"):
        table.add_column(heading, justify="right")
    for one in trial.rules:
        table.add_row(one.name, f"{one.first:,}", f"{one.first / total:.1%}", f"{one.alone:,}")
    console.print(table)
    console.print("`drops` counts rows that no rule above dropped, `fail it` all of them.")
    for one in trial.rules:
        _show_examples(console, one.name, one.examples)
    if trial.later:
        console.print("\nLater stages, on the rows of the sample that pass; all inputs hold more.")
        table = _table("stage", "reason", "drops", "left")
        for one in trial.later:
            table.add_row(one.stage, label(one.reason), f"{one.count:,}", f"{one.left:,}")
        console.print(table)
        for one in trial.later:
            _show_examples(console, one.reason, one.examples)
    if trial.untried:
        console.print("\nNot tried, or not on all:", highlight=False)
    for line in trial.untried:
        console.print(Text(f"  {line}"), soft_wrap=True)
    if trial.by_language:
        table = _table("\nlanguage", "\ntexts", "\npass")
        for code, count, kept in trial.by_language[:20]:
            table.add_row(code, f"{count:,}", f"{kept / count:.0%}")
        console.print(table)
