"""A DuckDB that opens some files and no others, within bounds of time and memory."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from septet.pipelines.browse.stopping import stoppable

QUERY_SECONDS = 20.0
"""The most time for one question; one that takes longer is given up."""
_MEMORY = "1400MB"
HELD = "held"
"""A database in memory whose tables are compressed."""


class QueryError(ValueError):
    """Raised when a question takes too long, or more memory than it may."""


class _DamageError(QueryError):
    """Raised when an answer fails, as where a file is damaged."""


class Database:
    """A database in memory that reads files where they lie. Tables are made first; once it is
    locked it reaches nothing but the files that it was allowed, and its settings stay.

    Args:
        scratch: A folder for what does not fit into memory.
    """

    def __init__(self, scratch: Path) -> None:
        spilt = str(scratch / "spilt")
        self._db = duckdb.connect(
            config={"memory_limit": _MEMORY, "threads": 2, "temp_directory": spilt}
        )
        # Else each question opens each file anew to read its footer.
        self._db.execute("SET parquet_metadata_cache = true")
        # Which believes all that footers say: that there is no NaN, and ends of values that lie.
        self._db.execute("SET disabled_optimizers = 'statistics_propagation'")
        self._db.execute(f"ATTACH ':memory:' AS {HELD} (COMPRESS)")
        self._paths: list[str] = []
        self._functions: set[str] = set()
        self._folders: list[str] = []
        self._schemas = 0
        self._locked = False
        self._menders: list[Callable[[], list[str]]] = []
        self._mending = threading.Lock()
        self._mended = 0
        self._asked = 0
        self._counting = threading.Lock()

    def allow(self, paths: Sequence[str], folder: Path) -> None:
        """Let it open some files, and those of a folder."""
        self._paths += paths
        self._folders.append(str(folder))

    def mend_by(self, mend: Callable[[], list[str]]) -> None:
        """Add what is called where an answer fails: it looks for damaged files, and gives the
        statements that put others in their place. The question is then asked again."""
        self._menders.append(mend)

    def schema(self) -> str:
        """Make a schema, for the tables of one corpus; returns its name."""
        name = f"s{self._schemas}"
        self._schemas += 1
        self._db.execute(f"CREATE SCHEMA {name}")
        return name

    def make(self, sql: str) -> None:
        """Make a table or a view, before it is locked.

        Raises:
            ValueError: a file cannot be read.
        """
        assert not self._locked
        try:
            self._db.execute(sql)
        except duckdb.Error as error:
            self.require_files()
            raise ValueError(f"cannot be read: {str(error).splitlines()[0]}") from error

    def insert(self, table: str, rows: pa.Table) -> None:
        """Add rows to a table of its own, before it is locked."""
        assert not self._locked
        self._db.register("part", rows)
        self._db.execute(f"INSERT INTO {table} SELECT * FROM part")
        self._db.unregister("part")

    def function(
        self,
        name: str,
        call: Callable[..., pa.Array],
        takes: list[Any] | None = None,
        gives: str = "VARCHAR",
    ) -> None:
        """Add a function, before it is locked, unless it has it.

        Args:
            name: Its name.
            call: Gives the values for those of columns, nulls included.
            takes: The types of the columns; None for any number of any type.
            gives: The type of the values.
        """
        assert not self._locked
        if name not in self._functions:
            self._functions.add(name)
            self._db.create_function(
                name, call, takes, gives, type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
            )  # fmt: skip

    def lock(self) -> None:
        """Let it reach nothing but the files that it was allowed."""
        self._db.execute(f"SET allowed_paths = {texts(self._paths)}")
        self._db.execute(f"SET allowed_directories = {texts(self._folders)}")
        self._db.execute("SET enable_external_access = false")
        self._db.execute("SET lock_configuration = true")
        self._locked = True

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of an answer.

        Raises:
            QueryError: it takes too long, or too much memory, or a file cannot be read.
        """
        return self._within(sql, values, lambda found: found.fetchall())

    def table(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        """An answer as an Arrow table.

        Raises:
            QueryError: as of `ask`.
        """
        return self._within(sql, values, lambda found: found.to_arrow_table())

    def require_files(self) -> None:
        """Refuse to go on without a file: a corpus that was built anew has other ones.

        Raises:
            QueryError: one is not there; says what to do.
        """
        for path in self._paths:
            if not os.path.exists(path):  # noqa: PTH110 (of thousands, a tenth of the time)
                raise QueryError(
                    f"{Path(path).resolve()} is not there: where the corpus was changed, stop "
                    "`septet browse` and start it again"
                )

    @property
    def is_asked(self) -> bool:
        """Whether anything is asked just now."""
        return self._asked > 0

    def held_bytes(self) -> int:
        """The memory of the tables in it."""
        return int(
            self.ask(
                "SELECT coalesce(sum(memory_usage_bytes), 0) FROM duckdb_memory() "
                "WHERE tag = 'IN_MEMORY_TABLE'"
            )[0][0]
        )

    def fault(self, path: str) -> str:
        """Why a file cannot be read to its end; empty where it can."""
        with self._db.cursor() as cursor:
            try:
                cursor.execute(f"SELECT bit_xor(hash(t)) FROM read_parquet({texts([path])}) AS t")
            except duckdb.Error as error:
                return str(error).splitlines()[0]
        return ""

    def _within(
        self, sql: str, values: Sequence[Any], take: Callable[[duckdb.DuckDBPyConnection], Any]
    ) -> Any:
        seen = self._mended
        try:
            return self._answer(sql, values, take)
        except _DamageError:
            self.require_files()
            if not self._mend(seen):
                raise
        return self._answer(sql, values, take)

    def _mend(self, seen: int) -> bool:
        """Put others in the place of damaged files, unless that was done since; whether there were
        any."""
        with self._mending:
            if self._mended == seen and (made := [sql for mend in self._menders for sql in mend()]):
                for sql in made:
                    self._answer(sql, (), lambda found: None)
                self._mended += 1
            return self._mended > seen

    def _answer(
        self, sql: str, values: Sequence[Any], take: Callable[[duckdb.DuckDBPyConnection], Any]
    ) -> Any:
        assert self._locked
        with self._db.cursor() as cursor, stoppable(cursor.interrupt):
            timer = threading.Timer(QUERY_SECONDS, cursor.interrupt)
            timer.start()
            with self._counting:
                self._asked += 1
            try:
                return take(cursor.execute(sql, list(values)))
            except duckdb.InterruptException as error:
                raise QueryError(
                    f"this takes more than {QUERY_SECONDS:g} seconds, and was given up"
                ) from error
            except duckdb.OutOfMemoryException as error:
                raise QueryError(f"this takes more than {_MEMORY} of memory") from error
            except duckdb.Error as error:
                raise _DamageError(f"cannot be read: {str(error).splitlines()[0]}") from error
            finally:
                with self._counting:
                    self._asked -= 1
                timer.cancel()


def texts(values: Sequence[str]) -> str:
    """A list of texts as SQL."""
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"
