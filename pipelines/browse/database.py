"""A DuckDB that opens some files and no others, within bounds of time and memory."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from septet.pipelines.browse.stopping import stoppable

QUERY_SECONDS = 20.0
"""The most time for one question; one that takes longer is given up."""
_MEMORY = "1GB"


class QueryError(ValueError):
    """Raised when a question takes too long, or more memory than it may."""


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
        self._paths: list[str] = []
        self._schemas = 0
        self._locked = False

    def allow(self, paths: Sequence[str]) -> None:
        """Let it open some files."""
        self._paths += paths

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

    def lock(self) -> None:
        """Let it reach nothing but the files that it was allowed."""
        self._db.execute(f"SET allowed_paths = {texts(self._paths)}")
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
            if not Path(path).exists():
                raise QueryError(
                    f"{Path(path).resolve()} is not there: where the corpus was changed, stop "
                    "`septet browse` and start it again"
                )

    def _within(
        self, sql: str, values: Sequence[Any], take: Callable[[duckdb.DuckDBPyConnection], Any]
    ) -> Any:
        assert self._locked
        with self._db.cursor() as cursor, stoppable(cursor.interrupt):
            timer = threading.Timer(QUERY_SECONDS, cursor.interrupt)
            timer.start()
            try:
                return take(cursor.execute(sql, list(values)))
            except duckdb.InterruptException as error:
                raise QueryError(
                    f"this takes more than {QUERY_SECONDS:g} seconds, and was given up"
                ) from error
            except duckdb.OutOfMemoryException as error:
                raise QueryError(f"this takes more than {_MEMORY} of memory") from error
            except duckdb.Error as error:
                self.require_files()
                raise QueryError(f"cannot be read: {str(error).splitlines()[0]}") from error
            finally:
                timer.cancel()


def texts(values: Sequence[str]) -> str:
    """A list of texts as SQL."""
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"
