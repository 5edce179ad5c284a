"""Web archives: their pages, and the places of the images that they hold."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import brotli
import fsspec
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

_HTML = ("text/html", "application/xhtml+xml")
MAX_RECORD_BYTES = 64 * 2**20
"""Larger records are rejected unread: a record is held in memory once."""


class BodyError(ValueError):
    """A record whose body cannot be had: `reason` and the `value` that failed."""

    def __init__(self, reason: str, value: str):
        super().__init__(f"{reason}: {value}")
        self.reason, self.value = reason, value


@dataclass(frozen=True)
class HtmlRecord:
    """A page as served, content coding undone."""

    url: str
    body: bytes
    charset: str | None


@dataclass(frozen=True)
class ImageRecord:
    """An image that the archive holds, by the offset of its record in the archive file."""

    url: str
    offset: int


@dataclass(frozen=True)
class BrokenRecord:
    """A record, or the rest of a file, that could not be read."""

    url: str | None
    reason: str
    value: str


def read_warc(path: str, max_page_bytes: int) -> Iterator[HtmlRecord | ImageRecord | BrokenRecord]:
    """Walk the `response` and `resource` records of a WARC file.

    Records of other kinds, other media types and of statuses other than 200 are passed over. A
    file that is cut short or damaged gives what comes before the damage, then a `BrokenRecord`.

    Args:
        path: Plain, per-record gzip or zstd; anything that fsspec opens.
        max_page_bytes: Bound on a page's decoded size.
    """
    with fsspec.open(path, "rb") as file:
        offset = 0
        found: HtmlRecord | ImageRecord | BrokenRecord | None = None
        try:
            # Bodies are decoded here and not by the iterator: one body with a wrong coding would
            # take the rest of the file with it.
            for record in ArchiveIterator(
                file, record_types=WarcRecordType.any_type, parse_http=False, auto_decode="none"
            ):
                offset, found = record.stream_pos, None
                if not record.headers.get("Content-Length"):
                    found = BrokenRecord(None, "warc_truncated", f"no length at offset {offset}")
                elif record.record_type in (WarcRecordType.response, WarcRecordType.resource):
                    found = _read_record(record, offset, max_page_bytes)
                if found is not None:
                    yield found
            if not isinstance(found, BrokenRecord) and _has_stump(file, offset):
                yield BrokenRecord(None, "warc_truncated", f"after offset {offset}")
        except OSError as error:
            yield BrokenRecord(None, "warc_broken", f"after offset {offset}: {error}")


def _has_stump(file: BinaryIO, last: int) -> bool:
    """Whether a gzip member begins behind the one at `last` and gives no record: the iterator
    takes a member that is cut short before its first byte of output for the end."""
    file.seek(last)
    if file.read(2) != b"\x1f\x8b":
        return False
    file.seek(last)
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while not inflater.eof and (block := file.read(1 << 16)):
        while block and not inflater.eof:  # bounded output, thrown away
            inflater.decompress(block, 1 << 20)
            block = inflater.unconsumed_tail
    return bool(inflater.unused_data or file.read(1)) or not inflater.eof


def read_body(path: str, offset: int, max_bytes: int) -> bytes:
    """The decoded body of the record at `offset` of a WARC file.

    Raises:
        BodyError: the record is damaged, or its body is larger than `max_bytes`.
    """
    with fsspec.open(path, "rb") as file:
        return read_body_from(file, offset, max_bytes)


def read_body_from(file: BinaryIO, offset: int, max_bytes: int) -> bytes:
    """`read_body` for a file that is already open."""
    file.seek(offset)
    try:
        for record in ArchiveIterator(
            file, record_types=WarcRecordType.any_type, parse_http=False, auto_decode="none"
        ):
            headers, raw = _split(record)
            return _decode(raw, headers, max_bytes)
    except OSError as error:
        raise BodyError("warc_broken", str(error)) from error
    raise BodyError("warc_broken", f"no record at offset {offset}")


def _read_record(
    record: WarcRecord, offset: int, max_page_bytes: int
) -> HtmlRecord | ImageRecord | BrokenRecord | None:
    url = (record.headers.get("WARC-Target-URI") or "").strip("<>")
    try:
        headers, raw = _split(record)
    except BodyError as error:
        return BrokenRecord(url or None, error.reason, error.value)
    if headers.get(":status", "200") != "200":
        return None
    media, _, parameters = headers.get("content-type", "").partition(";")
    media = media.strip().lower()
    if media.startswith("image/") and url:
        return ImageRecord(url, offset)
    if media not in _HTML or not url:
        return None
    try:
        body = _decode(raw, headers, max_page_bytes)
    except BodyError as error:
        return BrokenRecord(url, error.reason, error.value)
    return HtmlRecord(url, body, _charset(parameters))


def _charset(parameters: str) -> str | None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip(" \"'") or None
    return None


def _split(record: WarcRecord) -> tuple[dict[str, str], bytes]:
    """A record's HTTP headers (lower-case names, `:status`) and its body as transferred."""
    wanted = record.content_length
    if wanted > MAX_RECORD_BYTES:
        raise BodyError("too_large", str(wanted))
    block = record.reader.read()
    if len(block) != wanted:
        raise BodyError("warc_truncated", f"{len(block)} of {wanted} bytes")
    if record.record_type == WarcRecordType.resource:
        return {"content-type": record.headers.get("Content-Type") or ""}, block
    for separator in (b"\r\n\r\n", b"\n\n"):
        head, found, body = block.partition(separator)
        if found:
            break
    else:
        head, body = block, b""
    lines = head.decode("latin-1").splitlines()
    status = lines[0].split(" ", 2) if lines else []
    headers = {":status": status[1] if len(status) > 1 else ""}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers, body


def _decode(body: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
    """Undo transfer and content codings, bounded. A body that is not in the coding that it
    declares is taken as it is: archivers often store bodies decoded and headers untouched."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _unchunk(body)
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        try:
            body = _undo(coding.strip(), body, max_bytes)
        except (zlib.error, brotli.error, zstandard.ZstdError, EOFError):
            break
    if len(body) > max_bytes:
        raise BodyError("too_large", str(len(body)))
    return body


def _unchunk(body: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\r\n", at)
        try:
            size = int(body[at:end].split(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            size = -1
        if size < 0 or end + 2 + size > len(body):
            return b"".join(parts) if parts else body
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def _undo(coding: str, body: bytes, max_bytes: int) -> bytes:
    if coding in ("gzip", "x-gzip", "deflate"):
        raw_deflate = coding == "deflate" and (body[:1] or b"\0")[0] & 0x0F != 8
        inflater = zlib.decompressobj(-zlib.MAX_WBITS if raw_deflate else zlib.MAX_WBITS | 32)
        out = inflater.decompress(body, max_bytes + 1)
        if not inflater.eof and len(out) <= max_bytes:
            raise EOFError
    elif coding == "br":
        decoder = brotli.Decompressor()
        out = decoder.process(body, output_buffer_limit=max_bytes + 1)
    elif coding == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(body) as reader:
            out = reader.read(max_bytes + 1)
    else:
        return body
    if len(out) > max_bytes:
        raise BodyError("too_large", f"more than {max_bytes}")
    return bytes(out)
