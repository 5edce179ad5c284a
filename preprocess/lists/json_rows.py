"""A reader of rows of JSON: an object a line, or one array of objects.

Numbers that JSON does not have (NaN, Infinity) but Python writes are read as floats; what becomes
of them is decided where they are used.
"""

import codecs
import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from septet.preprocess.lists.lines import (
    MAX_ROW_BYTES,
    Lines,
    ListError,
    Row,
    RowError,
    open_text,
)
from septet.preprocess.text.json_depth import NestingError, parse_json

_ROWS_LOOKED_AT = 1000
_READ_BYTES = 2**20
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\[\]{},"]')


def is_array(file: BinaryIO, kind: str) -> bool:
    """Whether a `.json` file is one array; else it has an object a line."""
    return kind == "json" and open_text(file).peek(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"["


def column_names(file: BinaryIO, kind: str) -> list[str]:
    """Read the names in the first thousand rows, in the order in which they come.

    Raises:
        ListError: the list cannot be read.
    """
    names: dict[str, None] = {}
    for value, _, number in read_values(file, kind, 0, None):
        if isinstance(value, dict):
            names.update(dict.fromkeys(value))
        if number >= _ROWS_LOOKED_AT:
            break
    return list(names)


def read_rows(
    file: BinaryIO, kind: str, columns: list[str], start: int, stop: int | None
) -> Iterator[Row]:
    """Read the rows; a column that an object lacks is None.

    Raises:
        ListError: a column is not there, or the list cannot be read on.
    """
    word = "row" if is_array(file, kind) else "line"
    for value, error, number in read_values(file, kind, start, stop):
        if error is None and not isinstance(value, dict):
            error = f"expected a JSON object, found {type(value).__name__}"
        if error is not None:
            yield Row(number, {}, f"{word} {number}: {error}")
        else:
            yield Row(number, {column: value.get(column) for column in columns})


def read_values(
    file: BinaryIO, kind: str, start: int = 0, stop: int | None = None
) -> Iterator[tuple[Any, str | None, int]]:
    """Read each value, or what is wrong with it, with the number of its line or element.

    Raises:
        ListError: the list cannot be read on.
    """
    if is_array(file, kind):
        number = 0
        try:
            for value, error, number in _array(open_text(file)):
                yield value, error, number
        except OSError as cause:
            raise ListError(f"cannot be read behind row {number}: {cause}") from cause
        return
    lines = Lines(open_text(file, start, stop))
    while True:
        lines.row.clear()
        try:
            line = next(lines)
        except StopIteration:
            return
        except RowError as error:
            yield None, str(error), lines.number
            continue
        if line.strip():
            value, wrong = _parse(line)
            if wrong and lines.number == 1 and kind == "json" and line.lstrip()[:1] == "{":
                raise ListError(
                    "is one JSON object over many lines: expected an array of objects, or an "
                    "object a line"
                )
            yield value, wrong, lines.number


def _parse(text: str) -> tuple[Any, str | None]:
    try:
        if not text.isascii():
            text.encode()
        return parse_json(text), None
    except UnicodeEncodeError as error:
        return None, f"byte 0x{ord(text[error.start]) - 0xDC00:02x} is not UTF-8"
    except NestingError as error:
        return None, str(error)
    except ValueError as error:
        return None, f"not JSON: {error}"


def _array(text: io.BufferedReader) -> Iterator[tuple[Any, str | None, int]]:
    """Read the elements of an array piece by piece, cut at the commas between them."""
    buffer, begin, searched, depth, number = "", 0, 0, 0, 0
    for more in _pieces(text):
        if number and not depth:
            if more.strip():
                raise ListError(f"more follows behind the array of {number} rows")
            continue
        buffer = buffer[begin:] + more
        searched, begin = searched - begin, 0
        for token in _TOKEN.finditer(buffer, searched):
            sign = token[0]
            if sign == '"' and more and buffer.find("\n", token.end()) < 0:
                break  # a string that goes on behind the buffer; else one that is not closed
            searched = token.end()
            if sign in ("[", "{"):
                depth += 1
                if depth == 1:
                    begin = searched
            elif sign in ("]", "}", ","):
                element = buffer[begin : token.start()] if depth == 1 else ""
                if element.strip() or (depth == 1 and sign == ","):
                    number += 1
                    yield *_parse(element), number
                if depth == 1:
                    begin = searched
                depth -= sign != ","
                if not depth:
                    break
        if len(buffer) - begin > MAX_ROW_BYTES:
            raise ListError(f"row {number + 1} has more than {MAX_ROW_BYTES} characters")
    if depth:
        value, _ = _parse(buffer[begin:])
        if depth == 1 and isinstance(value, dict):  # whole, although nothing follows
            number += 1
            yield value, None, number
        raise ListError(f"the array is not closed behind row {number}: the file is cut short")


def _pieces(text: io.BufferedReader) -> Iterator[str]:
    """The text piece by piece; the last one is empty."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    while data := text.read1(_READ_BYTES):
        if piece := decoder.decode(data):
            yield piece
    yield decoder.decode(b"", True)
