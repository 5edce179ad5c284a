"""A reader of rows of Parquet files, with their values as they are typed."""

from collections.abc import Iterator
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


def read_rows(
    file: BinaryIO, columns: list[str], start: int = 0, stop: int | None = None
) -> Iterator[Row]:
    """Read the rows [start, stop) of a file, with their numbers in it, from 1. Those of a damaged
    row group that cannot be read are lost rows; reading goes on with the next group.

    Raises:
        ListError: no Parquet file, or a column is not there.
    """
    parquet = _open(file)
    find_columns(list(parquet.schema_arrow.names), columns)
    footer = parquet.metadata
    stop = footer.num_rows if stop is None else stop
    end = 0
    for group in range(footer.num_row_groups):
        at, end = end, end + footer.row_group(group).num_rows
        if end <= start or at >= stop:
            continue
        number = max(start, at)
        try:
            rows = _batch_rows(footer.row_group(group), columns)
            for batch in parquet.iter_batches(rows, [group], columns):
                wanted = batch.slice(max(0, start - at), max(0, stop - max(at, start)))
                cells = [_values(wanted.column(column)) for column in columns]
                for row in zip(*cells, strict=True):
                    number += 1
                    yield Row(number, dict(zip(columns, row, strict=True)))
                at += len(batch)
                if at >= stop:
                    break
        except (pa.ArrowException, OSError) as error:
            message = f"row group {group} cannot be read behind row {number}: {error}"
            lost = range(number + 1, min(stop, end) + 1)
            yield from (Row(number, {}, message, lost=True) for number in lost)


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
        for chunk in map(group.column, range(group.num_columns))
        if chunk.path_in_schema.split(".")[0] in columns
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
