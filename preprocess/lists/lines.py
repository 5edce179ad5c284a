"""A reader of lines of a text file, plain or compressed, with their numbers and within limits."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from septet.preprocess.members import (
    DAMAGE,
    GZIP_MAGIC,
    ZSTD_MAGIC,
    GzipMember,
    Member,
    ZstdFrame,
)

MAX_ROW_BYTES = 16 * 2**20
"""A longer row is rejected, and not held in memory."""
_READ_BYTES = 2**16


class ListError(ValueError):
    """Raised when a list cannot be read, or not be read on; says where, and what to do."""


class HeaderError(ListError):
    """Raised when the first row, where a header would stand, cannot be read."""


class UnpackError(OSError):
    """Raised when a compressed file is damaged or cut short."""


class RowError(ValueError):
    """Raised when one row cannot be read; reading goes on behind it."""


def is_compressed(file: BinaryIO) -> bool:
    """Whether a file is gzip or zstd, by its first bytes; its name is not asked."""
    file.seek(0)
    head = file.read(4)
    return head.startswith(GZIP_MAGIC) or head == ZSTD_MAGIC


class Unpacked(io.RawIOBase):
    """The decoded bytes of a gzip or zstd file, through all members, as a file.

    Raises on reading:
        UnpackError: damage, or the file ends inside of a member.
    """

    def __init__(self, file: BinaryIO):
        file.seek(0)
        self._file = file
        self._raw = b""
        self._out = memoryview(b"")
        self._open: Member | None = None

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill some of the buffer; 0 at the end."""
        while not self._out:
            self._raw = self._raw or self._file.read(_READ_BYTES)
            if self._open is None:
                self._raw = self._raw.lstrip(b"\0") or self._file.read(_READ_BYTES).lstrip(b"\0")
                if not self._raw:
                    return 0
                self._open = GzipMember() if self._raw[:1] == GZIP_MAGIC[:1] else ZstdFrame()
            if not self._raw:
                raise UnpackError(f"the compressed file ends too early, at byte {self._at()}")
            try:
                out, self._raw = self._open.feed(self._raw)
            except DAMAGE as error:
                where = f"near byte {self._at()}"
                raise UnpackError(f"the compressed file is damaged {where} ({error})") from error
            self._out = memoryview(out)
            if self._open.eof:
                self._open = None
        size = min(len(buffer), len(self._out))
        buffer[:size] = self._out[:size]
        self._out = self._out[size:]
        return size

    def _at(self) -> int:
        return self._file.tell() - len(self._raw)


class FileRange(io.RawIOBase):
    """The bytes [start, stop) of a file as a file of its own, read from front to end."""

    def __init__(self, file: BinaryIO, start: int, stop: int):
        self._file, self._left = file, stop - start
        file.seek(start)

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill some of the buffer; 0 at the range's end."""
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def open_text(file: BinaryIO, start: int = 0, stop: int | None = None) -> io.BufferedReader:
    """Open a list's bytes from `start` to `stop`, decompressed if need be (then always all of
    them).

    Raises:
        ListError: the text is UTF-16 or UTF-32, as spreadsheets write "Unicode text".
    """
    raw: Any
    if is_compressed(file):
        raw = Unpacked(file)
    else:
        file.seek(0, io.SEEK_END)
        raw = FileRange(file, start, file.tell() if stop is None else stop)
    text = io.BufferedReader(raw, 2**18)
    if start == 0 and text.peek(4)[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ListError("the text is UTF-16: save it as UTF-8")
    return text


class Lines:
    """Lines of an open file, decoded, with their line ends; an iterator that knows its place.

    Bytes that are not UTF-8 become lone surrogates (`surrogateescape`): what nobody asks for may
    hold them.

    Attributes:
        number: Number of the line that was read last, from 1.
        row: The lines that were read since it was emptied last.

    Raises on reading:
        RowError: a line longer than `MAX_ROW_BYTES`, or more than that in `row`.
        ListError: the file cannot be read on.
    """

    def __init__(self, file: io.BufferedReader):
        self._file = file
        self._ahead: list[str] = []
        self._bytes = 0
        self._read_to = 0
        self.number = 0
        self.row: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self.row:
            self._bytes = 0
        line = self._ahead.pop() if self._ahead else self._read()
        self.number += 1
        self._bytes += len(line)
        self.row.append(line)
        if self._bytes > MAX_ROW_BYTES:
            raise RowError(f"a row of more than {MAX_ROW_BYTES} bytes")
        return line

    def _read(self) -> str:
        try:
            line = self._file.readline(MAX_ROW_BYTES + 1)
            rest = line
            while len(rest) > MAX_ROW_BYTES and not rest.endswith(b"\n"):
                self._read_to += len(rest)
                rest = self._file.readline(MAX_ROW_BYTES + 1)
        except OSError as error:
            raise ListError(f"cannot be read behind line {self.number}: {error}") from error
        if not line:
            raise StopIteration
        self._read_to += len(rest)
        if self.number == 0:
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line.decode("utf-8", "surrogateescape")

    @property
    def place(self) -> int | None:
        """The byte behind the line that was read last; None while lines are read again."""
        return None if self._ahead else self._read_to

    def back(self) -> None:
        """Put all lines of `row` but the first back, to be read again."""
        self._ahead += reversed(self.row[1:])
        self.number -= len(self.row) - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a list: its values by column, or what is wrong with it.

    `number` is that of its first line (from 1; of a part, counted from the part's start), or that
    of the row in Parquet and in a JSON array (from 1). `lost` is a row that was not read because
    the file is damaged where it lies.
    """

    number: int
    values: dict[str, Any]
    error: str | None = None
    lost: bool = False


def find_columns(names: list[str], columns: list[str]) -> list[int]:
    """Find the places of the columns wanted.

    Raises:
        ListError: one is not there, or there twice.
    """
    for column in columns:
        if (times := names.count(column)) != 1:
            raise ListError(
                f"has no column {column!r}; it has {', '.join(names)}" if not times
                else f"has {times} columns {column!r}: rename one of them"
            )  # fmt: skip
    return [names.index(column) for column in columns]
