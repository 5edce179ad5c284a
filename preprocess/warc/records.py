"""A reader of the records of a WARC file, one after another, also behind damage.

A record that cannot be read costs itself: the walk goes on at the next place where a record
starts, and what lies between is told as `Damage`. Header names count in any case, lines may end
in a bare line feed, and the version may be any.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, NamedTuple

from septet.preprocess.warc.stream import RECORD_START, Archive, MemberError, Stream

MAX_BLOCK_BYTES = 64 * 2**20
"""Larger blocks are passed over unread: a block is held in memory once."""
_MAX_HEAD_BYTES = 2**20
_MAX_SKIPPED_BYTES = 2**34
"""A compressed record that claims more is not decoded to find its end."""
_MAX_BLANK_BYTES = 2**16
_LOOK_AHEAD_FROM = 2**16
_BLANK = b"\r\n\t \0"
_BLANK_LINES = re.compile(rb"\r\n\r\n|\n\n")
_CLOSE = b"\r\n\r\n"
_BLANKS = re.compile(rb"[\r\n\t \0]*")
_HEAD_END = re.compile(rb"\n\r?\n")
_KEPT_IN_SEARCH = 64


class UnusableArchiveError(ValueError):
    """Raised when a file is no WARC at all; the message says what it seems to be and what to do."""


class Record(NamedTuple):
    """A whole record of a WARC file.

    Attributes:
        offset: Its place in the file, to read it again; None inside of a compressed member.
        length: Bytes that it takes in the file from there; None if that is not known.
        headers: The headers by lower-case name; the last of a repeated one.
        block: Its content; None if larger than asked for.
        size: Bytes of the block.
    """

    offset: int | None
    length: int | None
    headers: dict[str, str]
    block: bytes | None
    size: int

    @property
    def kind(self) -> str:
        """`response`, `resource`, `revisit`, …, in lower case."""
        return self.headers.get("warc-type", "").lower()

    @property
    def url(self) -> str:
        """The target URI without the angle brackets that some writers add; may be empty."""
        return self.headers.get("warc-target-uri", "").strip("<> ")


@dataclass(frozen=True)
class Damage:
    """A range of bytes of the file that gave no record.

    Attributes:
        offset, length: Which bytes of the file.
        is_cut: Whether the file, or the record, ends too early.
        message: A sentence about what is wrong.
        url: The record's target URI where its header could be read.
    """

    offset: int
    length: int
    is_cut: bool
    message: str
    url: str | None = None

    def __str__(self) -> str:
        return f"{self.message}; {self.length} bytes at offset {self.offset} were not read"


class _BadRecord(Exception):
    """Raised when a record is wrong as such, in a member that can be decoded.

    Attributes:
        is_next_here: Whether the stream already stands at the start of the next record.
        restart: Offset in a plain file from which the next one is to be searched.
    """

    def __init__(self, message: str, is_cut: bool = False, is_next_here: bool = False):
        super().__init__(message)
        self.message, self.is_cut, self.is_next_here = message, is_cut, is_next_here
        self.restart: int | None = None
        self.url: str | None = None


def read_records(
    file: BinaryIO,
    begin: int = 0,
    end: int | None = None,
    max_block: int = MAX_BLOCK_BYTES,
) -> Iterator[Record | Damage]:
    """Read the records that start in a range of the file's bytes, and the damage among them.

    The ranges of a file that is cut anywhere give each record once. A file that is compressed as
    a whole belongs to the range that holds its start.

    Args:
        file: Open for reading and seekable.
        begin: First byte of the range.
        end: Behind its last byte; None for the file's end.
        max_block: Blocks of more bytes are passed over.

    Raises:
        UnusableArchiveError: a file, read from its start, in which there is no record at all.
    """
    try:
        archive = Archive(file)
        start = archive.find_start(begin, end) if begin else 0
    except MemberError as error:
        raise UnusableArchiveError(f"is no WARC file: {error}") from error
    damage: Damage | None = None
    found = 0
    while start is not None and (end is None or start < end):
        stream: Stream | None = Stream(archive, start)
        assert stream is not None
        start = None
        while stream is not None:
            if (record := _next_member(stream, max_block)) is not None:
                at = stream.member
                if damage is not None:
                    yield replace(damage, length=at - damage.offset)
                    damage = None
                if end is not None and at >= end:
                    return
                yield record
                found += 1
                continue
            address: int | None = None
            at = stream.member
            try:
                if not _skip_blank(stream):
                    break
                address = stream.address()
                at = stream.member if address is None else address
                if damage is not None:
                    yield replace(damage, length=at - damage.offset)
                    damage = None
                if end is not None and address is not None and address >= end:
                    return
                yield _read_record(archive, stream, address, max_block)
                found += 1
            except MemberError as error:
                lost = at if address is not None else error.offset
                damage = damage or Damage(lost, 0, error.is_cut, _plain_words(archive, error))
                start = archive.find_start(error.offset + 1)
                stream = None
            except _BadRecord as error:
                damage = damage or Damage(at, 0, error.is_cut, error.message, error.url)
                if error.restart is not None:
                    stream = Stream(archive, error.restart)
                    stream.open_next()
                try:
                    if not error.is_next_here and not _find_next(stream):
                        break
                except MemberError as broken:
                    start = archive.find_start(broken.offset + 1)
                    stream = None
    if damage is not None:
        yield replace(damage, length=(archive.size if start is None else start) - damage.offset)
    if not found and begin == 0 and (end is None or end >= archive.size):
        raise UnusableArchiveError(_what_it_is(archive))


def read_record(file: BinaryIO, offset: int, max_block: int = MAX_BLOCK_BYTES) -> Record | Damage:
    """Read the record at `offset`, as `Record.offset` has it."""
    archive = Archive(file)
    stream = Stream(archive, offset)
    stream.open_next()
    try:
        if _skip_blank(stream):
            return _read_record(archive, stream, offset, max_block)
        return Damage(offset, 0, True, "no record here")
    except MemberError as error:
        return Damage(offset, 0, error.is_cut, _plain_words(archive, error))
    except _BadRecord as error:
        return Damage(offset, 0, error.is_cut, error.message, error.url)


def _skip_blank(stream: Stream) -> bool:
    """Go to the next byte that is no blank; False if there is none."""
    while True:
        stream.take(_blanks(stream.buffer))
        if stream.buffer:
            return True
        if not stream.fill() and not stream.open_next():
            return False


def _blanks(buffer: bytearray) -> int:
    """The number of blanks at the start of a buffer."""
    blanks = _BLANKS.match(buffer)
    return blanks.end() if blanks else 0


def _more(stream: Stream) -> bool:
    """Decode more of a record that is not complete; False at the end of the file.

    Raises:
        _BadRecord: the next member begins another record.
    """
    if stream.fill():
        return True
    have = len(stream.buffer)
    while len(stream.buffer) < have + _KEPT_IN_SEARCH:
        if stream.fill():
            continue
        if len(stream.buffer) > have or not stream.open_next():
            break
    if len(stream.buffer) == have:
        return False
    if RECORD_START.match(stream.buffer, have) and stream.is_start(have):
        stream.take(have)
        raise _BadRecord("the record is cut short", is_cut=True, is_next_here=True)
    return True


def _read_record(archive: Archive, stream: Stream, address: int | None, max_block: int) -> Record:
    if (whole := _read_member(archive, stream, address, max_block)) is not None:
        return whole
    headers: dict[str, str] = {}
    body_at: int | None = None
    try:
        head = _read_head(stream)
        headers = _parse_head(head)
        if archive.codec == "plain" and address is not None:
            body_at = address + len(head)
        size = _length(headers)
        if body_at is not None and size >= min(_LOOK_AHEAD_FROM, archive.size - body_at):
            _look_ahead(archive, body_at, size)
        elif size > _MAX_SKIPPED_BYTES:
            raise _BadRecord(f"a record of {size} bytes is not believed")
        block = _read_block(stream, size, max_block)
        _check_end(stream)
    except _BadRecord as error:
        error.url = headers.get("warc-target-uri", "").strip("<> ") or None
        if body_at is not None:
            error.restart, error.is_next_here = body_at, False
        raise
    length = None
    if address is not None:
        if archive.codec == "plain":
            length = (stream.address() or archive.size) - address
        elif stream.is_between:
            length = stream.end - address
    return Record(address, length, headers, block, size)


def _next_member(stream: Stream, max_block: int) -> Record | None:
    """The record that all of the next member is, as most are; None for others, with nothing
    taken."""
    peeked = stream.peek()
    if peeked is None:
        return None
    content, size = peeked
    record = _whole_record(content, stream.end, size, max_block)
    if record is not None:
        stream.skip(size)
    return record


def _read_member(
    archive: Archive, stream: Stream, address: int | None, max_block: int
) -> Record | None:
    """The same of the member that was decoded last."""
    if address is None or archive.codec == "plain" or not stream.is_decoded:
        return None
    record = _whole_record(stream.buffer, address, stream.end - address, max_block)
    if record is not None:
        stream.take(len(stream.buffer))
    return record


def _whole_record(data: bytearray, offset: int, length: int, max_block: int) -> Record | None:
    """The record that `data` is, and no more; None for others."""
    head_end = _HEAD_END.search(data)
    if head_end is None or not RECORD_START.match(data):
        return None
    start = head_end.end()
    headers = _parse_head(bytes(data[:start]))
    said = headers.get("content-length", "")
    if not said.isascii() or not said.isdigit() or len(said) > 18:
        return None
    size = int(said)
    if size > max_block or len(data) != start + size + len(_CLOSE) or not data.endswith(_CLOSE):
        return None
    with memoryview(data) as view:
        return Record(offset, length, headers, bytes(view[start : start + size]), size)


def _read_head(stream: Stream) -> bytes:
    is_cut = False
    while not is_cut and len(stream.buffer) < _KEPT_IN_SEARCH:
        is_cut = not _more(stream)
    if is_cut and b"WARC/".startswith(stream.buffer[:5].upper()):
        raise _BadRecord("the file ends inside of a record's header", is_cut=True)
    if not RECORD_START.match(stream.buffer):
        seen = bytes(stream.buffer[:40])
        raise _BadRecord(f"expected a record that begins with 'WARC/', found {_shown(seen)}")
    searched = 0
    while not (match := _HEAD_END.search(stream.buffer, searched)):
        searched = max(0, len(stream.buffer) - 4)
        if len(stream.buffer) > _MAX_HEAD_BYTES:
            raise _BadRecord(f"a record's header is longer than {_MAX_HEAD_BYTES} bytes")
        if not _more(stream):
            raise _BadRecord("the file ends inside of a record's header", is_cut=True)
    return stream.take(match.end())


def _parse_head(head: bytes) -> dict[str, str]:
    text = head.decode("utf-8", "replace")
    if "\n " not in text and "\n\t" not in text:  # no field goes on on the next line
        fields = [line.partition(":") for line in text.split("\n")]
        return {name.strip().lower(): value.strip() for name, colon, value in fields if colon}
    headers: dict[str, str] = {}
    name = ""
    for line in text.split("\n")[1:]:
        line = line.rstrip("\r")
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
            continue
        field, colon, value = line.partition(":")
        if colon:
            name = field.strip().lower()
            headers[name] = value.strip()
    return headers


def _length(headers: dict[str, str]) -> int:
    text = headers.get("content-length")
    if text is None:
        raise _BadRecord("a record without Content-Length")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _BadRecord(f"Content-Length is {_shown(text.encode()[:40])}, no number of bytes")
    return int(text)


def _look_ahead(archive: Archive, body_at: int, size: int) -> None:
    """Whether a record, or the file, ends where this one says, in a plain file. A length that is
    wrong would swallow its neighbours."""
    end = body_at + size
    if end > archive.size:
        raise _BadRecord(
            f"Content-Length is {size} and the file has {archive.size - body_at} bytes more",
            is_cut=True,
        )
    behind = archive.read(end, _MAX_BLANK_BYTES)
    if _BLANK_LINES.match(behind):
        return
    behind = behind.lstrip(_BLANK)
    if behind and not RECORD_START.match(behind):
        raise _BadRecord(f"Content-Length is {size}, and no record ends there")


def _read_block(stream: Stream, size: int, max_block: int) -> bytes | None:
    pieces: list[bytes] = []
    left = size
    while left:
        if not stream.buffer and not _more(stream):
            raise _BadRecord(f"{size - left} of {size} bytes of a record", is_cut=True)
        piece = stream.take(left)
        left -= len(piece)
        if size <= max_block:
            pieces.append(piece)
    return b"".join(pieces) if size <= max_block else None


def _check_end(stream: Stream) -> None:
    """Decode up to the next record or the member's end, so that its checksum is compared.

    Raises:
        _BadRecord: something else follows. Behind the two line ends that close a record, what
            follows is the next one's matter.
    """
    blank = 0
    while len(stream.buffer) < 4 and stream.fill():
        pass
    is_closed = _BLANK_LINES.match(stream.buffer) is not None
    while True:
        left = _blanks(stream.buffer)
        stream.take(left)
        blank += left
        if blank > _MAX_BLANK_BYTES:
            raise _BadRecord("a record is followed by blanks without end")
        if RECORD_START.match(stream.buffer):
            return
        if len(stream.buffer) >= _KEPT_IN_SEARCH or not stream.fill():
            break
    if stream.buffer and not is_closed:
        raise _BadRecord(f"a record is followed by {_shown(bytes(stream.buffer[:40]))}")


def _find_next(stream: Stream) -> bool:
    """Go to the next line that begins a record; False if there is none."""
    stream.take(1)
    while True:
        if match := RECORD_START.search(stream.buffer):
            stream.take(match.start())
            return True
        stream.take(max(0, len(stream.buffer) - _KEPT_IN_SEARCH))
        if not stream.fill() and not stream.open_next():
            return False


def _shown(data: bytes) -> str:
    return repr(data.decode("utf-8", "replace"))


def _plain_words(archive: Archive, error: MemberError) -> str:
    if error.is_cut:
        return f"the file ends inside of a {archive.codec} member"
    return f"a {archive.codec} member cannot be decoded ({error})"


def _what_it_is(archive: Archive) -> str:
    if not archive.size:
        return "is empty (0 bytes): fetch or write it again"
    stream = Stream(archive, 0)
    stream.open_next()
    try:
        while len(stream.buffer) < _KEPT_IN_SEARCH and stream.fill():
            pass
    except MemberError as error:
        return f"is no WARC file: {_plain_words(archive, error)}, and no record follows"
    head = bytes(stream.buffer[:_KEPT_IN_SEARCH])
    packed = "" if archive.codec == "plain" else f" in {archive.codec}"
    what = f"{_shown(head[:40])}{packed}"
    if head.startswith(b"filedesc:"):
        return (
            "is an ARC file, the format before WARC: convert it (`warcio recompress` writes WARC)"
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return f"is an HTML page{packed}, perhaps a server's error page: fetch it again"
    for sign, name in ((b"PK\x03\x04", "a zip archive"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz")):
        if head.startswith(sign):
            return f"is {name}: unpack it first; WARC files are plain, gzip or zstd"
    return (
        f"is no WARC file: it begins with {what} where a record begins with 'WARC/1.0'. Give "
        "WARC files to `kind: warc`, and lists of images to `kind: list`"
    )
