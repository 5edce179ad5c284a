"""A corpus's sidecars, columns and rejects as DuckDB reads them, where they lie.

DuckDB may open these files and no others, reaches no network, and its settings cannot be changed
once the tables are there. What a person types is one condition (`sql`), never a statement.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from septet.pipelines.browse.database import Database, texts
from septet.pipelines.browse.dropped import Dropped
from septet.pipelines.browse.sound import Sound
from septet.pipelines.browse.spread import CELLS, Grid, Spread, of_rows
from septet.pipelines.browse.sql import Column, as_sql
from septet.pipelines.views.curate import Fields
from septet.pipelines.views.expressions import Share, parse
from septet.preprocess import files
from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import REJECTS, column_sidecar

_AT_ONCE = 24
"""The most fields whose values one statement counts."""
_MOST_SPREADS = 16
_LOOKED_AT = 500_000
_PATTERN_MARKS = "*?[\\"
"""What DuckDB takes for parts of a pattern in a path: files that have them are read by links."""


@dataclass(frozen=True)
class Row:
    """A sample: its shard's number, its row there, and some of what its sidecar says."""

    shard: int
    row: int
    facts: dict[str, Any]


class Tables:
    """The tables of a corpus, or of a view.

    Args:
        path: The corpus, or PATH@VIEW.
        scratch: A folder of its own, for copies of a remote corpus's sidecars, and links.
        database: Where another corpus's tables are, too, which is to be locked when all are there;
            where absent, one of its own.

    Raises:
        ValueError: there is no such corpus or view, or its files cannot be read.
    """

    def __init__(self, path: str, scratch: Path, database: Database | None = None):
        self.corpus = Corpus(path, open_shards=16)
        self._fields = fields = Fields(self.corpus)
        self._scratch, self._links = scratch, 0
        sound = Sound(scratch / "sound")
        shards = self.corpus.shards
        counts = self.corpus.counts.tolist()
        own = self._here(shard.sidecar for shard in shards)
        self._files: dict[str | None, list[str]] = {None: sound.sidecars(own, counts, True)}
        for name in {field.column for field in fields.known.values()} - {None}:
            assert name is not None
            here = self._here(column_sidecar(name, shard.tar) for shard in shards)
            self._files[name] = sound.sidecars(here, counts, False)
        names = files.list_folder(files.join(self.corpus.path, REJECTS))
        lost = self._here(f"{REJECTS}/{one}" for one in names if one.endswith(".parquet"))
        rejects = sound.rejects(lost)
        self.faults = sound.faults | {
            f"columns/{name}": why for name, why in fields.damaged.items()
        }
        """What cannot be read of the corpus, with the reason."""
        self._aliases = {name: f"c{number}" for number, name in enumerate(self._files)}
        self.columns = {
            spelled: Column(self._aliases[field.column], field.name, field.type)
            for spelled, field in fields.known.items()
        }
        self._making = threading.Lock()
        self._shares: dict[Share, str] = {}
        self._grids: dict[str, Grid | None] = {}
        self._spreads: OrderedDict[tuple[Any, ...], Spread] = OrderedDict()
        self.database = database or Database(scratch)
        self.schema = self.database.schema()
        try:
            self._open(rejects)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if database is None:
            self.database.lock()
        self.dropped = Dropped(self.database, f"{self.schema}.rejects")

    def _here(self, names: Iterable[str]) -> dict[str, str]:
        """The paths of some of the corpus's files on this machine, by their names within it."""
        return {name: self._local(name) for name in names}

    def _local(self, name: str) -> str:
        """The path of one of the corpus's files on this machine."""
        path = files.join(self.corpus.path, name)
        if files.is_local(path):
            here = files.local_path(path).absolute()
        else:
            here = self._scratch / "copies" / name
            if not here.exists():
                here.parent.mkdir(parents=True, exist_ok=True)
                with suppress(OSError):  # what is not there is told with what cannot be read
                    here.write_bytes(files.read_bytes(path))
        if not any(mark in str(here) for mark in _PATTERN_MARKS):
            return str(here)
        link = self._scratch / f"link-{self._links}.parquet"
        link.symlink_to(here)
        self._links += 1
        return str(link)

    def _open(self, rejects: list[str]) -> None:
        self.database.allow([*(path for some in self._files.values() for path in some), *rejects])
        for name, paths in self._files.items():
            given = "*, 0 AS shard_number, 0 AS row_number FROM " + _nothing(("key",))
            if paths:
                given = (
                    "*, file_index AS shard_number, file_row_number AS row_number "
                    f"FROM {_read(paths)}"
                )
            self.database.make(f"CREATE VIEW {self.schema}.{self._aliases[name]} AS SELECT {given}")
        given = _read(rejects, "union_by_name = true")
        self.database.make(f"CREATE VIEW {self.schema}.rejects AS SELECT * FROM {given}")
        if self.corpus.is_whole:
            return
        chosen = f"{self.schema}.chosen"
        self.database.make(f"CREATE TABLE {chosen} (shard_number UBIGINT, row_number BIGINT)")
        for number in range(len(self.corpus.shards)):
            rows = self.corpus.rows(number)
            part = pa.table({"shard": np.full(len(rows), number, np.uint64), "row": rows})
            self.database.insert(chosen, part)

    def require(self, name: str) -> Column:
        """The column of a field.

        Raises:
            ExpressionError: there is no such field, or several; names those that there are.
        """
        self._fields.require(name)
        return self.columns[name]

    def source(
        self, names: Iterable[str], keep: str, joined: str = "", is_whole: bool = False
    ) -> tuple[str, list[Any]]:
        """FROM and WHERE, and parameters, of the samples that meet a condition.

        Args:
            names: Fields whose tables are joined.
            keep: The condition.
            joined: What is joined besides.
            is_whole: Whether all rows of the corpus are meant, whatever the view has of them.
        """
        needed, clause = {*names}, ""
        values: list[Any] = []
        if keep.strip():
            condition = parse(keep)
            tested = [test.field for test in condition.tests()]
            for name in tested:
                self.require(name)
            needed |= {*tested}
            sql, values = as_sql(condition, self.columns, self._share)
            clause = f" WHERE {sql}"
        tables = f"{self.schema}.c0 AS c0"
        for other in sorted({self.require(name).table for name in needed} - {"c0"}):
            tables += f" JOIN {self.schema}.{other} AS {other} ON ({_same(other)})"
        if not self.corpus.is_whole and not is_whole:
            tables += f" SEMI JOIN {self.schema}.chosen AS chosen ON ({_same('chosen')})"
        return f" FROM {tables}{joined}{clause}", values

    def _share(self, share: Share) -> str:
        """The condition in SQL for a share of all samples: a value that the others are compared
        with, and the place up to which those of just that value are among them."""
        with self._making:
            if share not in self._shares:
                self._shares[share] = self._sought(share)
        return self._shares[share]

    def _sought(self, share: Share) -> str:
        source, _ = self.source([share.field], "")
        value = f"CAST({self.columns[share.field].known} AS DOUBLE)"
        given = self.database.ask(f"SELECT count({value}){source}")[0][0]
        wanted = math.floor(given * share.percent / 100 + 0.5)
        if not wanted:
            return "(false)"
        place = given - wanted if share.end == "top" else wanted - 1
        cut, more = self.database.ask(
            f"SELECT quantile_disc({value}, {(place + 0.5) / given!r}){source}"
        )[0][0], ">" if share.end == "top" else "<"  # fmt: skip
        cut_sql = f"CAST('{cut!r}' AS DOUBLE)"  # an infinity has no other form
        beyond = self.database.ask(f"SELECT count(*){source} WHERE {value} {more} {cut_sql}")
        shard, row = self.database.ask(
            f"SELECT c0.shard_number, c0.row_number{source} WHERE {value} = {cut_sql} ORDER BY ALL "
            f"LIMIT 1 OFFSET {wanted - beyond[0][0] - 1}"
        )[0]
        last = (
            f"(c0.shard_number < {shard} OR c0.shard_number = {shard} AND c0.row_number <= {row})"
        )
        return f"coalesce({value} {more} {cut_sql} OR {value} = {cut_sql} AND {last}, false)"

    def count(self, keep: str = "") -> int:
        """The number of samples that meet a condition; of all where it is empty."""
        source, values = self.source((), keep)
        return int(self.database.ask(f"SELECT count(*){source}", values)[0][0])

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
        with self._making:
            if asked in self._spreads:
                self.database.require_files()
                self._spreads.move_to_end(asked)
                return self._spreads[asked]
        found = self._spread(*asked)
        with self._making:
            self._spreads[asked] = found
            while len(self._spreads) > _MOST_SPREADS:
                self._spreads.popitem(last=False)
        return found

    def _spread(
        self, facets: Sequence[str], numbers: Sequence[str], keep: str, most: int
    ) -> Spread:
        grids = self.grids(numbers)
        whole, counts = 0, dict[str, list[tuple[Any, int]]]()
        names = [*facets, *grids]
        for start in range(0, max(len(names), 1), _AT_ONCE):
            some = {name: grids.get(name) for name in names[start : start + _AT_ONCE]}
            whole, found = self.counts(some, keep)
            counts |= found
        cells = {name: of_rows(counts[name]) for name in grids}
        coarse = [
            name for name, grid in grids.items() if cells[name] and not grid.is_enough(cells[name])
        ]
        if coarse:
            grids |= {name: grids[name].finer(cells[name]) for name in coarse}
            _, again = self.counts({name: grids[name] for name in coarse}, keep)
            cells |= {name: of_rows(rows) for name, rows in again.items()}
        bins = {name: grid.bins(cells[name]) for name, grid in grids.items() if cells[name]}
        return Spread(whole, {name: counts[name][:most] for name in facets}, bins)

    def counts(
        self, fields: Mapping[str, Grid | None], keep: str
    ) -> tuple[int, dict[str, list[tuple[Any, int]]]]:
        """How many samples meet a condition, and the counts of the commonest values of some fields,
        largest first: of the cells where there is a grid."""
        source, values = self.source(fields, keep)
        if not fields:
            return self.count(keep), {}
        selected, places = [], []
        for number, (name, grid) in enumerate(fields.items()):
            known = self.require(name).known
            selected.append(f"{grid.cell(known) if grid else known} AS v{number}")
            places.append(f"v{number}")
        rows = self.database.ask(
            f"SELECT grouping_id({', '.join(places)}) AS which, count(*) AS n, {', '.join(places)} "
            f"FROM (SELECT {', '.join(selected)}{source}) "
            f"GROUP BY GROUPING SETS ((), {', '.join(f'({one})' for one in places)}) "
            f"QUALIFY row_number() OVER (PARTITION BY which ORDER BY n DESC, {', '.join(places)}) "
            f"<= {CELLS + 2} ORDER BY n DESC, {', '.join(places)}",
            values,
        )
        every = (1 << len(places)) - 1
        which = {every ^ (1 << (len(places) - 1 - i)): i for i in range(len(places))}
        whole, counts = 0, {name: list[tuple[Any, int]]() for name in fields}
        names = [*fields]
        for group, n, *told in rows:
            if group == every:
                whole = n
            else:
                counts[names[which[group]]].append((told[which[group]], n))
        return whole, counts

    def grids(self, names: Sequence[str]) -> dict[str, Grid]:
        """The grids over all values of some fields, of those that have any."""
        with self._making:
            if new := [name for name in names if name not in self._grids]:
                found = self._ends(new)
                self._grids |= {name: found.get(name) for name in new}
        return {name: grid for name in names if (grid := self._grids[name]) is not None}

    def _ends(self, names: Sequence[str]) -> dict[str, Grid]:
        """The grids over all values of some fields, of those that have any."""
        source, _ = self.source(names, "")
        # Where the most usual values end is told of some rows alone: of all it would take as long
        # as all the rest.
        step = max(1, len(self.corpus) // _LOOKED_AT)
        ends = "".join(
            f", min({number}), max({number}), approx_quantile({number}, 0.99) "
            f"FILTER (c0.row_number % {step} = 0)"
            for number in (f"CAST({self.require(name).known} AS DOUBLE)" for name in names)
        )
        _, *found = self.database.ask(f"SELECT count(*){ends}{source}")[0]
        grids = {}
        for i, name in enumerate(names):
            low, high, usual = found[3 * i : 3 * i + 3]
            if low is not None:
                whole = pa.types.is_integer(self.columns[name].type)
                grids[name] = Grid.over(low, high, usual, whole)
        return grids

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
        shards = ", ".join(sorted({str(shard) for shard, _ in places}))
        tables = {"c0", *(self.columns[name].table for name in names)}
        within = " AND ".join(f"{one}.shard_number IN ({shards})" for one in sorted(tables))
        found = places and self.database.ask(
            f"SELECT {', '.join(selected)}{source} WHERE {within} AND (c0.shard_number, "
            f"c0.row_number) IN ({', '.join(map(str, places))})"
        )
        told = {(shard, row): dict(zip(names, facts, strict=True)) for shard, row, *facts in found}
        return [Row(*place, told[place]) for place in places if place in told]

    def keys(self, keep: str, first: int, last: int) -> pa.Table:
        """`key`, `shard` and `row` of the samples that meet a condition, in the corpus's order.

        Args:
            keep: The condition.
            first: The first shard that is looked at.
            last: The one before which it ends.
        """
        source, values = self.source((), keep)
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


def _read(paths: Sequence[str], more: str = "union_by_name = false") -> str:
    """The rows of some Parquet files as SQL; folders named `a=b` are no columns."""
    return f"read_parquet({texts(paths)}, hive_partitioning = false, {more})"


def _nothing(names: Sequence[str]) -> str:
    """A table without rows as SQL."""
    return f"(SELECT {', '.join(f'CAST(NULL AS VARCHAR) AS {name}' for name in names)} WHERE false)"


def _same(other: str) -> str:
    return f"{other}.shard_number = c0.shard_number AND {other}.row_number = c0.row_number"
