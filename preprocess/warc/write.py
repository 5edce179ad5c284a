"""A writer of WARC 1.1 files: a gzip member a record, so that any record can be read by its offset.

A file is appended to, and is whole after every record: who is killed while one is written cuts the
file back to where the last one ended.
"""

import base64
import gzip
import hashlib
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

_LEVEL = 6
_NOT_KEPT = ("transfer-encoding", "content-length")


@dataclass(frozen=True)
class Exchanged:
    """A request and its answer, as they go into an archive.

    `body` is as transferred, but for the framing of chunks, which is undone; its content coding is
    not.
    """

    url: str
    request: list[tuple[str, str]]
    """Headers of the request, Host first."""
    status: int
    reason: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    at: datetime

    @property
    def payload_digest(self) -> str:
        """The digest of the body: sha1 in base 32, as archives have it."""
        return _digest(self.body)


class WarcWriter:
    """A writer that appends to one file. A context manager.

    Args:
        path: The file; made, with a `warcinfo` record, where there is none.
        software: Who writes.
        end: Where the last whole record ends; what lies behind it is cut off.
    """

    def __init__(self, path: Path, software: str, end: int = 0):
        self._file = path.open("ab", buffering=0)
        self._file.truncate(end)
        self.end = end
        """Where the last whole record ends."""
        if not end:
            fields = f"software: {software}\r\nformat: WARC File Format 1.1\r\n"
            self._write("warcinfo", None, "application/warc-fields", fields.encode(), _now())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._file.fileno())

    def write(self, one: Exchanged) -> int:
        """Append an answer, then its request; returns where they end.

        The answer's head is as it was sent, but for the headers that frame the body: these say how
        it is stored.
        """
        kept = [pair for pair in one.headers if pair[0].decode("latin-1").lower() not in _NOT_KEPT]
        lines = [f"HTTP/1.1 {one.status} {one.reason}".encode("latin-1", "replace")]
        lines += [name + b": " + value for name, value in kept]
        lines += [b"Content-Length: %d" % len(one.body), b"", b""]
        block = b"\r\n".join(lines) + one.body
        kind = "application/http;msgtype=response"
        more = {"WARC-Payload-Digest": one.payload_digest}
        answer = self._write("response", one.url, kind, block, one.at, more)
        target = one.url.split("/", 3)[3] if one.url.count("/") > 2 else ""
        asked = [f"GET /{target} HTTP/1.1", *(f"{name}: {value}" for name, value in one.request)]
        self._write(
            "request",
            one.url,
            "application/http;msgtype=request",
            "\r\n".join([*asked, "", ""]).encode("latin-1", "replace"),
            one.at,
            {"WARC-Concurrent-To": answer},
        )
        return self.end

    def _write(
        self,
        kind: str,
        url: str | None,
        media: str,
        block: bytes,
        at: datetime,
        more: dict[str, str] | None = None,
    ) -> str:
        """Append a record; returns its id."""
        name = f"<urn:uuid:{uuid.uuid4()}>"
        fields = {
            "WARC-Type": kind,
            "WARC-Record-ID": name,
            "WARC-Date": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            **({"WARC-Target-URI": url} if url else {}),
            "WARC-Block-Digest": _digest(block),
            **(more or {}),
            "Content-Type": media,
            "Content-Length": str(len(block)),
        }
        head = "WARC/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        record = head.encode() + b"\r\n" + block + b"\r\n\r\n"
        data = gzip.compress(record, _LEVEL, mtime=0)
        written = 0
        while written < len(data):
            written += self._file.write(data[written:]) or 0
        self.end += len(data)
        return name


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def _now() -> datetime:
    return datetime.now(UTC)
