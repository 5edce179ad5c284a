"""A reader of lists that are one JSON object with an array a column, as SBU's captions are."""

import io
import itertools
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from septet.preprocess.json_members import JsonError, members_of
from septet.preprocess.lists.lines import ListError, Row, open_text
from septet.preprocess.text.json_depth import NestingError, parse_json

_BEGIN = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:[^"\\]|\\.){0,200}"\s*:\s*\[')
_LINE_BYTES = 2**21
"""A first line that is longer is taken for columns."""


def is_columns(file: BinaryIO, kind: str) -> bool:
    """Whether a `.json` file is such a list, and not an object a line: its first line is no whole
    object, or one of arrays of the same length that nothing follows."""
    if kind != "json" or not _BEGIN.match(open_text(file).peek(4096)):
        return False
    text = open_text(file)
    try:
        first = parse_json(text.readline(_LINE_BYTES).decode("utf-8-sig"))
    except ValueError:
        return True
    if text.read(4096).strip() or not isinstance(first, dict):
        return False
    lengths = {len(one) if isinstance(one, list) else None for one in first.values()}
    return len(lengths) == 1 and None not in lengths


def column_names(file: BinaryIO) -> list[str]:
    """Read the names of the columns: the members that are arrays. Reads the whole file.

    Raises:
        ListError: it cannot be read.
    """
    try:
        found = members_of(open_text(file), "it")
        return [str(name) for name, value in found if isinstance(value, Iterator)]
    except (JsonError, OSError) as error:
        raise ListError(f"cannot be read: {error}") from error


def read_rows(file: BinaryIO, columns: list[str]) -> Iterator[Row]:
    """Read the rows, each column from a place of its own in the file, so that none is held.

    Raises:
        ListError: a column is not there, one is longer than another, or the file cannot be read
            on.
    """
    cells = [_cells(file, column) for column in columns]
    ended = object()
    number = 0
    try:
        for number, values in enumerate(itertools.zip_longest(*cells, fillvalue=ended), 1):
            if ended in values:
                short = columns[values.index(ended)]
                raise ListError(f"column {short!r} ends before another one, at row {number}")
            wrong = next((one for one in values if isinstance(one, NestingError)), None)
            row = {} if wrong else dict(zip(columns, values, strict=True))
            yield Row(number, row, f"row {number}: {wrong}" if wrong else None)
    except (JsonError, OSError) as error:
        raise ListError(f"cannot be read behind row {number}: {error}") from error


def _cells(file: BinaryIO, column: str) -> Iterator[Any]:
    for name, value in members_of(open_text(cast(BinaryIO, _Place(file))), "it"):
        if name == column and isinstance(value, Iterator):
            yield from value
            return
    raise ListError(f"has no column {column!r}")


class _Place(io.RawIOBase):
    """A file with a place of its own in another one, which several share."""

    def __init__(self, file: BinaryIO):
        self._file, self._at = file, 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it has a place: yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place; returns it."""
        self._file.seek(self._at)
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill some of the buffer; 0 at the end."""
        self._file.seek(self._at)
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
