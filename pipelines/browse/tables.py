"""A corpus's sidecars, columns and rejects as DuckDB reads them, where they lie.

DuckDB may open these files and no others, reaches no network, and its settings cannot be changed
once the tables are there. What a person types is one condition (`sql`), never a statement.
"""

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from septet.pipelines.browse.sound import Sound
from septet.pipelines.browse.sql import Column, as_sql, quoted
from septet.pipelines.views.curate import Fields
from septet.pipelines.views.expressions import Share, parse
from septet.preprocess import files
from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import REJECTS, column_sidecar
from septet.schemas.tables import REJECTS as REJECT_ROWS

QUERY_SECONDS = 20.0
"""The most time for one question; one that takes longer is given up."""
_MEMORY = "1GB"
_BINS = 24
"""Bins of a histogram."""
_PATTERN_MARKS = "*?[\\"
"""What DuckDB takes for parts of a pattern in a path: files that have them are read by links."""
_OF_REJECTS = tuple(name for name in REJECT_ROWS.names if name not in ("extra", "annotations"))


class QueryError(ValueError):
    """Raised when a question takes too long, or more memory than it may."""


@dataclass(frozen=True)
class Row:
    """A sample: its shard's number, its row there, and some of what its sidecar says."""

    shard: int
    row: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class Bins:
    """A histogram: the edges [n + 1] of its bins, and the counts [n] in them."""

    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class Spread:
    """How the values of some samples are spread: how many they are, the commonest values of facets
    with their counts (None: nothing is said), largest first, and histograms of numbers."""

    samples: int
    facets: dict[str, list[tuple[Any, int]]]
    numbers: dict[str, Bins]


class Tables:
    """The tables of a corpus, or of a view.

    Args:
        path: The corpus, or PATH@VIEW.
        scratch: A folder of its own, for copies of a remote corpus's sidecars, and links.

    Raises:
        ValueError: there is no such corpus or view, or its files cannot be read.
    """

    def __init__(self, path: str, scratch: Path):
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
            spelled: Column(f"{self._aliases[field.column]}.{quoted(field.name)}", field.type)
            for spelled, field in fields.known.items()
        }
        self._making = threading.Lock()
        self._shares: dict[Share, str] = {}
        self._db = duckdb.connect(config={"memory_limit": _MEMORY, "threads": 2})
        try:
            self._open(rejects)
        except duckdb.Error as error:
            raise ValueError(f"{path}: {self._told(error)}") from error

    def _told(self, error: duckdb.Error) -> str:
        """What is wrong, in a sentence: a corpus that was built anew has other files."""
        for path in self._paths:
            if not Path(path).exists():
                return (
                    f"{Path(path).resolve()} is not there: where the corpus was changed, stop "
                    "`septet browse` and start it again"
                )
        return f"cannot be read: {str(error).splitlines()[0]}"

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
        self._paths = [*(path for some in self._files.values() for path in some), *rejects]
        self._db.execute(f"SET allowed_paths = {_texts(self._paths)}")
        self._db.execute("SET enable_external_access = false")
        self._db.execute("SET lock_configuration = true")
        for name, paths in self._files.items():
            given = "*, 0 AS shard_number, 0 AS row_number FROM " + _nothing(("key",))
            if paths:
                given = (
                    "*, file_index AS shard_number, file_row_number AS row_number "
                    f"FROM {_read(paths)}"
                )
            self._db.execute(f"CREATE VIEW {self._aliases[name]}_files AS SELECT {given}")
        given = _read(rejects, "union_by_name = true")
        self._db.execute(f"CREATE VIEW rejects AS SELECT * FROM {given}")
        if self.corpus.is_whole:
            return
        self._db.execute("CREATE TABLE chosen (shard_number UBIGINT, row_number BIGINT)")
        for number in range(len(self.corpus.shards)):
            rows = self.corpus.rows(number)
            part = pa.table({"shard": np.full(len(rows), number, np.uint64), "row": rows})
            self._db.register("part", part)
            self._db.execute("INSERT INTO chosen SELECT * FROM part")
            self._db.unregister("part")

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of an answer.

        Raises:
            QueryError: it takes too long, or too much memory.
        """
        with self._db.cursor() as cursor:
            timer = threading.Timer(QUERY_SECONDS, cursor.interrupt)
            timer.start()
            try:
                return cursor.execute(sql, list(values)).fetchall()
            except duckdb.InterruptException as error:
                raise QueryError(
                    f"this takes more than {QUERY_SECONDS:g} seconds, and was given up"
                ) from error
            except duckdb.OutOfMemoryException as error:
                raise QueryError(f"this takes more than {_MEMORY} of memory") from error
            except duckdb.Error as error:
                raise QueryError(self._told(error)) from error
            finally:
                timer.cancel()

    def require(self, name: str) -> Column:
        """The column of a field.

        Raises:
            ExpressionError: there is no such field, or several; names those that there are.
        """
        self._fields.require(name)
        return self.columns[name]

    def _from(self, names: Iterable[str], keep: str) -> tuple[str, list[Any]]:
        """FROM and WHERE of the samples that meet a condition, with the tables of some fields."""
        needed, clause = {*names}, ""
        values: list[Any] = []
        if keep.strip():
            condition = parse(keep)
            needed |= {test.field for test in condition.tests()}
            for name in needed:
                self.require(name)
            sql, values = as_sql(condition, self.columns, self._share)
            clause = f" WHERE {sql}"
        tables = "c0_files AS c0"
        for other in sorted({self.columns[name].sql.partition(".")[0] for name in needed} - {"c0"}):
            tables += f" JOIN {other}_files AS {other} ON ({_same(other)})"
        if not self.corpus.is_whole:
            tables += f" SEMI JOIN chosen ON ({_same('chosen')})"
        return f" FROM {tables}{clause}", values

    def _share(self, share: Share) -> str:
        """The condition in SQL for a share of all samples; these are chosen once."""
        with self._making:
            if share not in self._shares:
                table = f"share_{len(self._shares)}"
                order = "DESC" if share.end == "top" else "ASC"
                source, _ = self._from([share.field], "")
                known = f"CAST({self.columns[share.field].known} AS DOUBLE)"
                self._ask(
                    f"CREATE TABLE {table} AS SELECT shard, row FROM (SELECT c0.shard_number AS "
                    f"shard, c0.row_number AS row, {known} AS value, count(value) OVER () AS given,"
                    f" row_number() OVER (ORDER BY value {order} NULLS LAST, shard, row) AS place"
                    f"{source}) WHERE value IS NOT NULL "
                    f"AND place <= floor(given * {share.percent!r} / 100 + 0.5)"
                )
                self._shares[share] = table
        table = self._shares[share]
        return f"((c0.shard_number, c0.row_number) IN (SELECT (shard, row) FROM {table}))"

    def count(self, keep: str = "") -> int:
        """The number of samples that meet a condition; of all where it is empty."""
        source, values = self._from((), keep)
        return int(self._ask(f"SELECT count(*){source}", values)[0][0])

    def spread(
        self, facets: Sequence[str], numbers: Sequence[str], keep: str = "", most: int = 20
    ) -> Spread:
        """How many samples meet a condition, and how their values are spread, in two readings.

        Args:
            facets: Fields whose commonest values are counted.
            numbers: Fields whose values are counted in bins.
            keep: The condition.
            most: The most values of a facet.
        """
        source, values = self._from([*facets, *numbers], keep)
        known = {name: self.require(name).known for name in (*facets, *numbers)}
        as_number = [f"CAST({known[name]} AS DOUBLE)" for name in numbers]
        ends = "".join(f", min({n}), max({n}), approx_quantile({n}, 0.99)" for n in as_number)
        count, *found = self._ask(f"SELECT count(*){ends}{source}", values)[0]
        edges = {}
        for i, name in enumerate(numbers):
            low, high, most_usual = found[3 * i : 3 * i + 3]
            if low is not None:
                whole = pa.types.is_integer(self.columns[name].type)
                edges[name] = _edges(low, high, most_usual, whole)
        selected = [known[name] for name in facets] + [
            f"CAST(greatest(least(floor((CAST({known[name]} AS DOUBLE) - {low!r}) / {width!r}), "
            f"{_BINS - 1}), 0) AS INTEGER)"
            for name, (low, width, _) in edges.items()
        ]
        names = [*facets, *edges]
        if not selected or not count:
            return Spread(count, {name: [] for name in facets}, {})
        places = ", ".join(f"v{i}" for i in range(len(selected)))
        rows = self._ask(
            f"SELECT grouping_id({places}) AS which, count(*) AS n, {places} FROM (SELECT "
            f"{', '.join(f'{sql} AS v{i}' for i, sql in enumerate(selected))}{source}) "
            f"GROUP BY GROUPING SETS ({', '.join(f'(v{i})' for i in range(len(selected)))}) "
            f"QUALIFY row_number() OVER (PARTITION BY which ORDER BY n DESC, {places}) <= "
            f"{max(most, _BINS + 1)} ORDER BY n DESC, {places}",
            values,
        )
        by_name: dict[str, list[tuple[Any, int]]] = {name: [] for name in names}
        every = (1 << len(names)) - 1
        which = {every ^ (1 << (len(names) - 1 - i)): i for i in range(len(names))}
        for group, n, *told in rows:
            by_name[names[which[group]]].append((told[which[group]], n))
        bins = {}
        for name, (low, width, high) in edges.items():
            counts = [0] * _BINS
            for place, n in by_name[name]:
                if place is not None:
                    counts[place] += n
            last = max(high, low + width * _BINS)
            bins[name] = Bins([low + width * i for i in range(_BINS)] + [last], counts)
        return Spread(count, {name: by_name[name][:most] for name in facets}, bins)

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
        names = [*dict.fromkeys([*fields, *([sort] if sort else [])])]
        selected = ", ".join(
            ["c0.shard_number", "c0.row_number", *(self.require(name).sql for name in names)]
        )
        source, values = self._from(names, keep)
        order = "c0.shard_number, c0.row_number"
        if sort:
            order = (
                f"{self.columns[sort].known} {'DESC' if descending else 'ASC'} NULLS LAST, {order}"
            )
        found = self._ask(
            f"SELECT {selected}{source} ORDER BY {order} LIMIT {limit} OFFSET {offset}", values
        )
        return [
            Row(int(shard), int(row), dict(zip(names, facts, strict=True)))
            for shard, row, *facts in found
        ]

    def reasons(self) -> list[tuple[str, str, int]]:
        """Stages and reasons of rejects with their counts, largest first."""
        return self._ask(
            "SELECT stage, reason, count(*) AS n FROM rejects GROUP BY stage, reason "
            "ORDER BY n DESC, stage, reason"
        )

    def rejects(
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
        where = "stage = ? AND reason = ?"
        values: list[Any] = [stage, reason]
        for bound, sign in ((low, ">="), (high, "<")):
            if bound is not None:
                where += f" AND try_cast(value AS DOUBLE) {sign} ?"
                values.append(bound)
        if words:
            where += " AND contains(lower(caption), lower(?))"
            values.append(words)
        found = self._ask(
            f"SELECT {', '.join(_OF_REJECTS)} FROM rejects WHERE {where} ORDER BY "
            f"try_cast(value AS DOUBLE) {'ASC' if rising else 'DESC'} NULLS LAST, id "
            f"LIMIT {limit}",
            values,
        )
        return [dict(zip(_OF_REJECTS, row, strict=True)) for row in found]

    def count_rejects(self, stage: str, reason: str, cut: float) -> tuple[int, int]:
        """How many rejects of a reason have a value below a cut, and at or above it."""
        known = "try_cast(value AS DOUBLE)"
        below, above = self._ask(
            f"SELECT count(*) FILTER ({known} < ?), count(*) FILTER ({known} >= ?) FROM rejects "
            "WHERE stage = ? AND reason = ?",
            [cut, cut, stage, reason],
        )[0]
        return int(below), int(above)

    def reject_values(self, stage: str, reason: str) -> Bins | None:
        """How the values of a reason's rejects are spread; None where they are no numbers."""
        known = "try_cast(value AS DOUBLE)"
        where, values = "WHERE stage = ? AND reason = ?", [stage, reason]
        low, high, counted, rows = self._ask(
            f"SELECT min({known}), max({known}), count({known}), count(*) FROM rejects {where}",
            values,
        )[0]
        if not counted or counted < rows or not np.isfinite([low, high]).all():
            return None
        width = (high - low) / _BINS or 1.0
        found = self._ask(
            f"SELECT CAST(least(floor(({known} - ?) / ?), ?) AS INTEGER) AS bin, count(*) "
            f"FROM rejects {where} GROUP BY bin",
            [low, width, _BINS - 1, *values],
        )
        counts = [0] * _BINS
        for place, count in found:
            counts[place] += count
        return Bins([low + width * number for number in range(_BINS + 1)], counts)


def _edges(low: float, high: float, most: float | None, whole: bool) -> tuple[float, float, float]:
    """The first edge of a histogram, the width of its bins, and the greatest value: what lies above
    `most`, the 99th percentile if there is one, is in the last bin."""
    end = high if most is None else max(min(high, most), low)
    width = (end - low) / _BINS or 1.0
    if whole:
        width = max(1.0, float(np.ceil((end - low + 1) / _BINS)))
    if not np.isfinite([low, width]).all():  # infinities among the values
        low, width = min(max(low, -1e300), 1e300), 1e300
    return float(low), float(width), float(high)


def _texts(paths: Sequence[str]) -> str:
    """A list of texts as SQL."""
    return "[" + ", ".join("'" + path.replace("'", "''") + "'" for path in paths) + "]"


def _read(paths: Sequence[str], more: str = "union_by_name = false") -> str:
    """The rows of some Parquet files as SQL; folders named `a=b` are no columns."""
    return f"read_parquet({_texts(paths)}, hive_partitioning = false, {more})"


def _nothing(names: Sequence[str]) -> str:
    """A table without rows as SQL."""
    return f"(SELECT {', '.join(f'CAST(NULL AS VARCHAR) AS {name}' for name in names)} WHERE false)"


def _same(other: str) -> str:
    return f"{other}.shard_number = c0.shard_number AND {other}.row_number = c0.row_number"
