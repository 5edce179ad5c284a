"""Lists of shards and input files: Parquet files of which a part is read at a time."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from septet.preprocess import files
from septet.preprocess.shards.numbers import to_int64
from septet.schemas.layout import inside
from septet.schemas.manifest import ListFile
from septet.schemas.versioned import ManifestError, Strict

Row = TypeVar("Row", bound=Strict)

ROWS_A_GROUP = 4096
"""Rows of a row group: what is read at once for one row."""
MAX_ROWS = 10_000_000
"""Most rows of a list: as many shards as seven digits can number."""
_GROUPS_KEPT = 16
_ROWS_AT_ONCE = 256


def list_numbers(folder: str, pattern: re.Pattern[str]) -> list[int]:
    """The numbers, ascending, of the lists in a folder whose names a pattern's first group numbers;
    none where there is no folder."""
    names = files.list_folder(folder)
    return sorted(int(found[1]) for name in names if (found := pattern.fullmatch(name)))


class RowList(Sequence[Row], Generic[Row]):
    """A list's rows by number; memory is bounded whatever the list's length.

    Paths of files that rows name never lead out of the corpus.

    Args:
        model: The class of a row.
        schema: The list's Arrow schema; further columns of a file are passed over.
        where: The list's name in errors.
        groups: Rows in each group.
        read: The table of one group (or of all, for None) with some columns.
    """

    def __init__(
        self,
        model: type[Row],
        schema: pa.Schema,
        where: str,
        groups: Sequence[int],
        read: Callable[[int | None, list[str]], pa.Table],
    ):
        self._model, self._schema, self._where, self._read = model, schema, where, read
        self._starts: list[int] = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)]).tolist()
        self._paths = [name for name in ("tar", "sidecar") if name in schema.names]
        self._group = lru_cache(_GROUPS_KEPT)(partial(self._checked, columns=schema.names))

    def column(self, name: str) -> pa.ChunkedArray:
        """Read one column of all rows."""
        return self._checked(None, [name])[name]

    def numbers(self, name: str) -> NDArray[np.int64]:
        """Read a column of numbers of all rows, int64 [rows].

        Raises:
            ManifestError: one is negative, or their sum is beyond 2**53.
        """
        found = to_int64(self.column(name))
        if len(found) and (found.min() < 0 or found.sum(dtype=np.float64) > 2**53):
            raise ManifestError(f"{self._where}: {name} holds values that cannot be")
        return found

    def _checked(self, group: int | None, columns: list[str]) -> pa.Table:
        try:
            table = self._read(group, columns)
            missing = set(columns) - set(table.column_names)
            if missing:
                raise ManifestError(f"{self._where} has no column {sorted(missing)[0]!r}")
            wanted = pa.schema([self._schema.field(name) for name in columns])
            table = table.select(columns).cast(wanted)
        except (pa.ArrowException, OSError) as error:
            raise ManifestError(f"{self._where} cannot be read: {error}") from error
        if any(table[name].null_count for name in columns):
            raise ManifestError(f"{self._where} has rows without a value")
        return table

    def _row(self, row: dict[str, Any]) -> Row:
        for name in self._paths:
            inside(row[name], self._where)
        try:
            return self._model.model_validate(row)
        except ValidationError as error:
            raise ManifestError(f"{self._where} has a row that cannot be: {error}") from error

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {self._where}, which has {len(self)}")
        group = bisect_right(self._starts, index) - 1
        (row,) = self._group(group).slice(index - self._starts[group], 1).to_pylist()
        return self._row(row)

    def __iter__(self) -> Iterator[Row]:
        for group in range(len(self._starts) - 1):
            for batch in self._group(group).to_batches(_ROWS_AT_ONCE):
                yield from map(self._row, batch.to_pylist())


def rows_in_memory(
    rows: Sequence[Row], model: type[Row], schema: pa.Schema, where: str
) -> RowList[Row]:
    """Make a list of rows that are in memory already, as manifests of format version 1 hold
    them."""
    table = pa.Table.from_pylist([row.model_dump() for row in rows], schema)

    def read(_: int | None, columns: list[str]) -> pa.Table:
        return table.select(columns)

    return RowList(model, schema, where, [len(rows)] if rows else [], read)


def open_list(
    corpus: str, told: ListFile, model: type[Row], schema: pa.Schema, head: str
) -> RowList[Row]:
    """Open a list in a file; only its footer is read now.

    Args:
        corpus: The corpus folder.
        told: The list as the head has it.
        model: The class of a row.
        schema: The list's Arrow schema.
        head: The head's name in errors.

    Raises:
        ManifestError: there is no such file, or it is no Parquet file of so many rows.
    """
    path = files.join(corpus, inside(told.path, head))

    def source() -> Any:
        return files.open_read(path)

    try:
        with source() as file:
            footer = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(
            f"{path} cannot be read ({error}), and {head} names it: build the corpus (or make the "
            "column) again"
        ) from error
    if footer.num_rows != told.rows or footer.num_rows > MAX_ROWS:
        raise ManifestError(
            f"{path} has {footer.num_rows:,} rows, {head} says {told.rows:,} (at most "
            f"{MAX_ROWS:,}): build the corpus (or make the column) again"
        )

    def read(group: int | None, columns: list[str]) -> pa.Table:
        with source() as file:
            parquet = pq.ParquetFile(file, metadata=footer)
            names = [name for name in columns if name in footer.schema.to_arrow_schema().names]
            if group is None:
                return parquet.read(names)
            return parquet.read_row_group(group, names)

    groups = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    return RowList(model, schema, path, groups, read)


def write_list(corpus: str, path: str, schema: pa.Schema, rows: Iterable[Strict]) -> ListFile:
    """Write a list; equal rows give equal bytes.

    Args:
        corpus: The corpus folder.
        path: The list's path in it.
        schema: The list's Arrow schema.
        rows: The rows of the list; they are not all held at once.

    Returns:
        What the head says of it.
    """
    where, rest = files.join(corpus, path), iter(rows)
    with files.open_atomic(where) as out, files.TableSink(out, schema) as sink:
        while part := [row.model_dump() for row in islice(rest, ROWS_A_GROUP)]:
            sink.write(pa.Table.from_pylist(part, schema))
        sink.close()
    return ListFile(path=path, rows=sink.rows, sha256=files.sha256(where))
