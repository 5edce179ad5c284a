import gzip
import zlib
from pathlib import Path

import brotli
import pytest
import zstandard
from warcio.archiveiterator import ArchiveIterator as OtherReader

from septet.pipelines.sources.warc import (
    BodyError,
    BrokenRecord,
    HtmlRecord,
    ImageRecord,
    read_body,
    read_warc,
)
from tests.warcs import Response, html, image, write_warc

PAGE = b"<p>" + b"a page " * 50


def coded(name: str, body: bytes, coding: str, chunked: bool = False) -> Response:
    headers = {"Content-Type": "text/html", "Content-Encoding": coding}
    if chunked:
        body = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        headers["Transfer-Encoding"] = "chunked"
    return f"http://e.org/{name}", body, headers


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


CODED = [
    coded("gzip+chunked", gzip.compress(PAGE), "gzip", chunked=True),
    coded("raw deflate", raw_deflate(PAGE), "deflate"),
    coded("zlib deflate", zlib.compress(PAGE), "deflate"),
    coded("brotli", brotli.compress(PAGE), "br"),
    coded("zstd", zstandard.compress(PAGE), "zstd"),
    coded("says gzip, is not", PAGE, "gzip"),
    ("http://e.org/says chunked, is not", PAGE, {"Content-Type": "text/html", "Transfer-Encoding": "chunked"}),
    ("http://e.org/lower", PAGE, {"content-type": "text/html"}),
]  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_bodies_in_every_coding(tmp_path: Path, zipped: bool) -> None:
    path = write_warc(tmp_path / "a.warc", CODED, zipped)
    found = list(read_warc(str(path), 10**6))
    assert [r.url for r in found if isinstance(r, HtmlRecord)] == [url for url, _, _ in CODED]
    assert all(isinstance(r, HtmlRecord) and r.body == PAGE for r in found)


def test_as_many_records_as_another_reader_finds(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", CODED * 5)
    with path.open("rb") as file:
        expected = sum(1 for _ in OtherReader(file))
    assert sum(1 for _ in read_warc(str(path), 10**6)) == expected


def test_images_are_read_back_from_their_offset(tmp_path: Path) -> None:
    responses = [
        html("http://e.org/", "x"),
        image("http://e.org/a.png", b"A" * 1000),
        image("http://e.org/b.png", b"B" * 9),
    ]
    for zipped in (True, False):
        path = str(write_warc(tmp_path / f"{zipped}.warc", responses, zipped))
        places = {r.url: r.offset for r in read_warc(path, 100) if isinstance(r, ImageRecord)}
        assert read_body(path, places["http://e.org/a.png"], 1000) == b"A" * 1000
        assert read_body(path, places["http://e.org/b.png"], 1000) == b"B" * 9
        with pytest.raises(BodyError, match="too_large"):
            read_body(path, places["http://e.org/a.png"], 999)


@pytest.mark.parametrize("zipped", [True, False])
def test_every_cut_gives_what_came_before_and_says_so(tmp_path: Path, zipped: bool) -> None:
    whole = write_warc(
        tmp_path / "w.warc", [html(f"http://e.org/{i}", "x" * 50) for i in range(3)], zipped
    )
    data = whole.read_bytes()
    cut = tmp_path / "cut.warc"
    for size in range(len(data) // 2, len(data) - 12, 7):
        cut.write_bytes(data[:size])
        found = list(read_warc(str(cut), 10**6))
        pages = [r for r in found if isinstance(r, HtmlRecord)]
        broken = [r for r in found if isinstance(r, BrokenRecord)]
        assert 1 <= len(pages) <= 3
        # A file that ends exactly between two records cannot be told from a whole one.
        assert len(pages) == 3 or broken or size in _ends(data, zipped)


def _ends(data: bytes, zipped: bool) -> set[int]:
    sign = b"\x1f\x8b\x08" if zipped else b"WARC/1."
    return {
        i + slack for i in range(len(data)) if data.startswith(sign, i) for slack in range(-4, 1)
    }


def test_flipped_bytes_never_raise(tmp_path: Path) -> None:
    data = bytearray(write_warc(tmp_path / "w.warc.gz", CODED).read_bytes())
    broken = tmp_path / "b.warc.gz"
    for at in range(0, len(data), 97):
        flipped = data.copy()
        flipped[at] ^= 0x55
        broken.write_bytes(flipped)
        list(read_warc(str(broken), 10**6))


def test_bombs_are_bounded(tmp_path: Path) -> None:
    bombs = [
        coded("gzip", gzip.compress(b"a" * 10**7), "gzip"),
        coded("br", brotli.compress(b"a" * 10**7), "br"),
        coded("zstd", zstandard.compress(b"a" * 10**7), "zstd"),
    ]
    path = write_warc(tmp_path / "bombs.warc.gz", bombs)
    found = list(read_warc(str(path), 10**6))
    assert [r.reason for r in found if isinstance(r, BrokenRecord)] == ["too_large"] * 3


def test_other_statuses_and_media_are_passed_over(tmp_path: Path) -> None:
    path = write_warc(
        tmp_path / "a.warc.gz", [("http://e.org/x", b"%PDF", {"Content-Type": "application/pdf"})]
    )
    data = write_warc(tmp_path / "b.warc", [html("http://e.org/404", "x")], gzip=False).read_bytes()
    (tmp_path / "b.warc").write_bytes(data.replace(b"200 OK", b"404 No"))
    assert list(read_warc(str(path), 100)) == list(read_warc(str(tmp_path / "b.warc"), 100)) == []
