"""A reader of rows of Parquet files, with their values as they are typed."""

import bisect
import itertools
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from septet.preprocess.lists.lines import ListError, Row, find_columns

_BATCH_ROWS = 8192
_BATCH_BYTES = 64 * 2**20
_READ_BYTES = 2**20


def column_names(file: BinaryIO) -> list[str]:
    """Read the names of the columns.

    Raises:
        ListError: no Parquet file.
    """
    return list(_open(file).schema_arrow.names)


@dataclass(frozen=True, slots=True)
class Cell:
    """The place of an image's bytes in a Parquet file: where a chunk of its column starts, and the
    row within that. Where the row has no bytes both are None. `path` is the path that stands beside
    the bytes."""

    chunk: int | None
    row: int | None
    path: Any = None


class ImageColumn:
    """A column of images of a Parquet file: of bytes, or of structs of `bytes` and `path`.

    Attributes:
        column: Its name.
        leaves: What is to be read of it: the path, but the bytes as well only where the footer does
            not tell whether they are there.

    Raises:
        ListError: no Parquet file, or a column of another type.
    """

    def __init__(self, file: BinaryIO, column: str):
        parquet = _open(file)
        kind = parquet.schema_arrow.field(column).type
        fields = {one.name: one.type for one in kind.fields} if pa.types.is_struct(kind) else {}
        data = fields.get("bytes", kind)
        if not (pa.types.is_binary(data) or pa.types.is_large_binary(data)):
            raise ListError(
                f"column {column!r} is {kind}: expected bytes, or structs of bytes and path"
            )
        leaf = f"{column}.bytes" if fields else column
        self.column = column
        self._rows, self._chunks = [0], []
        nulls = []
        for group in _groups(parquet):
            self._rows.append(self._rows[-1] + group.num_rows)
            (chunk,) = (one for one in _chunks(group) if one.path_in_schema == leaf)
            self._chunks.append(_start(chunk))
            told = chunk.statistics
            share = told.null_count / max(group.num_rows, 1) if _has_nulls(told) else None
            nulls.append(share)
        self._there = [share == 0 for share in nulls]
        self._is_told = {*nulls} <= {0, 1}
        self.leaves = [f"{column}.path"] if "path" in fields else []
        if not self._is_told:
            self.leaves = [column]

    def cell(self, number: int, value: Any) -> Cell:
        """The image of a row.

        Args:
            number: The row's number in the file, from 0.
            value: What was read of it in `leaves`; None where nothing was.
        """
        group = bisect.bisect_right(self._rows, number) - 1
        fields = value if isinstance(value, dict) else {"bytes": value}
        there = self._there[group] if self._is_told else fields.get("bytes") is not None
        if not there:
            return Cell(None, None, fields.get("path"))
        return Cell(self._chunks[group], number - self._rows[group], fields.get("path"))


def read_rows(
    file: BinaryIO,
    columns: list[str],
    start: int = 0,
    stop: int | None = None,
    images: ImageColumn | None = None,
) -> Iterator[Row]:
    """Read the rows [start, stop) of a file, with their numbers in it, from 1. Those of a damaged
    row group that cannot be read are lost rows; reading goes on with the next group.

    Args:
        file: The file.
        columns: The columns wanted.
        start: The first row, from 0.
        stop: The row behind the last one; None for the end.
        images: The column of `columns` whose values are to be `Cell`s.

    Raises:
        ListError: no Parquet file, or a column is not there.
    """
    parquet = _open(file)
    find_columns(list(parquet.schema_arrow.names), columns)
    footer = parquet.metadata
    plain = [name for name in columns if images is None or name != images.column]
    leaves, read = plain, plain
    if images is not None and images.leaves:
        leaves, read = [*plain, *images.leaves], [*plain, images.column]
    stop = footer.num_rows if stop is None else stop
    end = 0
    for group in range(footer.num_row_groups):
        at, end = end, end + footer.row_group(group).num_rows
        if end <= start or at >= stop:
            continue
        number = max(start, at)
        try:
            rows = _batch_rows(footer.row_group(group), leaves)
            for batch in parquet.iter_batches(rows, [group], leaves):
                wanted = batch.slice(max(0, start - at), max(0, stop - max(at, start)))
                cells = [_values(wanted.column(name)) for name in read]
                for row in zip(*cells, strict=True) if read else [()] * len(wanted):
                    values = dict(zip(read, row, strict=True))
                    if images is not None:
                        values[images.column] = images.cell(number, values.get(images.column))
                    number += 1
                    yield Row(number, values)
                at += len(batch)
                if at >= stop:
                    break
        except (pa.ArrowException, OSError) as error:
            message = f"row group {group} cannot be read behind row {number}: {error}"
            lost = range(number + 1, min(stop, end) + 1)
            yield from (Row(number, {}, message, lost=True) for number in lost)


def read_cells(
    file: BinaryIO, places: Iterable[tuple[int, int]]
) -> Iterator[tuple[bytes | None, str | None]]:
    """Read images at their places (`Cell.chunk`, `Cell.row`), which ascend; each as its bytes, or
    what is wrong.

    Raises:
        ListError: no Parquet file.
    """
    parquet = _open(file)
    places_of = {
        _start(chunk): (number, chunk.path_in_schema)
        for number, group in enumerate(_groups(parquet))
        for chunk in _chunks(group)
    }
    for start, mine in itertools.groupby(places, operator.itemgetter(0)):
        rows = [row for _, row in mine]
        given = 0
        try:
            if start not in places_of:
                raise pa.ArrowInvalid(f"no column starts at byte {start}")
            group, leaf = places_of[start]
            for data in _cells_of(parquet, group, leaf, rows):
                given += 1
                yield data, None if data is not None else "the row has no bytes"
        except (pa.ArrowException, OSError) as error:
            for _ in rows[given:]:
                yield None, str(error)
        else:
            for _ in rows[given:]:
                yield None, "there is no such row"


def _cells_of(
    parquet: pq.ParquetFile, group: int, leaf: str, rows: list[int]
) -> Iterator[bytes | None]:
    """The bytes of some rows of a row group; page by page, and no further than is needed."""
    at, waiting = 0, iter(rows)
    row = next(waiting, None)
    batch_rows = _batch_rows(parquet.metadata.row_group(group), [leaf])
    for batch in parquet.iter_batches(batch_rows, [group], [leaf]):
        array = batch.column(0)
        while pa.types.is_struct(array.type):
            array = array.flatten()[0]
        while row is not None and row < at + len(array):
            yield array[row - at].as_py()
            row = next(waiting, None)
        if row is None:
            return
        at += len(array)


def _groups(parquet: pq.ParquetFile) -> Iterator[pq.RowGroupMetaData]:
    footer = parquet.metadata
    return map(footer.row_group, range(footer.num_row_groups))


def _chunks(group: pq.RowGroupMetaData) -> Iterator[pq.ColumnChunkMetaData]:
    return map(group.column, range(group.num_columns))


def _has_nulls(statistics: pq.Statistics | None) -> bool:
    return statistics is not None and statistics.has_null_count


def _start(chunk: pq.ColumnChunkMetaData) -> int:
    """Where a chunk of a column starts in its file."""
    data, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset
    return int(data if dictionary is None else min(dictionary, data))


def _open(file: BinaryIO) -> pq.ParquetFile:
    try:
        # Page by page: a row group may be larger than memory.
        return pq.ParquetFile(file, buffer_size=_READ_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise ListError(f"is no whole Parquet file: {error}") from error


def _batch_rows(group: pq.RowGroupMetaData, columns: list[str]) -> int:
    """The number of rows to read at once, so that they take about `_BATCH_BYTES`."""
    size = sum(
        chunk.total_uncompressed_size
        for chunk in _chunks(group)
        if chunk.path_in_schema.split(".")[0] in columns or chunk.path_in_schema in columns
    )
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * group.num_rows // max(size, 1)))


def _values(array: pa.Array) -> list[Any]:
    """A column's values in Python: text that is not UTF-8 stays bytes, times that Python cannot
    hold become text."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_temporal(array.type) and getattr(array.type, "unit", "") == "ns":
        return list(array.cast(pa.string()).to_pylist())
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            return [_text(cell) for cell in array.cast(pa.large_binary()).to_pylist()]
        return [_cell(cell) for cell in array]
    except (ValueError, OverflowError):
        return [_cell(cell) for cell in array]


def _text(data: bytes | None) -> str | bytes | None:
    try:
        return data.decode() if data is not None else None
    except UnicodeDecodeError:
        return data


def _cell(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return str(scalar.cast(pa.string()).as_py())
