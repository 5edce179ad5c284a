"""Histograms: numbers are counted in the cells of a fine grid, and the cells joined to bins.

A grid is laid once over all values of a field; whatever condition is asked, one reading then gives
the counts in its cells, and these the ends of the histogram and its bins.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

BINS = 24
"""The most bins of a histogram."""
CELLS = 40 * BINS
"""Cells of a grid, without the last one, which has what lies beyond it."""
_LEAST_CELLS = 8 * BINS
"""Of fewer cells no histogram is made, but of a finer grid."""
_BELOW, _ABOVE = -1, CELLS + 1
_INFINITE = 1e300
_USUAL = 0.99
"""The share of values that a histogram's bins are spread over; its last bin has the rest, too."""


@dataclass(frozen=True)
class Bins:
    """A histogram: the edges [n + 1] of its bins, and the counts [n] in them."""

    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class Spread:
    """How many samples there are, the commonest values of facets with their counts (None: nothing
    is said), largest first, histograms of numbers, and how many different values facets have."""

    samples: int
    facets: dict[str, list[tuple[Any, int]]]
    numbers: dict[str, Bins]
    different: dict[str, int]


@dataclass(frozen=True)
class Grid:
    """Cells of equal width over the values of a field, and one for what lies beyond them."""

    low: float
    """Where the first cell begins: no value is less."""
    width: float
    high: float
    """The greatest value."""
    is_whole: bool
    """Whether the values are whole numbers."""

    @classmethod
    def over(cls, low: float, high: float, usual: float | None, is_whole: bool) -> Self:
        """The grid over values between two ends, of which most are at most `usual`."""
        end = high if usual is None else max(min(high, usual), low)
        width = (end - low) / CELLS or 1.0
        if is_whole:
            width = max(1.0, float(np.ceil((end - low + 1) / CELLS)))
        if not math.isfinite(low + width * CELLS):  # infinities among the values, or nearly so
            low, width = min(max(low, -_INFINITE), _INFINITE), _INFINITE
        return cls(float(low), float(width), float(high), is_whole)

    @property
    def is_exact(self) -> bool:
        """Whether each cell has one value alone, so that no finer grid tells more."""
        return self.is_whole and self.width == 1.0

    def cell(self, number: str) -> str:
        """The cell of a number as SQL; other ones beyond both ends, where no value ought to be."""
        value, beyond = f"CAST({number} AS DOUBLE)", self.low + self.width * CELLS
        high = f"WHEN {value} > {self.high!r} THEN {_ABOVE} " if math.isfinite(self.high) else ""
        least = 0 if self.low <= -_INFINITE else _BELOW
        return (  # `least` and `greatest` of DuckDB would give what says nothing a cell
            f"CASE {high}WHEN {value} >= {beyond!r} THEN {CELLS} "
            f"WHEN {value} < {self.low!r} THEN {least} "
            f"ELSE CAST(floor(({value} - {self.low!r}) / {self.width!r}) AS SMALLINT) END"
        )

    def is_enough(self, cells: Mapping[int, int]) -> bool:
        """Whether these counts make a histogram that is fine enough."""
        first, last = _ends(cells)
        return self.is_exact or last - first >= _LEAST_CELLS or first == CELLS

    def finer(self, cells: Mapping[int, int]) -> Self:
        """A grid over the cells that have a value."""
        first, usual = _ends(cells)
        last = max(cells)
        end = self.high if last == CELLS else min(self.high, self.low + self.width * (last + 1))
        begin = self.low + self.width * first
        most = self.low + self.width * (usual + 1)
        return type(self).over(begin, max(begin, end), most, self.is_whole)

    def narrowed(self, low: float, high: float) -> Self:
        """The grid over those of its values that lie between two ends, as far as there are any."""
        low, high = max(self.low, low), min(self.high, high)
        if self.is_whole and math.isfinite(low) and math.isfinite(high):
            low, high = math.floor(low), math.ceil(high)
        if not low <= high or (low, high) == (self.low, self.high):
            return self
        return type(self).over(low, high, self.low + self.width * CELLS, self.is_whole)

    def joined(self, other: Self) -> Self:
        """The grid over the values of both."""
        usual = max(one.low + one.width * CELLS for one in (self, other))
        ends = min(self.low, other.low), max(self.high, other.high)
        return type(self).over(*ends, usual, self.is_whole and other.is_whole)

    def bins(self, cells: Mapping[int, int]) -> Bins:
        """The histogram of counts in cells, of which one at least is not empty.

        Args:
            cells: The counts, by the cell's number.
        """
        return self._bins(cells, cells)

    def both(self, first: Mapping[int, int], second: Mapping[int, int]) -> tuple[Bins, Bins]:
        """Two histograms with the same bins."""
        together = {cell: first.get(cell, 0) + second.get(cell, 0) for cell in {*first, *second}}
        return self._bins(together, first), self._bins(together, second)

    def _bins(self, together: Mapping[int, int], cells: Mapping[int, int]) -> Bins:
        """The histogram of counts in cells, with the bins of others among which they are."""
        first, usual = _ends(together)
        step = math.ceil((usual - first + 1) / BINS)
        count = math.ceil((usual - first + 1) / step)
        counts = [0] * count
        for cell, n in cells.items():
            counts[min((cell - first) // step, count - 1)] += n
        edges = [self.low + self.width * (first + step * i) for i in range(count + 1)]
        last = max(together)
        end = self.high if last == CELLS else self.low + self.width * (last + 1)
        edges[0] = min(edges[0], self.high)  # sums may be rounded up to beyond it
        edges[-1] = max(edges[-2], min(end, self.high))
        return Bins(edges, counts)


def _ends(cells: Mapping[int, int]) -> tuple[int, int]:
    """The first cell that has a value, and the one up to which nearly all are."""
    wanted = _USUAL * sum(cells.values())
    before = 0
    for cell in sorted(cells):
        before += cells[cell]
        if before >= wanted:
            return min(cells), cell
    raise ValueError("no cell has a value")


def of_rows(rows: Iterable[tuple[Any, int]]) -> dict[int, int]:
    """Counts by cell; what says nothing has none, and what is beyond both ends the last ones."""
    cells: dict[int, int] = {}
    for cell, n in rows:
        if cell is not None:
            cell = min(max(cell, 0), CELLS)
            cells[cell] = cells.get(cell, 0) + n
    return cells


def is_beyond(rows: Iterable[tuple[Any, int]]) -> bool:
    """Whether there are values beyond the ends of their grid."""
    return any(cell in (_BELOW, _ABOVE) for cell, _ in rows)
