"""A reader of big JSON files, member by member: it holds no more than the largest of them."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from septet.preprocess import files
from septet.preprocess.text.json_depth import MAX_DEPTH, NestingError, check_depth

_READ_BYTES = 2**20
MOST_CHARACTERS = 2**28
"""The greatest length of a member; those of published sets have a few thousand."""
_BEHIND = {*" \t\n\r,:]}"}
_SPACE = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


class JsonError(ValueError):
    """Raised when a file is no JSON; says where."""


def members(path: str) -> Iterator[tuple[str | None, Any]]:
    """The members of the file's outermost object, each with its name; one that is an array is an
    iterator over its elements. An outermost array is one such iterator without a name, and any
    other value stands alone without one.

    What of an iterator is not taken when the next member is asked for is passed over. In place of a
    member or an element that nests more than `MAX_DEPTH` deep stands a `NestingError`.

    Raises:
        OSError: the file cannot be read.
        JsonError: it is no JSON in UTF-8, or has more than `MOST_CHARACTERS` in one member; when
            the fault is come to.
    """
    with files.open_read(path) as file:
        yield from members_of(file, path)


def members_of(file: BinaryIO, path: str) -> Iterator[tuple[str | None, Any]]:
    """The same of an open file, from where it stands; `path` is its name in errors."""
    text = _Text(file, path)
    if text.peek() == "{":
        for _ in text.items("}"):
            if text.peek() != '"':
                raise text.fault("expected a name")
            name = text.value()
            text.take(":")
            yield from text.member(name)
    else:
        yield from text.member(None)
    if text.peek():
        raise text.fault("more follows behind its end")


def _integer(text: str) -> int | float:
    """An integer; infinity where it has more digits than Python reads (4300), as of floats that are
    too large. So it costs the row that it stands in, and not the file."""
    try:
        return int(text)
    except ValueError:
        return float(text)


class _Text:
    """A file's text, of which no more is held than what is being read."""

    def __init__(self, file: BinaryIO, path: str):
        self._file, self._path = file, path
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._read = json.JSONDecoder().raw_decode
        self._buffer, self._at, self._before, self._ended = "", 0, 0, False

    def fault(self, what: str, at: int | None = None) -> JsonError:
        """The error of what is wrong, at a place in the buffer, by default the present one."""
        place = self._before + (self._at if at is None else at)
        return JsonError(f"{self._path}: no JSON ({what} at character {place})")

    def _more(self) -> bool:
        """Read on, twice as far each time that a value is still not whole; False at the end."""
        if self._ended:
            return False
        kept = self._buffer[self._at :]
        if len(kept) > MOST_CHARACTERS:
            raise self.fault(f"a member of more than {MOST_CHARACTERS} characters")
        self._before += self._at
        data = self._file.read(max(_READ_BYTES, len(kept)))
        self._ended = not data
        try:
            self._buffer, self._at = kept + self._decoder.decode(data, self._ended), 0
        except UnicodeDecodeError as error:
            raise self.fault("not UTF-8") from error
        return True

    def peek(self) -> str:
        """The next sign that is no space; empty at the end."""
        while True:
            found = _SPACE.match(self._buffer, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def take(self, sign: str) -> None:
        """Read a sign that must come."""
        found = self.peek()
        if found != sign:
            raise self.fault(f"expected {sign!r}, found {found!r}")
        self._at += 1

    def value(self) -> Any:
        """Read a value."""
        self.peek()
        while True:
            try:
                value, end = self._read(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise self.fault(error.msg, error.pos) from error
                continue
            except RecursionError:
                return self._nested_too_deeply()
            except ValueError:  # an integer of more digits than Python reads
                self._read = json.JSONDecoder(parse_int=_integer).raw_decode
                continue
            # What no sign of these follows may be the beginning of a number.
            if self._buffer[end : end + 1] in _BEHIND or not self._more():
                begin, self._at = self._at, end
                return self._if_flat(value, begin)

    def _if_flat(self, value: Any, begin: int) -> Any:
        """The value that was read from a place on, unless it nests too deeply."""
        opened = (self._buffer.count(sign, begin, self._at) for sign in "[{")
        if sum(opened) > MAX_DEPTH:
            text = self._buffer[begin : self._at]
            try:
                check_depth(text.encode("utf-8", "surrogatepass"))
            except NestingError as error:
                return error
        return value

    def _nested_too_deeply(self) -> NestingError:
        """Come behind a value that nests deeper than Python's parser can, by its brackets."""
        while True:
            depth = 0
            for token in _TOKEN.finditer(self._buffer, self._at):
                depth += (token[0] in "[{") - (token[0] in "]}")
                if not depth:
                    self._at = token.end()
                    return NestingError()
            if not self._more():
                raise self.fault("a value that is not closed")

    def items(self, end: str) -> Iterator[None]:
        """Come to each item of an object or array, which the caller then reads, and behind it."""
        self._at += 1
        if self.peek() == end:
            self._at += 1
            return
        while True:
            yield
            if self.peek() == end:
                self._at += 1
                return
            self.take(",")

    def member(self, name: str | None) -> Iterator[tuple[str | None, Any]]:
        """Give a member, an array as an iterator, and come behind it."""
        if self.peek() != "[":
            yield name, self.value()
            return
        elements = (self.value() for _ in self.items("]"))
        yield name, elements
        for _ in elements:
            pass
