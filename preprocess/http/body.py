"""Reading an HTTP body within bounds: so many bytes as sent, so many bytes when inflated."""

import zlib

import aiohttp

from septet.preprocess.http.failures import Failure, explain

_CHUNK = 2**16
_GZIP_OR_ZLIB, _RAW_DEFLATE = 47, -15  # zlib's window bits
_GZIP_START = b"\x1f"
_INFLATED = ("gzip", "x-gzip", "deflate")
_UNKNOWN_HERE = ("br", "zstd", "compress", "x-compress")


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body, its content coding undone. Reads no further than a bound demands.

    Raises:
        Failure: `too_large`, `truncated`, `encoding` or `empty`.
    """
    declared = response.content_length
    if declared is not None and declared > max_bytes:
        raise Failure("too_large", str(declared))
    # Other codings (aws-chunked, utf-8) are stored labels of a body that is sent as it is.
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding in _UNKNOWN_HERE or "," in coding:
        raise Failure("encoding", coding[:40])
    inflater = Inflater(coding, max_bytes) if coding in _INFLATED else None
    received = 0
    pieces: list[bytes] = []
    try:
        async for chunk in response.content.iter_chunked(_CHUNK):
            received += len(chunk)
            if received > max_bytes:
                raise Failure("too_large", f"more than {max_bytes}")
            pieces += inflater.feed(chunk) if inflater else [chunk]
    except aiohttp.ClientPayloadError as error:
        total = "" if declared is None else f" of {declared}"
        raise Failure("truncated", f"{received}{total}") from error
    except aiohttp.ClientError as error:  # the connection broke: the same to the reader
        failure = explain(error)
        if failure.reason == "connect":
            failure = Failure("truncated", str(received))
        raise failure from error
    if inflater and received and not inflater.is_complete:
        raise Failure("truncated", f"{received} of the {coding} stream")
    if not any(pieces):
        raise Failure("empty")
    return b"".join(pieces)


class Inflater:
    """Undoes gzip and deflate (with or without zlib's header) and stops at `max_bytes`."""

    def __init__(self, coding: str, max_bytes: int):
        self._coding, self._max, self._room = coding, max_bytes, max_bytes
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._started = False

    @property
    def is_complete(self) -> bool:
        """Whether the stream's own end has come."""
        return self._stream.eof

    def feed(self, data: bytes) -> list[bytes]:
        """What `data` inflates to.

        Raises:
            Failure: `too_large` or `encoding`.
        """
        pieces: list[bytes] = []
        while data:
            if self._stream.eof:  # another gzip member follows, or padding, which is ignored
                if not data.startswith(_GZIP_START):
                    break
                self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                piece = self._stream.decompress(data, self._room + 1)
            except zlib.error as error:
                if self._started or self._coding != "deflate":
                    raise Failure("encoding", self._coding) from error
                self._stream, self._started = zlib.decompressobj(_RAW_DEFLATE), True
                continue
            self._started = True
            self._room -= len(piece)
            if self._room < 0:
                raise Failure("too_large", f"more than {self._max}")
            pieces.append(piece)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return pieces
