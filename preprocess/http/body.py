"""HTTP bodies: read within limits, their transfer and content codings undone.

The same functions serve answers of the live web and the answers that archives hold.
"""

import asyncio
import re
import zlib
from collections.abc import Iterator

import aiohttp
import brotli
import zstandard

from septet.preprocess.http.failures import explain
from septet.schemas.reasons import RejectedError

_CHUNK = 2**16
_HEAD_END = re.compile(rb"\n\r?\n")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LABELS = ("", "identity", "none", "binary", "aws-chunked", "utf-8", "utf8")
_MAX_CODINGS = 3
_MAX_MEMBERS = 10_000
_ZSTD_WINDOW = 2**23  # RFC 9659: what a decoder of this coding must support, and may stop at
_ZSTD_STEP = 2**8  # a block of 4 bytes may stand for 128 KiB, so no step gives more than 8 MiB


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read the body of an answer and undo its content codings. Reads no further than a limit
    demands.

    Raises:
        RejectedError: `too_large`, `truncated`, `encoding` or `empty`.
    """
    body = await read_raw(response, max_bytes)
    coding = response.headers.get("Content-Encoding", "")
    if body and coding:
        body = await asyncio.to_thread(decode_content, body, coding, max_bytes)
    if not body:
        raise RejectedError("empty")
    return body


async def read_raw(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read the body of an answer as its content coding left it; no further than a limit demands.

    Raises:
        RejectedError: `too_large` or `truncated`.
    """
    declared = response.content_length
    if declared is not None and declared > max_bytes:
        raise RejectedError("too_large", str(declared))
    received = 0
    pieces: list[bytes] = []
    try:
        async for piece in response.content.iter_chunked(_CHUNK):
            received += len(piece)
            if received > max_bytes:
                raise RejectedError("too_large", f"more than {max_bytes}")
            pieces.append(piece)
    except aiohttp.ClientPayloadError as error:
        total = "" if declared is None else f" of {declared}"
        raise RejectedError("truncated", f"{received}{total}") from error
    except aiohttp.ClientError as error:  # the connection broke: the same to the reader
        failure: RejectedError = explain(error)
        if failure.reason == "connect":
            failure = RejectedError("truncated", str(received))
        raise failure from error
    return b"".join(pieces)


def split_head(message: bytes) -> tuple[bytes, bytes]:
    """Split a stored HTTP message into head and body, at the first empty line, whichever of the two
    line ends it is written with. All is head where there is none."""
    end = _HEAD_END.search(message)
    if end is None:
        return message, b""
    head = message[: end.start()]
    return head.removesuffix(b"\r"), message[end.end() :]


def decode_stored(body: bytes, transfer_coding: str, content_coding: str, max_bytes: int) -> bytes:
    """Decode the body of an archived answer.

    Archives often store bodies decoded and headers untouched, so a body that does not begin as
    its header says is taken as it is. One that begins so and is cut or damaged is refused.

    Args:
        body: The body as stored.
        transfer_coding: The value of Transfer-Encoding, "" where there is none.
        content_coding: The value of Content-Encoding, likewise.
        max_bytes: Bound on what comes out.

    Raises:
        RejectedError: `too_large`, `truncated` or `encoding`.
    """
    if "chunked" in transfer_coding.lower():
        body = join_chunks(body)
    return decode_content(body, content_coding, max_bytes, decoded_already=True)


def join_chunks(body: bytes) -> bytes:
    """Undo the framing of `Transfer-Encoding: chunked` in a stored body, trailers dropped; a body
    that does not begin with a chunk stays as it is.

    Raises:
        RejectedError: `truncated` where the last chunk is missing, `encoding` where a later one
            is not framed.
    """
    parts: list[bytes] = []
    at = 0
    while line := _CHUNK_LINE.match(body, at):
        size, start = int(line[1], 16), line.end()
        if size == 0:
            return b"".join(parts)
        end = start + size
        framed = body[end : end + 2].startswith((b"\r\n", b"\n"))
        if end < len(body) - 1 and not framed:
            break
        if not framed:
            raise RejectedError("truncated", "within a chunk")
        parts.append(body[start:end])
        at = end + (2 if body[end] == 0x0D else 1)
    if not parts:
        return body
    if at == len(body) or body.find(b"\n", at) < 0:
        raise RejectedError("truncated", "before the last chunk")
    raise RejectedError("encoding", "chunked")


def decode_content(
    body: bytes, codings: str, max_bytes: int, decoded_already: bool = False, cut: bool = False
) -> bytes:
    """Undo the codings that a Content-Encoding header lists, last one first.

    gzip (all members), deflate (with or without zlib's header), br and zstd (all frames). Values
    that name no coding (utf-8, aws-chunked) are labels of a body that is sent as it is.

    Args:
        body: The body as sent.
        codings: The header's value.
        max_bytes: Bound on what comes out of each coding.
        decoded_already: Whether a body that is plainly not in the coding is taken as it is.
        cut: Whether what is beyond the bound is left out, and not refused.

    Raises:
        RejectedError: `too_large`, `truncated` or `encoding`.
    """
    names = [name.strip().lower() for name in codings.split(",")]
    names = [name for name in names if name not in _LABELS]
    if len(names) > _MAX_CODINGS:
        raise RejectedError("encoding", codings.strip()[:40])
    for name in reversed(names):
        body = _undo(name, body, max_bytes, decoded_already, cut)
    if len(body) > max_bytes and not cut:
        raise RejectedError("too_large", f"more than {max_bytes}")
    return body[:max_bytes]


def _undo(name: str, body: bytes, max_bytes: int, decoded_already: bool, cut: bool) -> bytes:
    decoder = _DECODERS.get(name)
    if decoder is None:
        raise RejectedError("encoding", name[:40])
    if decoded_already and not _may_begin(name, body):
        return body
    pieces: list[bytes] = []
    room = max_bytes
    try:
        for piece in decoder(body, max_bytes + 1):
            room -= len(piece)
            if room < 0 and cut:
                pieces.append(piece)
                break
            if room < 0:
                raise RejectedError("too_large", f"more than {max_bytes}")
            pieces.append(piece)
    except EOFError as error:
        if decoded_already and _is_plain(body):
            return body
        raise RejectedError("truncated", f"{len(body)} of the {name} stream") from error
    except (zlib.error, brotli.error, zstandard.ZstdError) as error:
        if decoded_already and _is_plain(body):
            return body
        raise RejectedError("encoding", name) from error
    return b"".join(pieces)


def _may_begin(name: str, body: bytes) -> bool:
    """Whether a body begins as a stream of that coding does; always where that cannot be told."""
    if name in ("gzip", "x-gzip"):
        return body.startswith(b"\x1f")
    if name == "zstd":
        return body.startswith(b"\x28\xb5\x2f\xfd") or body[1:4] == b"\x2a\x4d\x18"
    return bool(body)


_PLAIN_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"%PDF")


def _is_plain(body: bytes) -> bool:
    """Whether a body is text (no control characters at its start) or a usual kind of file."""
    head = body[:512]
    return body.startswith(_PLAIN_STARTS) or not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head)


def _inflate(body: bytes, most: int, *window_bits: int) -> Iterator[bytes]:
    """Decode all members of a zlib or gzip stream; what follows the last one is ignored as padding.

    Args:
        window_bits: zlib's, each tried in turn while nothing has come out.

    Raises:
        EOFError: the stream is cut.
        zlib.error: it is damaged.
    """
    bits, *others = window_bits
    at = members = 0
    while members == 0 or (bits > 15 and body.startswith(b"\x1f\x8b", at)):
        members += 1
        if members > _MAX_MEMBERS:
            raise zlib.error("too many members")
        stream = zlib.decompressobj(bits)
        rest = b""
        while not stream.eof:
            if not rest:
                if at >= len(body):
                    raise EOFError
                rest = body[at : at + _CHUNK]
                at += len(rest)
            try:
                piece = stream.decompress(rest, most)
            except zlib.error:
                if members > 1 or at > _CHUNK or not others:
                    raise
                yield from _inflate(body, most, *others)
                return
            rest = stream.unconsumed_tail
            if piece:
                yield piece
        at -= len(stream.unused_data)


def _unbrotli(body: bytes, most: int) -> Iterator[bytes]:
    """Decode a brotli stream.

    Raises:
        EOFError: the stream is cut.
        brotli.error: it is damaged.
    """
    stream = brotli.Decompressor()
    for start in range(0, len(body), _CHUNK):
        yield stream.process(body[start : start + _CHUNK], output_buffer_limit=most)
        while not stream.can_accept_more_data():
            yield stream.process(b"", output_buffer_limit=most)
    if not stream.is_finished():
        raise EOFError


def _unzstd(body: bytes, most: int) -> Iterator[bytes]:
    """Decode all frames of a zstd stream.

    Raises:
        EOFError: the stream is cut.
        zstandard.ZstdError: it is damaged, or needs a larger window than 8 MiB.
    """
    at = frames = 0
    decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    while at < len(body) or frames == 0:
        frames += 1
        if frames > _MAX_MEMBERS:
            raise zstandard.ZstdError("too many frames")
        frame = decoder.decompressobj()
        while not frame.eof:
            if at >= len(body):
                raise EOFError
            step = body[at : at + _ZSTD_STEP]
            at += len(step)
            yield frame.decompress(step)
        at -= len(frame.unused_data)


def _gunzip(body: bytes, most: int) -> Iterator[bytes]:
    return _inflate(body, most, 31)


_DECODERS = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": lambda body, most: _inflate(body, most, 47, -15),
    "br": _unbrotli,
    "zstd": _unzstd,
}
