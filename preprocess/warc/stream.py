"""The decoded bytes of a WARC file: plain, gzip members or zstd frames, from any member on.

A *member* is a gzip member or a zstd frame. Archives hold one record a member, so that a record
can be read from the offset of its member; files that are compressed as a whole or in blocks are
read too, but only a record that starts a member has an address.
"""

import os
import re
from typing import BinaryIO, Literal

import zstandard

from septet.preprocess.members import (
    DAMAGE,
    GZIP_MAGIC,
    ZSTD_MAGIC,
    GzipMember,
    Member,
    PlainMember,
    ZstdFrame,
    whole_gzip_member,
)

Codec = Literal["plain", "gzip", "zstd"]

_READ_BYTES = 2**15
_AHEAD = 4
"""Reads that a gzip member may take to be decoded at once."""
_LEAST_MEMBER = 18
_MAX_WHOLE = 2**20
"""Decoded bytes of such a member."""
_SEARCH_BYTES = 2**20
_MEMBER_HEAD = 2**12
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
_DICTIONARY = 0x5D
"""First byte of the skippable frame at the start of a file that holds the dictionary of all its
frames (the .warc.zst files of the Internet Archive)."""
_MAX_DICTIONARY = 2**24
RECORD_START = re.compile(rb"WARC/\d+\.\d+[ \t]*\r?\n(?=[^\s:]{1,40}[ \t]*:)", re.IGNORECASE)
"""A record's first line, with the name of its first field behind it."""


class MemberError(ValueError):
    """Raised when a member cannot be decoded, at its `offset`; `is_cut` if the file ends inside
    it."""

    def __init__(self, offset: int, message: str, is_cut: bool = False):
        super().__init__(message)
        self.offset, self.is_cut = offset, is_cut


class Archive:
    """An open WARC file: its coding, and where its members start.

    Args:
        file: Seekable; read at whatever position is needed.
    """

    def __init__(self, file: BinaryIO):
        self.file = file
        self.size = file.seek(0, os.SEEK_END)
        head = self.read(0, 8)
        self.codec: Codec = "plain"
        self._dictionary: zstandard.ZstdCompressionDict | None = None
        if head.startswith(GZIP_MAGIC):
            self.codec = "gzip"
        elif head.startswith(ZSTD_MAGIC) or _SKIPPABLE.match(head):
            self.codec = "zstd"
            if head[0] == _DICTIONARY:
                self._dictionary = self._read_dictionary(int.from_bytes(head[4:8], "little"))

    def _read_dictionary(self, size: int) -> zstandard.ZstdCompressionDict:
        data = self.read(8, min(size, _MAX_DICTIONARY))
        try:
            if data.startswith(ZSTD_MAGIC):
                unpacker = zstandard.ZstdDecompressor().stream_reader(data)
                data = unpacker.read(_MAX_DICTIONARY)
            return zstandard.ZstdCompressionDict(data)
        except zstandard.ZstdError as error:
            raise MemberError(0, f"the dictionary cannot be read: {error}") from error

    def read(self, offset: int, size: int) -> bytes:
        """Read up to `size` bytes of the file from `offset` on, as they are stored."""
        self.file.seek(offset)
        return self.file.read(size)

    def member(self) -> Member:
        """A decoder for the next member."""
        if self.codec == "gzip":
            return GzipMember()
        return ZstdFrame(self._dictionary) if self.codec == "zstd" else PlainMember()

    def find_start(self, begin: int, end: int | None = None) -> int | None:
        """Find the offset of the first record in [begin, end) that can be read by its offset: a
        record's first line in a plain file, else a member that decodes to one."""
        sign = {
            "plain": RECORD_START,
            "gzip": re.compile(re.escape(GZIP_MAGIC)),
            "zstd": re.compile(re.escape(ZSTD_MAGIC)),
        }[self.codec]
        at, overlap = begin, 64
        stop = self.size if end is None else min(end, self.size)
        while at < stop:
            block = self.read(at, _SEARCH_BYTES + overlap)
            for match in sign.finditer(block):
                found = at + match.start()
                if found >= stop:
                    return None
                if match.start() < _SEARCH_BYTES and (
                    self.codec == "plain" or self._starts_record(found)
                ):
                    return found
            at += _SEARCH_BYTES
        return None

    def _starts_record(self, offset: int) -> bool:
        try:
            out, _ = self.member().feed(self.read(offset, _MEMBER_HEAD))
        except DAMAGE:
            return False
        return RECORD_START.match(out.lstrip()) is not None


class Stream:
    """The decoded bytes of an archive from `offset` on, through all members that follow.

    Attributes:
        buffer: Bytes that are decoded and not yet taken.
        member: Offset in the file of the member that was opened last.
    """

    def __init__(self, archive: Archive, offset: int):
        self._archive = archive
        self._read_at = offset
        self._raw = b""
        self._at = 0  # where in it the next byte is
        self._open: Member | None = None
        self.buffer = bytearray()
        self.member = offset
        self._taken = 0  # bytes taken from the buffer so far
        self._member_at = 0  # how many bytes were decoded before the member

    def address(self) -> int | None:
        """The offset from which the next byte can be read again; None inside of a member. Asked
        when the buffer holds nothing of a later member."""
        inside = self._taken - self._member_at
        if self._archive.codec == "plain":
            return self.member + inside
        return self.member if inside == 0 else None

    def is_start(self, index: int) -> bool:
        """Whether the member that was opened last starts at `buffer[index]`."""
        return self._taken + index == self._member_at

    @property
    def end(self) -> int:
        """The offset behind all that was decoded."""
        return self._read_at - len(self._raw) + self._at

    @property
    def is_decoded(self) -> bool:
        """Whether the member that was opened last is decoded to its end."""
        return self._open is None

    @property
    def is_between(self) -> bool:
        """Whether all of a member was decoded and taken and no other was begun."""
        return self._open is None and not self.buffer

    def take(self, size: int) -> bytes:
        """The next `size` bytes; less where the buffer holds less."""
        if size >= len(self.buffer):
            piece = bytes(self.buffer)
            self.buffer.clear()
        else:
            with memoryview(self.buffer) as view:
                piece = bytes(view[:size])
            del self.buffer[:size]
        self._taken += len(piece)
        return piece

    def peek(self) -> tuple[bytearray, int] | None:
        """The content of the next member, and its bytes in the file; None where it is to be decoded
        piece by piece, or something else is next."""
        if self._open is not None or self.buffer or self._archive.codec != "gzip":
            return None
        end = self._raw.find(GZIP_MAGIC, self._at + _LEAST_MEMBER)
        if end < 0:
            self._drop_used()
            room = _AHEAD * _READ_BYTES - len(self._raw)
            if room > 0:
                more = self._archive.read(self._read_at, room)
                self._read_at += len(more)
                self._raw += more
            end = self._raw.find(GZIP_MAGIC, _LEAST_MEMBER)
            if end < 0 and self._read_at >= self._archive.size:
                end = len(self._raw)
        size = end - self._at
        if size < _LEAST_MEMBER:
            return None
        content = whole_gzip_member(self._raw[self._at : end], _MAX_WHOLE)
        return None if content is None else (content, size)

    def skip(self, size: int) -> None:
        """Pass over so many bytes of the file, a member as of `peek`."""
        self.member = self.end
        self._at += size

    def _drop_used(self) -> None:
        self._raw, self._at = self._raw[self._at :], 0

    def fill(self) -> bool:
        """Decode some more, a piece at most; False where the member ends, with nothing decoded.

        Raises:
            MemberError: damage, or the file ends inside of the member.
        """
        if self._at:
            self._drop_used()
        while self._open is not None:
            if not self._raw:
                self._raw = self._archive.read(self._read_at, _READ_BYTES)
                self._read_at += len(self._raw)
            if not self._raw:
                if isinstance(self._open, PlainMember):
                    self._open = None
                    return False
                raise MemberError(self.member, "the file ends inside of a member", is_cut=True)
            try:
                out, self._raw = self._open.feed(self._raw)
            except DAMAGE as error:
                raise MemberError(self.member, str(error)) from error
            if self._open.eof:
                self._open = None
            self.buffer += out
            if out:
                return True
        return False

    def open_next(self) -> bool:
        """Open the member behind the one that ended; False at the end of the file. Zeros that
        pad a file are passed over."""
        self._drop_used()
        while True:
            if len(self._raw) < 8:
                more = self._archive.read(self._read_at, _READ_BYTES)
                self._read_at += len(more)
                self._raw += more
            if self._archive.codec == "plain":
                break
            self._raw = self._raw.lstrip(b"\0")
            if _SKIPPABLE.match(self._raw) and self._archive.codec == "zstd":
                self._read_at = self.end + 8 + int.from_bytes(self._raw[4:8], "little")
                self._raw = b""
            elif self._raw or self._read_at >= self._archive.size:
                break
        self.member, self._member_at = self.end, self._taken + len(self.buffer)
        if not self._raw:
            return False
        self._open = self._archive.member()
        return True
