"""Statistics printed on the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from septet.pipelines.report.charts import value_text
from septet.pipelines.report.compare import Comparison
from septet.pipelines.report.cuts import cut_text, cuts_of, in_unit
from septet.pipelines.report.figure_table import SOFT, FigureTable
from septet.pipelines.report.figures import Category, ColumnFigures, Histogram, Statistics
from septet.pipelines.report.losses import dropped_in_order, language_rows
from septet.pipelines.report.measures import MEASURES
from septet.pipelines.report.readable import (
    counted,
    label,
    number,
    one_line,
    share,
    size,
    value_name,
)
from septet.pipelines.report.sections import TITLES

Examples = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
_NO_EXAMPLES: Examples = MappingProxyType({})

KEPT, LOST = "cyan", "red"
_CUTS_SHOWN, _LANGUAGES_SHOWN = 5, 12
_BLOCKS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(part: float, whole: float, width: int = 16, style: str = KEPT) -> Text:
    """A bar of `part` in `whole`, at most `width` cells long."""
    eighths = round(8 * width * part / whole) if whole else 0
    if part and not eighths:
        eighths = 1
    full, rest = divmod(min(eighths, 8 * width), 8)
    text = "█" * full + (_EIGHTHS[rest] if rest else "")
    return Text(text.ljust(width), style=style)


def sparkline(counts: list[int]) -> Text:
    """A histogram in one line, without its empty ends."""
    filled = [i for i, count in enumerate(counts) if count]
    if not filled:
        return Text("")
    shown, most = counts[filled[0] : filled[-1] + 1], max(counts)
    levels = (-(-8 * count // most) for count in shown)
    return Text("".join(_BLOCKS[level] for level in levels), style=KEPT)


def _heading(stats: Statistics) -> RenderableType:
    figures = [
        (number(stats.samples), "samples"),
        (number(stats.shards), "shard" if stats.shards == 1 else "shards"),
        (size(stats.bytes), "in tars"),
    ]
    if stats.candidates:
        figures.append((share(stats.samples, stats.candidates), "of pairs kept"))
    if "language" in stats.categories:
        figures.append((number(stats.categories["language"].distinct), "languages"))
    line = Text("  ")
    for value, name in figures:
        line.append(value, style="bold").append(f" {name}   ", style=SOFT)
    return Group(Rule(Text(one_line(stats.name, 60), style=f"bold {KEPT}"), style=SOFT), line)


def _funnel(stats: Statistics) -> Iterable[RenderableType]:
    if not stats.funnel:
        return
    table = FigureTable("Funnel", ("stage", "in", "out", "kept", ""))
    most = max(max(stage.rows_in, stage.rows_out, 1) for stage in stats.funnel)
    for stage in stats.funnel:
        lost = stage.rows_in - stage.rows_out
        kept = round(28 * stage.rows_out / most)
        flow = Text("█" * kept, style=KEPT)
        if lost > 0:
            flow.append("█" * max(round(28 * stage.rows_in / most) - kept, 0), style=LOST)
        table.add_row(stage.stage, number(stage.rows_in), number(stage.rows_out),
                      share(stage.rows_out, stage.rows_in), flow)  # fmt: skip
        for name, count in stage.counts.items():
            table.add_row(
                Text(f"  {label(name)}", style=SOFT), "", Text(counted(name, count), style=SOFT)
            )
    yield table


def _rejects(stats: Statistics, examples: Examples) -> Iterable[RenderableType]:
    if not stats.rejects:
        return
    total = sum(reason.count for reason in stats.rejects)
    most = max(reason.count for reason in stats.rejects)
    came_in = {stage.stage: stage.rows_in for stage in stats.funnel}
    table = FigureTable(
        "Rejects", ("stage", "reason", "rows", "share", "left", ""), frozenset({0, 1})
    )
    for stage, found in groupby(stats.rejects, key=lambda reason: reason.stage):
        told = {reason.reason: reason.count for reason in found}
        name = stage
        for reason, count, left in dropped_in_order(stage, told, came_in.get(stage, 0)):
            shown = "" if left is None or stage not in came_in else number(left)
            table.add_row(name, one_line(label(reason), 40), number(count), share(count, total),
                          shown, bar(count, most, style=LOST))  # fmt: skip
            name = ""
            for row in examples.get((stage, reason), ()):
                table.add_row("", Text(_example(row), style=SOFT))
    yield table
    if stats.fetch_failures:
        table = FigureTable(
            "Why fetching failed", ("class", "images", "reasons"), frozenset({0, 2})
        )
        for failure in stats.fetch_failures:
            reasons = ", ".join(
                f"{label(name)} ({number(n)})" for name, n in failure.reasons.items()
            )
            table.add_row(failure.failure, number(failure.count), one_line(reasons, 60))
        yield table


def _evaluation(stats: Statistics) -> Iterable[RenderableType]:
    if not stats.evaluation:
        return
    table = FigureTable(
        "Evaluation sets", ("set", "images", "texts", "for example"), frozenset({0, 3})
    )
    for found in stats.evaluation:
        table.add_row(found.name, number(found.images), number(found.texts))
        for one in found.examples:
            told = f"{one_line(one.id, 40)}: {one_line(one.item, 40)}, {one.similarity}"
            table.add_row("", "", "", Text(told, style=SOFT))
    yield table


def _example(row: Mapping[str, Any]) -> str:
    """A reject in a line: what failed, and the caption."""
    value, caption = str(row["value"] or ""), str(row["caption"] or row["image_url"] or "")
    told = f"{one_line(value, 40)}: " if value and value != caption else ""
    return f"  {told}{one_line(caption, 70)}"


def _cuts(stats: Statistics, recipe: Mapping[str, Any] | None) -> Iterable[RenderableType]:
    found = [one for stage in stats.funnel for one in cuts_of(stage, recipe)]
    if not found:
        return
    table = FigureTable(
        "Cuts", ("setting", "keeps", "measured", "dropped", "kept if it were", ""),
        frozenset({0, 1, 4}),
    )  # fmt: skip
    for one in found:
        values = [kept + lost for kept, lost in zip(one.kept, one.dropped, strict=True)]
        # Without spaces, at which they would be wrapped.
        elsewhere = "   ".join(
            f"{in_unit(one.unit, edge)}:{share(kept, one.total)}".replace(" ", "")
            for edge, kept in one.around(_CUTS_SHOWN)
        )
        dropped = number(sum(one.dropped))
        if one.words[1] != "dropped":
            dropped += f" {one.words[1]}"
        table.add_row(one.setting, cut_text(one), number(one.total), dropped,
                      elsewhere, sparkline(values))  # fmt: skip
    yield table


def _languages(stats: Statistics) -> Iterable[RenderableType]:
    rows = [row for row in language_rows(stats.funnel) if row.language]
    if not rows:
        return
    table = FigureTable(
        "What the text rules dropped, by declared language",
        ("language", "captions", "dropped", "share", "mostly as"),
        frozenset({0, 4}),
    )
    for row in rows[:_LANGUAGES_SHOWN]:
        reasons = ", ".join(f"{label(reason)} {number(count)}" for reason, count in row.reasons)
        table.add_row(row.language, number(row.came_in), number(row.dropped), row.share, reasons)
    yield table


def _measures(measures: dict[str, Histogram]) -> RenderableType:
    table = FigureTable(
        "Lengths and sizes", ("", "least", "5 %", "median", "95 %", "most", "mean", "")
    )
    for name, found in measures.items():
        values = [found.min, found.quantiles["p5"], found.median, found.quantiles["p95"],
                  found.max, found.mean]  # fmt: skip
        texts = [value_text(found.unit, value) for value in values]
        table.add_row(MEASURES[name].title, *texts, sparkline(found.counts))
    return table


def _category(name: str, found: Category, rows: int = 10) -> RenderableType:
    table = FigureTable(TITLES[name], ("", "samples", "share", ""))
    most = max((entry.count for entry in found.values), default=0)
    for entry in found.values[:rows]:
        table.add_row(Text(one_line(value_name(name, entry.value), 32)), number(entry.count),
                      share(entry.count, found.count), bar(entry.count, most, 10))  # fmt: skip
    if found.distinct > rows:
        rest = found.count - sum(entry.count for entry in found.values[:rows])
        more = Text(f"{number(found.distinct - rows)} more", style=SOFT)
        table.add_row(more, number(rest), share(rest, found.count))
    if found.missing:
        table.add_row(Text("no value", style=SOFT), number(found.missing))
    return table


def print_statistics(
    stats: Statistics,
    console: Console,
    recipe: Mapping[str, Any] | None = None,
    examples: Examples = _NO_EXAMPLES,
) -> None:
    """Print the figures of a corpus as tables.

    Args:
        stats: The figures.
        console: Where to.
        recipe: The recipe of the build, which says where its cuts are.
        examples: Rejects to be shown, by stage and reason.
    """
    console.print(_heading(stats))
    for note in stats.notes:
        console.print(Text(f"  ! {one_line(note)}", style="yellow"))
    parts = (
        *_funnel(stats), *_rejects(stats, examples), *_evaluation(stats), *_cuts(stats, recipe),
        *_languages(stats),
    )  # fmt: skip
    for part in parts:
        console.print()
        console.print(part)
    if stats.measures:
        console.print()
        console.print(_measures(stats.measures))
    tables = [_category(name, found) for name, found in stats.categories.items()]
    if stats.failed_domains.count:
        tables.append(_category("failed_domain", stats.failed_domains))
    if tables:
        console.print()
        console.print(Columns(tables, padding=(1, 4)))
    if stats.members:
        table = FigureTable("Members of the tars", ("extension", "members", "bytes"))
        for member in stats.members:
            table.add_row(one_line(member.ext, 40), number(member.count), size(member.bytes))
        console.print()
        console.print(table)


def print_columns(columns: Iterable[ColumnFigures], console: Console) -> None:
    """Print a corpus's columns, if it has any."""
    table = FigureTable(
        "Columns", ("name", "values", "share", "bytes", "without"), frozenset({0, 4})
    )
    for column in columns:
        table.add_row(
            one_line(column.name, 40) + (" (stale: of another build)" if column.stale else ""),
            number(column.values),
            share(column.values, column.samples),
            size(column.bytes),
            ", ".join(
                f"{label(reason)} {number(count)}" for reason, count in column.without.items()
            ),
        )
    if table.rows:
        console.print()
        console.print(table)


def print_comparison(found: Comparison, console: Console) -> None:
    """Print what changed between two builds."""
    title = f"{one_line(found.before, 60)} → {one_line(found.after, 60)}"
    console.print(Rule(Text(title, style=f"bold {KEPT}"), style=SOFT))
    if not found.changes:
        console.print(f"  All {number(found.same)} figures are equal.")
        return
    table = FigureTable(
        "", ("group", "figure", "before", "now", "change", "ratio"), frozenset({0, 1})
    )
    before = None
    for change in found.changes:
        group = label(change.group) if change.group != before else ""
        before = change.group
        sign, style = ("−", LOST) if change.difference < 0 else ("+", KEPT)
        ratio = f"{100 * (change.ratio - 1):+.1f} %" if change.ratio else ""
        table.add_row(
            group,
            Text(one_line(change.name, 48)),
            counted(change.name, change.before),
            counted(change.name, change.after),
            Text(sign + counted(change.name, abs(change.difference)), style=style),
            Text(ratio, style=SOFT),
        )
    console.print(table)
    console.print(Text(f"  {number(found.same)} figures are equal.", style=SOFT))
