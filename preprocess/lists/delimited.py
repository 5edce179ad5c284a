"""A reader of rows of CSV, TSV and text files.

CSV is read as RFC 4180 has it, with quotes and line ends within them; TSV has no quotes (a caption
may begin with one) unless it is said to; a text file has one cell a line. None guesses types. A
quote that is not closed costs its line: it is closed only where the row that comes out has as many
cells as there are columns, else reading goes on at the next line.
"""

import csv
from collections.abc import Iterator

from septet.preprocess.lists.lines import (
    MAX_ROW_BYTES,
    HeaderError,
    Lines,
    ListError,
    Row,
    RowError,
    find_columns,
)

_OPEN_QUOTE = "unexpected end of data"  # the csv module's words


def column_names(lines: Lines, kind: str) -> list[str]:
    """Read the names in the header.

    Raises:
        HeaderError: it cannot be read.
        ListError: there is none.
    """
    for cells, error in _cells(lines, kind, 0):
        if "\r" in lines.row[0].rstrip("\r\n"):
            raise ListError("its lines end in bare carriage returns: save it with line feeds")
        if error:
            raise HeaderError(f"its header (line {lines.number}) cannot be read: {error}")
        return cells
    raise ListError("has no header: expected a first line with the names of its columns")


def read_rows(lines: Lines, kind: str, names: list[str], columns: list[str]) -> Iterator[Row]:
    """Read the rows behind the header, if there is one.

    Args:
        lines: The lines behind the header.
        kind: csv, tsv, quoted tsv or txt.
        names: The names of all columns.
        columns: Those that are wanted.

    Raises:
        ListError: a column is not there, or the list cannot be read on.
    """
    wanted = list(zip(columns, find_columns(names, columns), strict=True))
    for cells, error in _cells(lines, kind, len(names)):
        number = lines.number - len(lines.row) + 1
        if not error and len(cells) != len(names):
            error = f"{len(cells)} columns, expected {len(names)}"
        values = {} if error else {column: cells[at] for column, at in wanted}
        for column, text in values.items():
            if not text.isascii() and (bad := _not_utf8(text)):
                error, values = f"{bad} in column {column!r} is not UTF-8", {}
                break
        yield Row(number, values, f"line {number}: {error}" if error else None)


def row_ends(lines: Lines) -> Iterator[int]:
    """Find the bytes behind the rows of CSV, as `read_rows` reads them, where another reader can
    begin.

    Raises:
        ListError: there is no header, or the list cannot be read on.
    """
    names = column_names(lines, "csv")
    for _ in _cells(lines, "csv", len(names)):
        if lines.place is not None:
            yield lines.place


def _cells(lines: Lines, kind: str, expected: int) -> Iterator[tuple[list[str], str | None]]:
    """The cells of each row that is not blank, or what is wrong with it; when a row is given,
    `lines.row` holds its lines."""
    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(lines, delimiter="," if kind == "csv" else "\t", strict=True)
    while True:
        lines.row.clear()
        error: str | None = None
        cells: list[str] = []
        try:
            if kind in ("tsv", "txt"):
                line = next(lines).rstrip("\r\n")
                cells = ([line] if kind == "txt" else line.split("\t")) if line else []
            else:
                cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, RowError) as wrong:
            error = str(wrong)
        is_odd = error is not None or (expected and len(cells) != expected)
        if error == _OPEN_QUOTE or (is_odd and len(lines.row) > 1):
            error = "a quote that is not closed"
            lines.back()
            del lines.row[1:]
        if cells or error:
            yield cells, error


def _not_utf8(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"byte 0x{ord(text[error.start]) - 0xDC00:02x}"
    return None
