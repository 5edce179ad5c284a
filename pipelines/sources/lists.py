"""Lists of images with captions: Parquet, CSV, TSV and JSON lines, read in batches."""

import gzip
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

BATCH_ROWS = 8192


class ListError(ValueError):
    """A list file that cannot be read at all, with what to do about it."""


def read_list(path: str, columns: list[str]) -> Iterator[list[dict[str, Any] | str]]:
    """Rows of a list file, some thousand at a time.

    Args:
        path: `.parquet`, `.csv`, `.tsv`, `.jsonl` or `.ndjson`; all but Parquet also `.gz`.
        columns: The columns wanted.

    Yields:
        Lists of rows; a row that cannot be read is its error text.

    Raises:
        ListError: an unknown kind of file, or a column that it does not have.
    """
    name = path.lower().removesuffix(".gz")
    with fsspec.open(path, "rb") as raw:
        zipped = path.lower().endswith(".gz")
        file: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
        if name.endswith(".parquet"):
            yield from _parquet(path, raw, columns)
        elif name.endswith((".csv", ".tsv")):
            yield from _delimited(path, file, columns, "\t" if name.endswith(".tsv") else ",")
        elif name.endswith((".jsonl", ".ndjson")):
            yield from _json_lines(file, columns)
        else:
            raise ListError(f"{path}: lists are .parquet, .csv, .tsv, .jsonl or .ndjson files")


def _check(path: str, have: list[str], columns: list[str]) -> None:
    missing = [column for column in columns if column not in have]
    if missing:
        raise ListError(
            f"{path} has no column {missing[0]!r}; it has {', '.join(have)}. Set url_col, "
            "caption_col, language_col or extra_cols of the source"
        )


def _parquet(path: str, file: BinaryIO, columns: list[str]) -> Iterator[list[Any]]:
    try:
        parquet = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise ListError(f"{path}: not a Parquet file: {error}") from error
    _check(path, parquet.schema_arrow.names, columns)
    for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
        yield batch.to_pylist()


def _delimited(path: str, file: BinaryIO, columns: list[str], sign: str) -> Iterator[list[Any]]:
    broken: list[Any] = []

    def keep(row: Any) -> str:
        broken.append(f"{row.actual_columns} columns, expected {row.expected_columns}")
        return "skip"

    try:
        reader = pacsv.open_csv(
            file,
            parse_options=pacsv.ParseOptions(
                delimiter=sign, newlines_in_values=True, invalid_row_handler=keep
            ),
            convert_options=pacsv.ConvertOptions(
                column_types={column: pa.string() for column in columns}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise ListError(f"{path}: {error}") from error
    _check(path, reader.schema.names, columns)
    for batch in reader:
        yield [*batch.select(columns).to_pylist(), *broken]
        broken.clear()
    if broken:
        yield broken


def _json_lines(file: BinaryIO, columns: list[str]) -> Iterator[list[Any]]:
    rows: list[Any] = []
    for line in file:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append(
                {column: row.get(column) for column in columns}
                if isinstance(row, dict)
                else f"expected a JSON object, found {type(row).__name__}"
            )
        except ValueError as error:
            rows.append(f"not JSON: {error}")
        if len(rows) == BATCH_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows
