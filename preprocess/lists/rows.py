"""A reader of rows of list files, with one interface to all kinds of lists.

Every row is given, those that cannot be read with what is wrong with them; so rows in are rows out.
"""

import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Literal

from septet.preprocess.lists import delimited, json_columns, json_rows, parquet
from septet.preprocess.lists.lines import Lines, ListError, Row, is_compressed, open_text

Kind = Literal["parquet", "csv", "tsv", "quoted tsv", "txt", "jsonl", "json"]
_SUFFIXES: dict[str, Kind] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
}  # fmt: skip
_COMPRESSED = (".gz", ".zst")
_DELIMITED = ("csv", "tsv", "quoted tsv", "txt")
TXT_COLUMNS = ["url"]
"""The columns of a text file, where the recipe does not name its one column."""


def kind_of(name: str) -> Kind:
    """The kind of a list, by its file's name.

    Raises:
        ListError: another kind of file.
    """
    plain = name.lower()
    for suffix in _COMPRESSED:
        plain = plain.removesuffix(suffix)
    for suffix, kind in _SUFFIXES.items():
        if plain.endswith(suffix):
            return kind
    raise ListError(
        "lists are .parquet, .csv, .tsv, .txt, .jsonl, .ndjson or .json files (text also .gz or "
        ".zst)"
    )


def is_whole(file: BinaryIO, kind: Kind) -> bool:
    """Whether a list can only be read from its start to its end: compressed text, JSON arrays and
    objects of arrays. Others can be read by row (Parquet) or by bytes that end at line ends."""
    return kind != "parquet" and (
        is_compressed(file) or json_rows.is_array(file, kind) or json_columns.is_columns(file, kind)
    )


def column_names(file: BinaryIO, kind: Kind) -> list[str]:
    """Read the names of a list's columns: of its header, or of the first rows of JSON.

    Raises:
        HeaderError: the first row of CSV or TSV cannot be read.
        ListError: no such list, or an empty one.
    """
    file.seek(0, io.SEEK_END)
    if not file.tell():
        raise ListError("is empty (0 bytes): fetch or write it again")
    if kind == "parquet":
        return parquet.column_names(file)
    if kind == "txt":
        open_text(file)  # may say what is wrong with it
        return TXT_COLUMNS
    if kind in _DELIMITED:
        return delimited.column_names(Lines(open_text(file)), kind)
    if json_columns.is_columns(file, kind):
        return json_columns.column_names(file)
    return json_rows.column_names(file, kind)


def read_rows(
    file: BinaryIO,
    kind: Kind,
    columns: list[str],
    start: int = 0,
    stop: int | None = None,
    names: Sequence[str] | None = None,
    images: str | None = None,
) -> Iterator[Row]:
    """Read the rows of a list, or of a part of it.

    Args:
        file: Open for reading and seekable.
        kind: As `kind_of` has it.
        columns: The columns wanted; no other is decoded.
        start: First row of Parquet, from 0, else the byte at which a line starts.
        stop: Row behind the last one, or byte behind the last line; None for the end.
        names: The names of all columns of CSV, TSV or text without a header.
        images: The column of Parquet among `columns` that holds images; its values are
            `parquet.Cell`s.

    Yields:
        Rows with their values by column, as typed in the file (text in CSV and TSV).

    Raises:
        ListError: the list cannot be read, or not be read on, which comes after its rows so far.
    """
    if kind == "parquet":
        column = None if images is None else parquet.ImageColumn(file, images)
        yield from parquet.read_rows(file, columns, start, stop, column)
        return
    if kind in _DELIMITED:
        has_header = names is None and kind != "txt"
        known = column_names(file, kind) if names is None else list(names)
        lines = Lines(open_text(file, start, stop))
        if has_header and start == 0:
            delimited.column_names(lines, kind)
        yield from delimited.read_rows(lines, kind, known, columns)
        return
    if json_columns.is_columns(file, kind):
        yield from json_columns.read_rows(file, columns)
    else:
        yield from json_rows.read_rows(file, kind, columns, start, stop)
