"""Decoders of gzip members and zstd frames, piece by piece, with bounded output.

Python's own file objects over gzip and zstd do not say where a member starts, and zstandard's
takes a frame that is cut short for a whole one.
"""

import zlib
from typing import Protocol

import deflate
import zstandard

GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_INFLATE_BYTES = 2**16
_ZSTD_STEP = 2**10
"""Compressed bytes decoded at once: four bytes of a block may stand for 128 KiB."""
_MAX_WINDOW = 2**27

DAMAGE = (zlib.error, zstandard.ZstdError, MemoryError)
"""The exceptions that `feed` raises where a member cannot be decoded."""


class Member(Protocol):
    """The decoder of one member; `eof` is true once its end was decoded."""

    eof: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """A bounded piece of output, and what of `data` is left to be fed."""
        ...


class PlainMember:
    """Bytes that are not compressed, as a member without an end."""

    eof = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The data itself."""
        return data, b""


class GzipMember:
    """One gzip member; its checksum is compared."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.eof = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Decode a piece: at most 64 KiB of output, and the input that is left."""
        out = self._inflater.decompress(data, _INFLATE_BYTES)
        self.eof = self._inflater.eof
        return out, self._inflater.unused_data if self.eof else self._inflater.unconsumed_tail


def whole_gzip_member(member: bytes, most: int) -> bytearray | None:
    """The content of a gzip member that is all there, by libdeflate in half of zlib's time.

    None where that needs a closer look: the member is empty, cut, damaged or of more than `most`
    bytes, or something follows it.
    """
    crc, size = int.from_bytes(member[-8:-4], "little"), int.from_bytes(member[-4:], "little")
    if not 0 < size <= most:
        return None
    try:
        content: bytearray = deflate.gzip_decompress(member)
    except (deflate.DeflateError, ValueError):
        return None
    # libdeflate is silent about what follows a member: then these are other bytes than its last.
    return content if len(content) == size and deflate.crc32(content) == crc else None


class ZstdFrame:
    """One zstd frame, with the dictionary that it may need."""

    def __init__(self, dictionary: zstandard.ZstdCompressionDict | None = None) -> None:
        decompressor = zstandard.ZstdDecompressor(dictionary, max_window_size=_MAX_WINDOW)
        self._frame = decompressor.decompressobj()
        self.eof = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Decode a piece: at most 32 MiB of output, and the input that is left."""
        step, rest = data[:_ZSTD_STEP], data[_ZSTD_STEP:]
        out = self._frame.decompress(step)
        self.eof = self._frame.eof
        return out, (self._frame.unused_data + rest) if self.eof else rest
