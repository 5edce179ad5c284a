"""The report's figures of the samples that meet a condition: categories, and measures with their
medians, counted as the report counts them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from septet.pipelines.browse.bars import Bar, equals
from septet.pipelines.browse.drawing import as_text
from septet.pipelines.browse.tables import Tables
from septet.pipelines.report import charts, readable
from septet.pipelines.report.figures import TOP, Category, Count, Histogram, Members
from septet.pipelines.report.measures import BITS, MEASURES, Distribution, quantised
from septet.pipelines.report.sections import TITLES, Section
from septet.pipelines.views.expressions import is_spoken

_FEW = 1 << 15
"""Up to which whole numbers are counted each by itself."""
_SHOWN = 20


@dataclass(frozen=True)
class Leading:
    """The values of a measure, or their ten leading bits where there are many, as SQL (see
    `report.measures`)."""

    scale: int
    is_whole: bool
    most: int = 0
    """The greatest value times the scale; of few ones each is counted by itself."""

    @property
    def is_scaled(self) -> bool:
        """Whether its values are counted as they are, as there are few after the point."""
        return self.scale != 1

    def value(self, number: str) -> str:
        """A value times the measure's scale, as a whole number; null where it is missing."""
        whole = number
        if self.is_scaled:
            whole = f"TRY_CAST(round({number} * {self.scale}) AS BIGINT)"
        elif not self.is_whole:
            whole = f"TRY_CAST(trunc({number}) AS BIGINT)"
        return f"CASE WHEN {whole} >= 0 THEN {whole} END"

    def cell(self, number: str) -> str:
        """A value, or the one that it is counted with."""
        if self.is_scaled:
            return number
        value = number if self.is_whole else self.value(number)
        if self.most < _FEW:
            return value
        # Most are among the greatest, and found first; logarithms would take half of all time.
        bits = range(self.most.bit_length(), BITS, -1)
        cases = (f"WHEN {value} >= {1 << n - 1} THEN {value} & {-(1 << n - BITS)}" for n in bits)
        return f"CASE {' '.join(cases)} ELSE {value} END"


@dataclass(frozen=True)
class Figures:
    """Figures of samples, by name, as the report has them."""

    samples: int
    categories: dict[str, Category]
    values: dict[str, list[tuple[Any, int]]]
    """The commonest values of categories as they are, with their counts."""
    measures: dict[str, Histogram]
    members: list[Members]


def figures_of(tables: Tables, section: Section, keep: str) -> Figures:
    """The figures of a section, of the samples that meet a condition."""
    categories = [name for name in section.categories if name in tables.columns]
    cells = {
        name: Leading(MEASURES[name].scale, pa.types.is_integer(column.type))
        for name in section.measures
        if (column := tables.columns.get(name)) is not None and column.is_number
    }
    ends = _ends(tables, cells, keep)
    cells = {name: replace(one, most=ends[name][1] or 0) for name, one in cells.items()}
    found = tables.counts(dict.fromkeys(categories), keep)
    measures = {}
    for name, cell in cells.items():
        counts = tables.tally(name, cell.cell, keep)  # together they take half as long again
        if cell.is_scaled:
            counts = {round(value * cell.scale): n for value, n in counts.items()}
        counts = {value: n for value, n in counts.items() if value >= 0}
        low, high, total = ends[name]
        told = Distribution(quantised(counts), total or 0, low, high)
        if (histogram := Histogram.of(name, told, found.samples)) is not None:
            measures[name] = histogram
    listed = {
        name: _category(name, found.values[name], found.different[name], found.samples)
        for name in categories
    }
    return Figures(
        found.samples,
        {name: one for name, one in listed.items() if one.count},
        found.values,
        measures,
        tables.members(keep) if section.members else [],
    )


def _ends(
    tables: Tables, cells: Mapping[str, Leading], keep: str
) -> dict[str, tuple[int | None, int | None, int | None]]:
    """The least and greatest values of measures, times their scales, and the sums of all."""
    if not cells:
        return {}
    source, values = tables.source(cells, keep)
    numbers = [cell.value(tables.require(name).known) for name, cell in cells.items()]
    selected = ", ".join(f"min({one}), max({one}), sum({one})" for one in numbers)
    row = tables.database.ask(f"SELECT {selected}{source}", values)[0]
    return {name: row[3 * i : 3 * i + 3] for i, name in enumerate(cells)}


def _category(name: str, values: list[tuple[Any, int]], different: int, whole: int) -> Category:
    """A category of its commonest values and the number of different ones."""
    missing = sum(n for value, n in values if value is None)
    known = [(_text(value), n) for value, n in values if value is not None]
    count = whole - missing
    listed = [Count(value=text, count=n, share=round(n / count, 6)) for text, n in known[:TOP]]
    return Category(
        count=count,
        missing=0 if name == "chinese" else missing,  # what is not Chinese lacks no script
        distinct=different - (len(known) < len(values)),
        values=listed,
        others=count - sum(one.count for one in listed),
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Chart:
    """A category or a measure, drawn: its bars, what is said of all, and what it leaves out."""

    name: str
    title: str
    bars: list[Bar]
    is_spread: bool = False
    more: int = 0
    missing: int = 0
    without: str = ""
    """The condition that keeps those without a value."""
    summary: tuple[tuple[str, str], ...] = ()
    cuts: str = ""
    """Where the recipe's cuts are."""
    ends: tuple[str, str] = ("", "")


def category_chart(name: str, found: Figures) -> Chart:
    """A category's commonest values as bars."""
    category = found.categories[name]
    known = [one for one in found.values[name] if one[0] is not None][:_SHOWN]
    most = max(n for _, n in known)
    bars = [
        Bar(
            as_text(readable.value_name(name, _text(value))), n, 100 * n / most, equals(name, value)
        )
        for value, n in known
    ]
    more = category.distinct - len(known)
    without = f"{name} missing" if is_spoken(name) else ""
    return Chart(name, TITLES[name], bars, more=more, missing=category.missing, without=without)


def measure_chart(name: str, histogram: Histogram, recipe: Mapping[str, Any] | None) -> Chart:
    """A measure's histogram over the report's bins."""
    drawn = charts.histogram_chart(name, histogram, recipe)
    most, bars = max(bar.count for bar in drawn.bars), []
    for number, bar in enumerate(drawn.bars, drawn.first):
        low, high = (*histogram.edges, None)[number : number + 2]
        keep = f"{name} >= {low:g}" + (f" and {name} < {high:g}" if high is not None else "")
        label = f"{bar.span} {drawn.unit}" if drawn.unit in _UNITS else bar.span
        label = f"{label} ({bar.share}, {bar.reached} up to here)"
        bars.append(Bar(label, bar.count, 100 * bar.count / most, keep if is_spoken(name) else ""))
    return Chart(
        name, drawn.title, bars, is_spread=True, missing=drawn.missing,
        without=f"{name} missing", summary=tuple(drawn.summary), cuts=drawn.cut_text,
        ends=(drawn.edges[0], drawn.edges[-1]),
    )  # fmt: skip


_UNITS = ("characters", "words", "pixels")
