"""Tables for the terminal whose figures are never cut, however narrow it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

SOFT = "dim"
_LEAST_TEXT = 12
_GAP = "   "


@dataclass
class FigureTable:
    """Rows of a text column and figures, perhaps with bars.

    Where the terminal is too narrow, bars are left out; then columns of text are wrapped; then each
    row becomes lines: its text, and below it `name value` for each figure.
    """

    title: str
    columns: Sequence[str]
    """Headings. An empty one that is not the first is a column of bars."""
    texts: frozenset[int] = frozenset({0})
    """Columns of text, which are aligned left and may be wrapped."""
    rows: list[tuple[Text, ...]] = field(default_factory=list)

    def add_row(self, *cells: str | Text) -> None:
        """Add a row; cells that are not given are empty."""
        made = [cell if isinstance(cell, Text) else Text(cell) for cell in cells]
        made += [Text("")] * (len(self.columns) - len(made))
        self.rows.append(tuple(made))

    @property
    def _figures(self) -> list[int]:
        """Columns that are no bars."""
        return [i for i, name in enumerate(self.columns) if name or i == 0]

    def _table(self, shown: Sequence[int], wrapped: bool) -> Table:
        table = Table(
            title=self.title or None,
            title_justify="left",
            title_style="bold",
            box=SIMPLE_HEAD,
            header_style=SOFT,
            pad_edge=False,
            show_edge=False,
        )
        for i in shown:
            is_text = i in self.texts
            longest = max((row[i].cell_len for row in self.rows), default=0)
            table.add_column(
                self.columns[i],
                justify="left" if is_text or not self.columns[i] else "right",
                no_wrap=not (wrapped and is_text),
                overflow="fold",
                min_width=min(longest, _LEAST_TEXT) if wrapped and is_text else longest,
            )
        for row in self.rows:
            table.add_row(*(row[i] for i in shown))
        return table

    def _lines(self, width: int) -> list[RenderableType]:
        found: list[RenderableType] = [Text(self.title, style="bold")] if self.title else []
        for row in self.rows:
            found.append(Text(row[0].plain, style=row[0].style, overflow="fold"))
            line = ""
            for i in self._figures[1:]:
                if not row[i].plain.strip():
                    continue
                item = f"{self.columns[i]} {row[i].plain}"
                if line and len(line) + len(_GAP) + len(item) > width - 2:
                    found.append(Text(f"  {line}", overflow="fold"))
                    line = ""
                line += (_GAP if line else "") + item
            if line:
                found.append(Text(f"  {line}", overflow="fold"))
        return found

    def _width(self, console: Console, options: ConsoleOptions, table: Table) -> Measurement:
        return Measurement.get(console, options.update(max_width=10_000), table)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, every = options.max_width, list(range(len(self.columns)))
        for shown in (every, self._figures):
            table = self._table(shown, wrapped=False)
            if self._width(console, options, table).maximum <= width:
                yield table
                return
        table = self._table(self._figures, wrapped=True)
        if self._width(console, options, table).minimum <= width:
            yield table
            return
        yield from self._lines(width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widest = self._width(console, options, self._table(range(len(self.columns)), False))
        narrow = self._width(console, options, self._table(self._figures, True))
        return Measurement(
            min(narrow.minimum, options.max_width), min(widest.maximum, options.max_width)
        )
