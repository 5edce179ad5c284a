"""Two corpora, or views, side by side: figures, and the samples that one has and the other has not.

Why the other has not a sample is what its own tables say: it was taken down, its view's condition
left it out, its build rejected it, or its image is there with another text.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from septet.pipelines.browse.database import Database
from septet.pipelines.browse.left_out import LeftOut
from septet.pipelines.browse.spread import Bins, Grid, of_rows
from septet.pipelines.browse.tables import Counted, Row, Tables
from septet.preprocess.shards.removed import read_newest

NEVER = "not among its rejects"
OTHER_TEXT = "its image is there with another text"
REMOVED = "taken down"
MOST_VALUES = 20
"""The most values of a field that are compared."""
_HALF = 16
"""Hexadecimal digits of an id that an image's texts share."""


@dataclass(frozen=True)
class Pair:
    """A value, or a stage and reason, with its counts on both sides."""

    names: tuple[Any, ...]
    first: int
    second: int

    @property
    def difference(self) -> int:
        """The second count, less the first."""
        return self.second - self.first


@dataclass(frozen=True)
class Figures:
    """Figures of both sides: how many samples, how often each of the 20 commonest values, how
    numbers are spread over the same bins, and how many different values there are."""

    samples: tuple[int, int]
    facets: dict[str, list[Pair]]
    numbers: dict[str, tuple[Bins, Bins]]
    different: dict[str, tuple[int, int]]


class Compared:
    """Two corpora, whose tables are in one database.

    Args:
        first: The one, before `lock` of its database.
        second: The other.
    """

    def __init__(self, first: Tables, second: Tables):
        assert first.database is second.database
        self.sides = first, second
        self._database = first.database
        self._making = threading.Lock()
        self._made: set[int] = set()
        for tables in self.sides:
            gone = f"{tables.schema}.removed"
            self._database.make(f"CREATE TABLE {gone} (key VARCHAR)")
            keys = pa.table({"key": read_newest(tables.corpus.path)["key"].cast(pa.string())})
            self._database.insert(gone, keys)
        self._left_out = {one.schema: LeftOut(one) for one in self.sides}

    def figures(self, facets: Sequence[str], numbers: Sequence[str], keep: str = "") -> Figures:
        """The figures of the samples that meet a condition.

        Args:
            facets: Fields whose values are counted, where both have them.
            numbers: Fields whose values are counted in bins, where both have them.
            keep: The condition.
        """
        facets = [name for name in facets if all(name in one.columns for one in self.sides)]
        numbers = [name for name in numbers if all(name in one.columns for one in self.sides)]
        grids = _joined([one.grids(numbers, keep) for one in self.sides])
        asked = {**dict.fromkeys(facets), **grids}
        counts = [one.counts(asked, keep) for one in self.sides]
        cells = {name: [of_rows(found.values[name]) for found in counts] for name in grids}
        if coarse := [name for name, grid in grids.items() if not _is_enough(grid, cells[name])]:
            fine = {name: grids[name].finer(_together(cells[name])) for name in coarse}
            again = [one.counts(fine, keep) for one in self.sides]
            grids |= fine
            cells |= {name: [of_rows(found.values[name]) for found in again] for name in fine}
        return Figures(
            (counts[0].samples, counts[1].samples),
            {name: self._values(name, keep, counts) for name in facets},
            {name: grid.both(*cells[name]) for name, grid in grids.items() if any(cells[name])},
            {name: (counts[0].different[name], counts[1].different[name]) for name in facets},
        )

    def _values(self, name: str, keep: str, counts: Sequence[Counted]) -> list[Pair]:
        """The commonest values of a field with their counts on both sides."""
        pairs = _pairs(*(found.values[name] for found in counts))[:MOST_VALUES]
        texts = [one.names[0] for one in pairs if isinstance(one.names[0], str)]
        told = []
        for side, found in zip(self.sides, counts, strict=True):
            rows = found.values[name]
            if len(rows) < found.different[name] and texts:  # some are not among the commonest
                rows = [one for one in rows if not isinstance(one[0], str)]
                rows += side.values(name, keep, among=texts)[1]
            told.append({repr(value): n for value, n in rows})
        return [
            Pair(one.names, *(side.get(repr(one.names[0]), 0) for side in told)) for one in pairs
        ]

    def reasons(self) -> list[Pair]:
        """Stages and reasons of both sides' rejects, those first whose counts differ most."""
        found = [
            [((stage, reason), n) for stage, reason, n in one.dropped.reasons()]
            for one in self.sides
        ]
        pairs = [Pair(one.names[0], one.first, one.second) for one in _pairs(*found)]
        return sorted(pairs, key=lambda one: (-abs(one.difference), one.names))

    def why(self, side: int, keep: str = "") -> list[tuple[str, str, int]]:
        """Why the other side has not those samples of a side which meet a condition: stages and
        reasons with their counts, largest first.

        Args:
            side: 0 or 1.
            keep: The condition.
        """
        source, values = self._only(side, [], keep)
        return self._database.ask(
            f"SELECT stage, reason, count(*) AS n{source} GROUP BY stage, reason "
            "ORDER BY n DESC, stage, reason",
            values,
        )

    def rows(
        self, side: int, stage: str, reason: str, keep: str, fields: Sequence[str], offset: int,
        limit: int,
    ) -> list[tuple[Row, str]]:  # fmt: skip
        """Samples of a side that the other has not for a reason, each with the value that failed
        there."""
        source, values = self._only(side, [], keep)
        word = "AND" if keep.strip() else "WHERE"
        found = self._database.ask(
            f"SELECT c0.shard_number, c0.row_number, lone.value{source} {word} lone.stage = ? "
            "AND lone.reason = ? ORDER BY c0.shard_number, c0.row_number "
            f"LIMIT {limit} OFFSET {offset}",
            [*values, stage, reason],
        )
        places = [(int(shard), int(row)) for shard, row, _ in found]
        rows = self.sides[side].rows(places, fields)
        return [(row, value or "") for row, (*_, value) in zip(rows, found, strict=True)]

    def _only(self, side: int, names: Sequence[str], keep: str) -> tuple[str, list[Any]]:
        """FROM and WHERE of those samples of a side that the other has not."""
        with self._making:
            if side not in self._made:
                self._look(self.sides[side], self.sides[1 - side])
                self._made.add(side)
        tables = self.sides[side]
        joined = (
            f" JOIN {tables.schema}.lone AS lone ON (lone.shard_number = c0.shard_number AND "
            "lone.row_number = c0.row_number)"
        )
        return tables.source(names, keep, joined)

    def _look(self, mine: Tables, other: Tables) -> None:
        """Make the table of the samples that the other side has not, with the reasons."""
        ask = self._database.ask
        lone, left = f"{mine.schema}.lone", f"{other.schema}.left_out"
        (own, _), (theirs, _) = (one.source(["key"], "") for one in (mine, other))
        for table in (lone, f"{lone}_keys", left):
            ask(f"DROP TABLE IF EXISTS {table}")
        ask(
            f"CREATE TABLE {lone}_keys AS SELECT * FROM (SELECT c0.key, c0.shard_number, "
            f"c0.row_number{own}) ANTI JOIN (SELECT c0.key{theirs}) USING (key)"
        )
        whole, _ = other.source(["key"], "", is_whole=True)
        ask(
            f"CREATE TABLE {left} AS SELECT c0.key, c0.shard_number, c0.row_number, "
            "CAST(NULL AS VARCHAR) AS reason, CAST(NULL AS VARCHAR) AS value"
            f"{whole} SEMI JOIN {lone}_keys AS k ON (k.key = c0.key)"
        )
        otherwise = self._left_out[other.schema].tell(left)
        view = other.corpus.view.name if other.corpus.view else ""
        ask(
            f"CREATE TABLE {lone} AS SELECT k.shard_number, k.row_number, "
            "CASE WHEN r.key IS NOT NULL THEN '' WHEN l.key IS NOT NULL THEN 'view ' || ? "
            "WHEN d.id IS NOT NULL THEN d.stage ELSE '' END AS stage, "
            "CASE WHEN r.key IS NOT NULL THEN ? WHEN l.key IS NOT NULL THEN coalesce(l.reason, ?) "
            "WHEN d.id IS NOT NULL THEN d.reason WHEN h.half IS NOT NULL THEN ? ELSE ? END "
            "AS reason, CASE WHEN r.key IS NOT NULL THEN NULL WHEN l.key IS NOT NULL THEN l.value "
            f"ELSE d.value END AS value FROM {lone}_keys AS k "
            f"LEFT JOIN (SELECT DISTINCT key FROM {other.schema}.removed) AS r ON r.key = k.key "
            f"LEFT JOIN {left} AS l ON l.key = k.key "
            "LEFT JOIN (SELECT id, first(stage) AS stage, first(reason) AS reason, first(value) AS "
            f"value FROM {other.schema}.rejects SEMI JOIN {lone}_keys AS k ON id = k.key "
            "GROUP BY id) AS d ON d.id = k.key "
            f"LEFT JOIN (SELECT DISTINCT left(c0.key, {_HALF}) AS half{theirs}) AS h "
            f"ON length(k.key) = {2 * _HALF} AND h.half = left(k.key, {_HALF})",
            [view, REMOVED, otherwise, OTHER_TEXT, NEVER],
        )
        ask(f"DROP TABLE {lone}_keys")


def open_tables(path: str, beside: str | None, scratch: Path) -> tuple[Tables, Compared | None]:
    """The tables of a corpus, and what it is compared with, if anything.

    Args:
        path: The corpus, or PATH@VIEW.
        beside: The other one.
        scratch: As of `Tables`.

    Raises:
        ValueError: as of `Tables`.
    """
    if beside is None:
        return Tables(path, scratch), None
    database = Database(scratch)
    (scratch / "second").mkdir()
    tables = Tables(path, scratch, database)
    compared = Compared(tables, Tables(beside, scratch / "second", database))
    database.lock()
    return tables, compared


def _joined(sides: Sequence[Mapping[str, Grid]]) -> dict[str, Grid]:
    """The grids over the values of both sides."""
    joined: dict[str, Grid] = {}
    for grids in sides:
        for name, grid in grids.items():
            joined[name] = joined[name].joined(grid) if name in joined else grid
    return joined


def _is_enough(grid: Grid, sides: Sequence[Mapping[int, int]]) -> bool:
    together = _together(sides)
    return not together or grid.is_enough(together)


def _together(sides: Sequence[Mapping[int, int]]) -> dict[int, int]:
    return {cell: sum(one.get(cell, 0) for one in sides) for one in sides for cell in one}


def _pairs(first: Sequence[tuple[Any, int]], second: Sequence[tuple[Any, int]]) -> list[Pair]:
    """Counts of both sides, largest first."""
    keyed: dict[str, tuple[Any, list[int]]] = {}
    for side, rows in enumerate((first, second)):
        for value, n in rows:
            keyed.setdefault(repr(value), (value, [0, 0]))[1][side] = n
    pairs = [Pair((value,), *counts) for value, counts in keyed.values()]
    return sorted(pairs, key=lambda one: (-(one.first + one.second), repr(one.names)))
