"""A corpus's rejects as DuckDB reads them."""

from typing import Any

import numpy as np

from septet.pipelines.browse.database import Database
from septet.pipelines.browse.spread import Bins, Grid, of_rows
from septet.pipelines.report.clusters import CLUSTERED
from septet.schemas.tables import REJECTS

FIELDS = tuple(name for name in REJECTS.names if name not in ("extra", "annotations"))
_NUMBER = "try_cast(value AS DOUBLE)"
_OF_REASON = "stage = ? AND reason = ?"


class Dropped:
    """The rejects of one corpus.

    Args:
        database: Where their table is.
        table: Its name.
    """

    def __init__(self, database: Database, table: str):
        self._database, self._table = database, table

    def reasons(self) -> list[tuple[str, str, int]]:
        """Stages and reasons with their counts, largest first."""
        return self._database.ask(
            f"SELECT stage, reason, count(*) AS n FROM {self._table} GROUP BY stage, reason "
            "ORDER BY n DESC, stage, reason"
        )

    def rows(
        self, stage: str, reason: str, low: float | None = None, high: float | None = None,
        words: str = "", limit: int = 60, rising: bool = False,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Rejects of a stage and reason, those whose value is a number by it.

        Args:
            stage: The stage.
            reason: The reason.
            low: Only those whose value is at least this.
            high: Only those whose value is below this.
            words: Only those whose caption contains this, in either case.
            limit: How many are given.
            rising: Whether the least values come first, not the greatest.
        """
        where, values = _OF_REASON, [stage, reason]
        for bound, sign in ((low, ">="), (high, "<")):
            if bound is not None:
                where += f" AND {_NUMBER} {sign} ?"
                values.append(bound)  # type: ignore[arg-type]
        if words:
            where += " AND contains(lower(caption), lower(?))"
            values.append(words)
        found = self._database.ask(
            f"SELECT {', '.join(FIELDS)} FROM {self._table} WHERE {where} ORDER BY "
            f"{_NUMBER} {'ASC' if rising else 'DESC'} NULLS LAST, id LIMIT {limit}",
            values,
        )
        return [dict(zip(FIELDS, row, strict=True)) for row in found]

    def duplicates(self, key: str, limit: int = 24) -> tuple[int, list[dict[str, Any]]]:
        """How many rows went for a sample of a key, as its duplicates, and some of them."""
        named = ", ".join(f"'{reason}'" for _, reason in CLUSTERED if reason != "duplicate_pair")
        found = self._database.ask(
            f"SELECT count(*) OVER (), {', '.join(FIELDS)} FROM {self._table} WHERE "
            f"(reason IN ({named}) AND starts_with(value, ?)) OR "
            "(reason = 'duplicate_pair' AND id = ?) ORDER BY stage, reason, id, value "
            f"LIMIT {limit}",
            [key, key],
        )
        rows = [dict(zip(FIELDS, row, strict=True)) for _, *row in found]
        return (found[0][0] if found else 0), rows

    def sides(self, stage: str, reason: str, cut: float) -> tuple[int, int]:
        """How many rejects of a reason have a value below a cut, and at or above it."""
        below, above = self._database.ask(
            f"SELECT count(*) FILTER ({_NUMBER} < ?), count(*) FILTER ({_NUMBER} >= ?) "
            f"FROM {self._table} WHERE {_OF_REASON}",
            [cut, cut, stage, reason],
        )[0]
        return int(below), int(above)

    def values(self, stage: str, reason: str) -> Bins | None:
        """How the values of a reason's rejects are spread; None where they are no numbers."""
        ends = f"SELECT min({_NUMBER}), max({_NUMBER}), count({_NUMBER}), count(*)"
        source = f"FROM {self._table} WHERE {_OF_REASON}"
        low, high, counted, rows = self._database.ask(f"{ends} {source}", [stage, reason])[0]
        if not counted or counted < rows or not np.isfinite([low, high]).all():
            return None
        grid = Grid.over(low, high, None, is_whole=False)
        cells = self._database.ask(
            f"SELECT {grid.cell(_NUMBER)} AS cell, count(*) {source} GROUP BY cell", [stage, reason]
        )
        return grid.bins(of_rows(cells))
