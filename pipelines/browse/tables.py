"""What is asked of a corpus's tables: how many samples meet a condition, how their values are
spread, and which they are."""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from septet.pipelines.browse.database import Database
from septet.pipelines.browse.sources import MEMBERS, Sources
from septet.pipelines.browse.spread import CELLS, Grid, Spread, is_beyond, of_rows
from septet.pipelines.report.figures import Members
from septet.pipelines.views.expressions import Comparison, Condition, Joined, Share, parse

_AT_ONCE = 24
"""The most fields whose values one statement counts."""
_MOST_SPREADS = 16
_MOST_COUNTS = 256
_LOOKED_AT = 500_000


@dataclass(frozen=True)
class Row:
    """A sample: its shard's number, its row there, and some of what its sidecar says."""

    shard: int
    row: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Cut:
    """A share of all samples: its condition in SQL, and the value that it begins or ends at."""

    sql: str
    value: float


@dataclass
class _Kept:
    """Answers that are kept."""

    shares: dict[Share, _Cut] = field(default_factory=dict)
    grids: dict[str, Grid | None] = field(default_factory=dict)
    footers_lie: bool = False
    """Whether values were found that are beyond the ends that footers tell."""
    spreads: OrderedDict[tuple[Any, ...], Spread] = field(default_factory=OrderedDict)
    counts: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """How many samples meet a condition."""


class Counted(NamedTuple):
    """How many samples there are; of fields, by name, the commonest values or cells with their
    counts, largest first, at most 962, and how many different ones there are."""

    samples: int
    values: dict[str, list[tuple[Any, int]]]
    different: dict[str, int]


class Tables(Sources):
    """The tables of a corpus, or of a view, and what is asked of them.

    Args, and what is raised: as of `Sources`.
    """

    def __init__(self, path: str, scratch: Path, database: Database | None = None):
        self._making = threading.Lock()
        self._kept = _Kept()
        super().__init__(path, scratch, database)

    def forget(self) -> None:
        """Forget answers; who is using them goes on with them."""
        self._kept = _Kept()
        self.held.forget()

    def share(self, share: Share) -> str:
        """The condition in SQL for a share of all samples: a value that the others are compared
        with, and the place up to which those of just that value are among them."""
        return self._cut(share).sql

    def _cut(self, share: Share) -> _Cut:
        with self._making:
            kept = self._kept
            if share not in kept.shares:
                kept.shares[share] = self._sought(share)
            return kept.shares[share]

    def _sought(self, share: Share) -> _Cut:
        source, _ = self.source([share.field], "")
        value = self._number(share.field)
        given = self.database.ask(f"SELECT count({value}){source}")[0][0]
        wanted = math.floor(given * share.percent / 100 + 0.5)
        if not wanted:
            return _Cut("(false)", math.nan)
        place = given - wanted if share.end == "top" else wanted - 1
        cut, more = self.database.ask(
            f"SELECT quantile_disc({value}, {(place + 0.5) / given!r}){source}"
        )[0][0], ">" if share.end == "top" else "<"  # fmt: skip
        cut_sql = f"CAST('{cut!r}' AS DOUBLE)"  # an infinity has no other form
        # Of those of just that value the first are among them: in which shard do these end?
        shards = self.database.ask(
            f"SELECT c0.shard_number, count(*) FILTER ({value} {more} {cut_sql}), "
            f"count(*) FILTER ({value} = {cut_sql}){source} GROUP BY ALL ORDER BY ALL"
        )
        left = wanted - sum(beyond for _, beyond, _ in shards)
        for shard, _, equal in shards:  # noqa: B007 (which one it ends with)
            if left <= equal:
                break
            left -= equal
        row = self.database.ask(
            f"SELECT c0.row_number{source} WHERE c0.shard_number = {shard} AND {value} = {cut_sql} "
            f"ORDER BY ALL LIMIT 1 OFFSET {left - 1}"
        )[0][0]
        last = (
            f"(c0.shard_number < {shard} OR c0.shard_number = {shard} AND c0.row_number <= {row})"
        )
        return _Cut(
            f"coalesce({value} {more} {cut_sql} OR {value} = {cut_sql} AND {last}, false)", cut
        )

    def count(self, keep: str = "") -> int:
        """The number of samples that meet a condition; of all where it is empty."""
        kept, asked = self._kept, keep.strip()
        if (known := kept.counts.get(asked)) is not None:
            return known
        source, values = self.source((), keep)
        found = self.database.ask(f"SELECT count(*){source}", values)[0][0]
        return self._keep_count(kept, asked, found)

    def _keep_count(self, kept: _Kept, keep: str, found: int) -> int:
        with self._making:
            kept.counts[keep] = found
            while len(kept.counts) > _MOST_COUNTS:
                kept.counts.popitem(last=False)
        return found

    def spread(
        self, facets: Sequence[str], numbers: Sequence[str], keep: str = "", most: int = 20
    ) -> Spread:
        """How many samples meet a condition, and how their values are spread.

        Args:
            facets: Fields whose commonest values are counted.
            numbers: Fields whose values are counted in bins.
            keep: The condition.
            most: The most values of a facet.
        """
        asked = (tuple(facets), tuple(numbers), keep.strip(), most)
        kept = self._kept
        with self._making:
            if asked in kept.spreads:
                self.database.require_files()
                kept.spreads.move_to_end(asked)
                return kept.spreads[asked]
        found = self._spread(*asked)
        self._keep_count(kept, keep.strip(), found.samples)
        with self._making:
            kept.spreads[asked] = found
            while len(kept.spreads) > _MOST_SPREADS:
                kept.spreads.popitem(last=False)
        return found

    def _spread(
        self, facets: Sequence[str], numbers: Sequence[str], keep: str, most: int
    ) -> Spread:
        grids = self.grids(numbers, keep)
        counted = self.counts({**dict.fromkeys(facets), **grids}, keep)
        if any(is_beyond(counted.values[name]) for name in grids):
            self._kept = _Kept(footers_lie=True)
            grids = self.grids(numbers, keep)
            counted = self.counts({**dict.fromkeys(facets), **grids}, keep)
        cells = {name: of_rows(counted.values[name]) for name in grids}
        coarse = [
            name for name, grid in grids.items() if cells[name] and not grid.is_enough(cells[name])
        ]
        if coarse:
            grids |= {name: grids[name].finer(cells[name]) for name in coarse}
            again = self.counts({name: grids[name] for name in coarse}, keep)
            cells |= {name: of_rows(rows) for name, rows in again.values.items()}
        bins = {name: grid.bins(cells[name]) for name, grid in grids.items() if cells[name]}
        shown = {name: counted.values[name][:most] for name in facets}
        return Spread(counted.samples, shown, bins, counted.different)

    def counts(self, fields: Mapping[str, Grid | None], keep: str) -> Counted:
        """How many samples meet a condition, and how often they have the values of some fields; of
        those with a grid, how many are in its cells."""
        whole, counts, different = 0, dict[str, list[tuple[Any, int]]](), dict[str, int]()
        names = [*fields]
        for start in range(0, max(len(names), 1), _AT_ONCE):
            some = {name: fields[name] for name in names[start : start + _AT_ONCE]}
            found = self._counts(some, keep)
            whole, counts, different = (
                found.samples, counts | found.values, different | found.different
            )  # fmt: skip
        return Counted(whole, counts, different)

    def _counts(self, fields: Mapping[str, Grid | None], keep: str) -> Counted:
        source, values = self.source(fields, keep)
        if not fields:
            return Counted(self.count(keep), {}, {})
        selected, places = [], []
        for number, (name, grid) in enumerate(fields.items()):
            known = self.require(name).known
            selected.append(f"{grid.cell(known) if grid else known} AS v{number}")
            places.append(f"v{number}")
        order = f"n DESC, {', '.join(places)}"
        rows = self.database.ask(
            f"SELECT grouping_id({', '.join(places)}) AS which, count(*) AS n, "
            f"count(*) OVER (PARTITION BY which), {', '.join(places)} "
            f"FROM (SELECT {', '.join(selected)}{source}) "
            f"GROUP BY GROUPING SETS ((), {', '.join(f'({one})' for one in places)}) "
            f"QUALIFY row_number() OVER (PARTITION BY which ORDER BY {order}) "
            f"<= {CELLS + 2} ORDER BY {order}",
            values,
        )
        every = (1 << len(places)) - 1
        names = [*fields]
        which = {every ^ (1 << (len(places) - 1 - i)): name for i, name in enumerate(names)}
        whole, counts = 0, {name: list[tuple[Any, int]]() for name in names}
        different = dict.fromkeys(names, 0)
        for group, n, of, *told in rows:
            if group == every:
                whole = n
            else:
                name = which[group]
                counts[name].append((told[names.index(name)], n))
                different[name] = of
        return Counted(whole, counts, different)

    def tally(self, field: str, cell: Callable[[str], str], keep: str) -> dict[Any, int]:
        """How often the samples that meet a condition have the values of a number.

        Args:
            field: The field.
            cell: Gives what a value is counted as, in SQL.
            keep: The condition.
        """
        source, values = self.source([field], keep)
        known = self.require(field).known
        rows = self.database.ask(
            f"SELECT v, count(*) FROM (SELECT {cell(known)} AS v{source}) GROUP BY v", values
        )
        return {value: n for value, n in rows if value is not None}

    def values(
        self, field: str, keep: str, words: str = "", among: Sequence[str] = (), offset: int = 0,
        limit: int = 60,
    ) -> tuple[int, list[tuple[Any, int]]]:  # fmt: skip
        """How many different values of a field the samples have that meet a condition, and some of
        them with their counts, largest first.

        Args:
            field: The field.
            keep: The condition.
            words: Only values that contain this, in either case.
            among: Only these texts; all values where there are none.
            offset: How many are passed over.
            limit: How many are given.
        """
        source, values = self.source([field], keep)
        wheres, more = [], list[Any]()
        if words:
            wheres.append("contains(lower(CAST(v AS VARCHAR)), lower(?))")
            more.append(words)
        if among:
            wheres.append(f"CAST(v AS VARCHAR) IN ({', '.join('?' * len(among))})")
            more += among
        rows = self.database.ask(
            f"SELECT v, n, count(*) OVER () FROM (SELECT {self.require(field).known} AS v, "
            f"count(*) AS n{source} GROUP BY v){' WHERE ' if wheres else ''}"
            f"{' AND '.join(wheres)} ORDER BY n DESC, v LIMIT {limit} OFFSET {offset}",
            [*values, *more],
        )
        return (rows[0][2] if rows else 0), [(value, n) for value, n, _ in rows]

    def members(self, keep: str) -> list[Members]:
        """The members of the tars by extension, of the samples that meet a condition."""
        if not self.has_members:
            return []
        source, values = self.source([], keep, more=[MEMBERS])
        rows = self.database.ask(
            "SELECT m.ext, count(*), sum(m.size) FROM (SELECT "
            f"unnest(c0.{MEMBERS}) AS m{source}) GROUP BY m.ext ORDER BY m.ext",
            values,
        )
        return [Members(ext=ext or "", count=n, bytes=size or 0) for ext, n, size in rows]

    def grids(self, names: Sequence[str], keep: str = "") -> dict[str, Grid]:
        """The grids over the values of some fields, of those that have any, that a condition may
        leave."""
        kept = self._kept
        with self._making:
            self._lay(names, kept)
        grids = {name: grid for name in names if (grid := kept.grids[name]) is not None}
        if keep.strip():
            for test in _required(parse(keep)):
                if test.field in grids:
                    grids[test.field] = grids[test.field].narrowed(*self._ends_of(test))
        return grids

    def _ends_of(self, test: Comparison | Share) -> tuple[float, float]:
        """The least and greatest values that meet a condition on a number, or some beyond them."""
        if isinstance(test, Share):
            cut = self._cut(test).value
            return (cut, math.inf) if test.end == "top" else (-math.inf, cut)
        value = test.values[0] if test.values else None
        if not isinstance(value, int | float):
            return -math.inf, math.inf
        low = float(value) if test.sign in (">", ">=", "==") else -math.inf
        return low, float(value) if test.sign in ("<", "<=", "==") else math.inf

    def _lay(self, names: Sequence[str], kept: _Kept) -> None:
        """Lay the grids of fields that have none yet, over all values."""
        names = [name for name in names if name not in kept.grids]
        if not names:
            return
        told = {} if kept.footers_lie else self.ends(names)
        asked = [name for name in names if name not in told]
        if asked:
            source, _ = self.source(asked, "")
            numbers = [self._number(name) for name in asked]
            ends = ", ".join(f"min({one}), max({one})" for one in numbers)
            found = self.database.ask(f"SELECT {ends}{source}")[0]
            told |= {name: found[2 * i : 2 * i + 2] for i, name in enumerate(asked)}
        # Where the most usual values end is told of some shards alone: of all it would take as long
        # as all the rest.
        step = max(1, len(self.corpus) // _LOOKED_AT)
        some = self._within(names, range(0, max(len(self.corpus.shards), 1), step))
        source, _ = self.source(names, "")
        ends = ", ".join(f"approx_quantile({self._number(name)}, 0.99)" for name in names)
        usual = self.database.ask(f"SELECT {ends}{source} WHERE {some}")[0]
        for name, most in zip(names, usual, strict=True):
            low, high = told[name]
            whole = pa.types.is_integer(self.columns[name].type)
            if low is None or high is None:
                kept.grids[name] = None
            else:
                kept.grids[name] = Grid.over(low, high, most, whole)

    def _number(self, name: str) -> str:
        return f"CAST({self.require(name).known} AS DOUBLE)"

    def page(
        self,
        keep: str,
        fields: Sequence[str],
        sort: str = "",
        descending: bool = False,
        offset: int = 0,
        limit: int = 60,
    ) -> list[Row]:
        """Samples that meet a condition, in the corpus's order or sorted by a field; where it says
        nothing they come last."""
        # Places first, then what is shown of them: else texts of all samples are sorted with them.
        source, values = self.source([sort] if sort else [], keep)
        order = "c0.shard_number, c0.row_number"
        if sort:
            known = self.require(sort).known
            order = f"{known} {'DESC' if descending else 'ASC'} NULLS LAST, {order}"
        places = self.database.ask(
            f"SELECT c0.shard_number, c0.row_number{source} ORDER BY {order} "
            f"LIMIT {limit} OFFSET {offset}",
            values,
        )
        return self.rows([(int(shard), int(row)) for shard, row in places], [*fields, sort])

    def rows(self, places: Sequence[tuple[int, int]], fields: Sequence[str]) -> list[Row]:
        """What some fields say of the samples at some places, as far as sidecars can be read."""
        names = [*dict.fromkeys(name for name in fields if name)]
        selected = ["c0.shard_number", "c0.row_number", *(self.require(one).sql for one in names)]
        source, _ = self.source(names, "")
        within = self._within(names, sorted({shard for shard, _ in places}))
        found = places and self.database.ask(
            f"SELECT {', '.join(selected)}{source} WHERE {within} AND (c0.shard_number, "
            f"c0.row_number) IN ({', '.join(map(str, places))})"
        )
        told = {(shard, row): dict(zip(names, facts, strict=True)) for shard, row, *facts in found}
        return [Row(*place, told[place]) for place in places if place in told]

    def _within(self, names: Iterable[str], shards: Iterable[int]) -> str:
        """The condition in SQL that rows are of some shards, for each table that has a field: no
        other shards are read."""
        tables = {"c0", *(self.columns[name].table for name in names)}
        listed = ", ".join(map(str, shards))
        return " AND ".join(f"{one}.shard_number IN ({listed})" for one in sorted(tables))

    def keys(self, keep: str, first: int, last: int) -> pa.Table:
        """`key`, `shard` and `row` of the samples that meet a condition, in the corpus's order.

        Args:
            keep: The condition.
            first: The first shard that is looked at.
            last: The one before which it ends.
        """
        source, values = self.source(["key"], keep)
        word = "AND" if keep.strip() else "WHERE"
        return self.database.table(
            "SELECT c0.key, CAST(c0.shard_number AS BIGINT) AS shard, CAST(c0.row_number AS BIGINT)"
            f" AS row{source} {word} c0.shard_number >= {first} AND c0.shard_number < {last} "
            "ORDER BY shard, row",
            values,
        )

    def rows_by_shard(self, keep: str) -> Callable[[int], NDArray[np.int64]]:
        """Gives the rows of a shard, rising, that meet a condition."""
        source, values = self.source((), keep)
        found = self.database.table(
            f"SELECT CAST(c0.shard_number AS INTEGER) AS shard, CAST(c0.row_number AS INTEGER) AS "
            f"row{source} ORDER BY shard, row",
            values,
        )
        shards, rows = (found[name].to_numpy() for name in ("shard", "row"))

        def of(number: int) -> NDArray[np.int64]:
            begin, end = np.searchsorted(shards, [number, number + 1])
            return rows[begin:end].astype(np.int64)

        return of


def _required(condition: Condition) -> Iterator[Comparison | Share]:
    """The conditions on one field that a sample must meet, whatever else it does."""
    if not isinstance(condition, Joined):
        yield condition
    elif condition.word == "and":
        for part in condition.parts:
            yield from _required(part)
