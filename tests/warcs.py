"""WARC files for tests, written by another library than the one that reads them."""

import io
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

Response = tuple[str, bytes, dict[str, str]]
"""URL, body as transferred, HTTP headers."""


def html(url: str, body: str, charset: str = "utf-8") -> Response:
    return url, body.encode(charset), {"Content-Type": f"text/html; charset={charset}"}


def image(url: str, body: bytes, media: str = "image/png") -> Response:
    return url, body, {"Content-Type": media}


def write_warc(path: Path, responses: list[Response], gzip: bool = True) -> Path:
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=gzip)
        for url, body, headers in responses:
            http = StatusAndHeaders("200 OK", list(headers.items()), protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    url,
                    "response",
                    payload=io.BytesIO(body),
                    http_headers=http,
                    warc_headers_dict={"WARC-Date": "2026-01-01T00:00:00Z"},
                )
            )
    return path
