"""A corpus's sidecars, columns and rejects as DuckDB reads them, where they lie.

DuckDB may open these files and no others, reaches no network, and its settings cannot be changed
once the tables are there. What a person types is one condition (`sql`), never a statement.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from septet.pipelines.browse.database import QUERY_SECONDS, Database, texts
from septet.pipelines.browse.dropped import Dropped
from septet.pipelines.browse.held import Held
from septet.pipelines.browse.sound import Sound
from septet.pipelines.browse.sql import Column, Shares, as_sql, quoted
from septet.pipelines.derived import DERIVED, TYPES, is_fit
from septet.pipelines.views.curate import Fields
from septet.pipelines.views.expressions import Comparison, Share, parse
from septet.preprocess import files
from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import REJECTS, column_sidecar

MEMBERS = "members"
_PATTERN_MARKS = "*?[\\"
"""What DuckDB takes for parts of a pattern in a path: files that have them are read by links."""


class Sources(ABC):
    """The tables of a corpus, or of a view, and how they are joined.

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
        self._sound = sound = Sound(scratch / "sound")
        shards = self.corpus.shards
        counts = self.corpus.counts.tolist()
        own = self._here(shard.sidecar for shard in shards)
        self._files: dict[str | None, list[str]] = {None: sound.sidecars(own, counts, True)}
        for name in {one.column for one in fields.known.values()} - {None}:
            assert name is not None
            here = self._here(column_sidecar(name, shard.tar) for shard in shards)
            self._files[name] = sound.sidecars(here, counts, False)
        names = files.list_folder(files.join(self.corpus.path, REJECTS))
        lost = self._here(f"{REJECTS}/{one}" for one in names if one.endswith(".parquet"))
        self._rejects = sound.rejects(lost)
        self.faults = sound.faults | {
            f"columns/{name}": why for name, why in fields.damaged.items()
        }
        """What cannot be read of the corpus, with the reason."""
        self._aliases = {name: f"c{number}" for number, name in enumerate(self._files)}
        self.columns = {
            spelled: Column(self._aliases[one.column], one.name, one.type)
            for spelled, one in fields.known.items()
        }
        self.database = database or Database(scratch)
        self.schema = self.database.schema()
        self.held = Held(
            self.database, self.schema, self.columns, counts, self._files_of,
            _short_members() if self.has_members else {},
        )  # fmt: skip
        try:
            self._open()
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

    def _open(self) -> None:
        self.database.allow(
            [*(path for some in self._files.values() for path in some), *self._rejects],
            self._sound.folder,
        )
        for name, derived in DERIVED.items():
            self.database.function(f"derived_{name}", derived.of_all, None, _sql(derived.type))
        for sql in self._views():
            self.database.make(sql)
        self.database.mend_by(self._mend)
        if self.corpus.is_whole:
            return
        self.make_rows("chosen", self.corpus)

    def _views(self) -> Iterator[str]:
        """Statements that make the views of its files, or make them anew."""
        for name, paths in self._files.items():
            given = "*, 0 AS shard_number, 0 AS row_number FROM " + _nothing(("key",))
            if paths:
                made = ", ".join(self._worked_out()) if name is None else ""
                given = (
                    f"*{made and ', '}{made}, file_index AS shard_number, "
                    f"file_row_number AS row_number FROM {_read(paths)}"
                )
            view = f"{self.schema}.{self._aliases[name]}"
            yield f"CREATE OR REPLACE VIEW {view} AS SELECT {given}"
        given = _read(self._rejects, "union_by_name = true")
        yield f"CREATE OR REPLACE VIEW {self.schema}.rejects AS SELECT * FROM {given}"

    def _worked_out(self) -> Iterator[str]:
        """Fields in SQL that are worked out from others of the base sidecars."""
        for name, field in self._fields.known.items():
            if field.derived and field.name == name:
                own = self._fields.own
                given = (
                    f"CAST({quoted(one) if is_fit(one, own.get(one)) else 'NULL'} AS {_sql(kind)})"
                    for one, kind in ((one, TYPES[one]) for one in field.derived.fields)
                )
                yield f"derived_{name}({', '.join(given)}) AS {quoted(name)}"

    def _mend(self) -> list[str]:
        """Find files that are damaged; the statements that put others in their place."""
        found = self._sound.mend(self.database.fault, QUERY_SECONDS)
        if not found:
            return []
        self._files = {
            name: [found.get(path, path) for path in paths] for name, paths in self._files.items()
        }
        self._rejects = [found.get(path, path) for path in self._rejects]
        self.faults = self.faults | self._sound.faults
        self.forget()
        return [*self._views()]

    @property
    def has_members(self) -> bool:
        """Whether sidecars tell of the members of tars."""
        return is_fit(MEMBERS, self._fields.own.get(MEMBERS))

    @abstractmethod
    def forget(self) -> None:
        """Forget answers that are kept, as files are others now."""

    @abstractmethod
    def share(self, share: Share) -> str:
        """The condition in SQL for a share of all samples."""

    def make_rows(self, name: str, corpus: Corpus) -> str:
        """Make a table, before `lock`, of the rows that a view has: `shard_number`, `row_number`.

        Args:
            name: Its name in this corpus's schema.
            corpus: The view, or the corpus without what was taken down.

        Returns:
            Its whole name.
        """
        made = f"{self.schema}.{name}"
        self.database.make(f"CREATE TABLE {made} (shard_number UBIGINT, row_number BIGINT)")
        for number in range(len(corpus.shards)):
            rows = corpus.rows(number)
            part = pa.table({"shard": np.full(len(rows), number, np.uint64), "row": rows})
            self.database.insert(made, part)
        return made

    def require(self, name: str) -> Column:
        """The column of a field.

        Raises:
            ExpressionError: there is no such field, or several; names those that there are.
        """
        self._fields.require(name)
        return self.columns[name]

    def ends(self, names: Iterable[str]) -> dict[str, tuple[float | None, float | None]]:
        """The least and greatest values of those numbers of which footers tell them; of the whole
        corpus, whatever the view has of it."""
        tables = {alias: name for name, alias in self._aliases.items()}
        found = {}
        for name in names:
            column = self.require(name)
            paths = self._files[tables[column.table]]
            if (ends := self._sound.ends(paths, column.name)) is not None:
                found[name] = ends
        return found

    def source(
        self, names: Iterable[str], keep: str, joined: str = "", is_whole: bool = False,
        shares: Shares | None = None, more: Iterable[str] = (),
    ) -> tuple[str, list[Any]]:  # fmt: skip
        """FROM and WHERE, and parameters, of the samples that meet a condition.

        Args:
            names: All fields that are selected: there may be no others, nor tables that have them.
            keep: The condition.
            joined: What is joined besides.
            is_whole: Whether all rows of the corpus are meant, whatever the view has of them.
            shares: Chooses for `top` and `bottom`; where absent, among the samples of this view.
            more: What is selected besides of the base sidecars, and no condition knows.
        """
        condition = parse(keep) if keep.strip() else None
        tests = [*condition.tests()] if condition else []
        for name in (*names, *(test.field for test in tests)):
            self.require(name)
        words = {one.field for one in tests if _is_of_words(one)}
        needed = {*names, *(one.field for one in tests if not _is_of_words(one))}
        columns, tables = self.columns, ""
        if self.held.has({*needed, *more}, words):
            self.database.require_files()  # which it stands for
            columns, tables = self.held.columns, f"{self.held.table} AS c0"
        clause, values = "", list[Any]()
        if condition:
            sql, values = as_sql(condition, columns, shares or self.share)
            clause = f" WHERE {sql}"
        tables = tables or self._joined(needed | words)
        if not self.corpus.is_whole and not is_whole:
            tables += f" SEMI JOIN {self.schema}.chosen AS chosen ON ({_same('chosen')})"
        return f" FROM {tables}{joined}{clause}", values

    def _files_of(self, names: Iterable[str]) -> str:
        return f" FROM {self._joined(names)}"

    def _joined(self, names: Iterable[str]) -> str:
        """The tables of files that have some fields."""
        tables = f"{self.schema}.c0 AS c0"
        for other in sorted({self.columns[name].table for name in names} - {"c0"}):
            tables += f" JOIN {self.schema}.{other} AS {other} ON ({_same(other)})"
        return tables


def _short_members() -> dict[str, str]:
    """Members of tars in SQL, without what only readers of tars need."""
    return {MEMBERS: f"CAST(c0.{MEMBERS} AS {_sql(TYPES[MEMBERS])})"}


def _sql(kind: pa.DataType) -> str:
    """A type as SQL names it, of those that fields are worked out from."""
    if pa.types.is_list(kind):
        parts = ", ".join(f"{part.name} {_sql(part.type)}" for part in kind.value_type)
        return f"STRUCT({parts})[]"
    names = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.string(): "VARCHAR"}
    return names[kind]


def _is_of_words(test: Comparison | Share) -> bool:
    """Whether a condition is met by a text and by the same in lower case alike."""
    return isinstance(test, Comparison) and test.sign == "contains"


def _read(paths: Sequence[str], more: str = "union_by_name = false") -> str:
    """The rows of some Parquet files as SQL; folders named `a=b` are no columns."""
    return f"read_parquet({texts(paths)}, hive_partitioning = false, {more})"


def _nothing(names: Sequence[str]) -> str:
    """A table without rows as SQL."""
    return f"(SELECT {', '.join(f'CAST(NULL AS VARCHAR) AS {name}' for name in names)} WHERE false)"


def _same(other: str) -> str:
    return f"{other}.shard_number = c0.shard_number AND {other}.row_number = c0.row_number"
