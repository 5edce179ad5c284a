import base64
import gzip
import hashlib
import zlib
from collections import Counter
from pathlib import Path

import brotli
import pytest
import zstandard

from septet.pipelines.sources.base import Input
from septet.pipelines.sources.warc import (
    Found,
    HtmlRecord,
    ImageRecord,
    Warc,
    read_answer_from,
    read_warc,
)
from septet.schemas.reasons import REASONS, Rejected, RejectedError
from septet.schemas.sources import WarcSource
from tests.warcs import Response, html, image, write_warc

PAGE = b"<p>" + b"a page " * 50


def read(path: Path, max_page_bytes: int = 10**6) -> tuple[list[Found], Counter[str]]:
    counts: Counter[str] = Counter()
    with path.open("rb") as file:
        return list(read_warc(file, max_page_bytes, counts)), counts


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
    found, _ = read(path)
    assert [r.url for r in found if isinstance(r, HtmlRecord)] == [url for url, _, _ in CODED]
    assert all(isinstance(r, HtmlRecord) and r.body == PAGE for r in found)


def test_images_are_read_back_from_their_offset(tmp_path: Path) -> None:
    responses = [
        html("http://e.org/", "x"),
        image("http://e.org/a.png", b"A" * 1000),
        image("http://e.org/b.png", b"B" * 9),
    ]
    for zipped in (True, False):
        path = write_warc(tmp_path / f"{zipped}.warc", responses, zipped)
        found, _ = read(path)
        at = {r.url: r.offset for r in found if isinstance(r, ImageRecord)}
        with path.open("rb") as file:
            assert read_answer_from(file, at["http://e.org/a.png"], 1000)[1] == b"A" * 1000
            assert read_answer_from(file, at["http://e.org/b.png"], 1000)[1] == b"B" * 9
            with pytest.raises(RejectedError, match="too_large"):
                read_answer_from(file, at["http://e.org/a.png"], 999)
            with pytest.raises(RejectedError, match="warc_"):
                read_answer_from(file, at["http://e.org/a.png"] + 3, 999)


def test_bombs_are_bounded(tmp_path: Path) -> None:
    bombs = [
        coded("gzip", gzip.compress(b"a" * 10**7), "gzip"),
        coded("br", brotli.compress(b"a" * 10**7), "br"),
        coded("zstd", zstandard.compress(b"a" * 10**7), "zstd"),
    ]
    found, _ = read(write_warc(tmp_path / "bombs.warc.gz", bombs))
    assert [r.reason for r in found if isinstance(r, Rejected)] == ["too_large"] * 3


def test_a_resource_is_its_record_without_an_http_head(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(
        response("http://e.org/", kind="resource", head=b"", more="Content-Type: text/html\r\n")
        + response("http://e.org/b", kind="resource", head=b"", more="Content-Type: text/css\r\n")
    )
    found, counts = read(tmp_path / "a.warc")
    assert [(r.url, r.body) for r in found if isinstance(r, HtmlRecord)] == [
        ("http://e.org/", PAGE)
    ]
    assert len(found) == counts["records_other_media"] == 1


def test_a_page_may_be_as_large_as_the_bound(tmp_path: Path) -> None:
    untyped = ("http://e.org/", b"<html>" + PAGE, {})
    path = write_warc(tmp_path / "a.warc", [("http://e.org/", PAGE, {"Content-Type": "text/html"})])
    assert [type(r) for r in read(path, len(PAGE))[0]] == [HtmlRecord]
    assert [r.reason for r in read(path, len(PAGE) - 1)[0] if isinstance(r, Rejected)] == [
        "too_large"
    ]
    path = write_warc(tmp_path / "b.warc", [untyped])
    assert [type(r) for r in read(path, len(PAGE) + 6)[0]] == [HtmlRecord]
    (lost,) = read(path, len(PAGE) + 5)[0]
    assert isinstance(lost, Rejected) and (lost.reason, lost.value) == ("too_large", "359")


def response(
    url: str, body: bytes = PAGE, head: bytes | None = None, media: str | None = "text/html",
    status: str = "200 OK", kind: str = "response", more: str = "",
) -> bytes:  # fmt: skip
    """A record written by hand, with a digest of its payload."""
    if head is None:
        line = f"Content-Type: {media}\r\n" if media is not None else ""
        head = f"HTTP/1.1 {status}\r\n{line}\r\n".encode()
    digest = base64.b32encode(hashlib.sha1(body).digest()).decode()
    block = head + (b"" if kind == "revisit" else body)
    return (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Payload-Digest: sha1:{digest}\r\n{more}Content-Length: {len(block)}\r\n\r\n"
    ).encode() + block + b"\r\n\r\n"  # fmt: skip


def found_in(tmp_path: Path, *records: bytes) -> tuple[list[Found], Counter[str]]:
    path = tmp_path / "r.warc.gz"
    path.write_bytes(b"".join(gzip.compress(record) for record in records))
    found, counts = read(path)
    assert counts["records"] == len(records)
    assert all(r.reason in REASONS for r in found if isinstance(r, Rejected))
    return found, counts


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 50
PASSED_OVER = {
    "a request": (response("http://e.org/", kind="request"), "records_not_web"),
    "a PDF": (response("http://e.org/", b"%PDF", media="application/pdf"), "records_other_media"),
    "no media type, no page": (response("http://e.org/", b"words", media=None), "records_other_media"),
    "no URL": (response(""), "records_without_url"),
    "an image that is gone": (response("http://e.org/", media="image/png", status="404 No"), "images_other_status"),
}  # fmt: skip


@pytest.mark.parametrize(("record", "count"), PASSED_OVER.values(), ids=PASSED_OVER)
def test_what_is_passed_over_is_counted(tmp_path: Path, record: bytes, count: str) -> None:
    found, counts = found_in(tmp_path, record)
    assert found == [] and counts == {"records": 1, count: 1}


LOST = {
    "another status": (response("http://e.org/", status="404 No"), "page_status", "404"),
    "a redirect": (response("http://e.org/", status="301 Moved"), "page_status", "301"),
    "no HTTP": (response("http://e.org/", head=b""), "warc_header", "expected an HTTP answer"),
    "an empty block": (response("http://e.org/", b"", head=b""), "warc_header", "found b''"),
    "a page too large": (response("http://e.org/", b"x" * 10**6 + b"y"), "too_large", "more than 1000000"),
    "a revisit of something else": (
        response("http://e.org/", kind="revisit", more="WARC-Refers-To-Target-URI: <http://e.org/old>\r\n"),
        "warc_revisit", "http://e.org/old"),
}  # fmt: skip


@pytest.mark.parametrize(("record", "reason", "value"), LOST.values(), ids=LOST)
def test_pages_that_are_lost_say_why(
    tmp_path: Path, record: bytes, reason: str, value: str
) -> None:
    (lost,), _ = found_in(tmp_path, record)
    assert isinstance(lost, Rejected)
    assert (lost.reason, lost.page_url) == (reason, "http://e.org/")
    assert value in str(lost.value)


@pytest.mark.parametrize("media", [None, "", "application/octet-stream"])
def test_a_type_that_is_not_declared_is_found(tmp_path: Path, media: str | None) -> None:
    pages = [b"<!doctype html><p>x", b"\xef\xbb\xbf <HTML><p>", b"<!-- a -->\n<div >"]
    found, _ = found_in(tmp_path, *(response("http://e.org/", page, media=media) for page in pages))
    assert [r.body for r in found if isinstance(r, HtmlRecord)] == pages
    (found_image,), _ = found_in(tmp_path, response("http://e.org/a", PNG, media=media))
    assert isinstance(found_image, ImageRecord)


def test_the_head_ends_at_the_first_empty_line(tmp_path: Path) -> None:
    body = b"<html>one\r\n\r\ntwo</html>"
    for eol in (b"\n", b"\r\n"):
        head = b"HTTP/1.1 200 OK" + eol + b"Content-Type: text/html" + eol * 2
        (page,), _ = found_in(tmp_path, response("http://e.org/", body, head))
        assert isinstance(page, HtmlRecord) and page.body == body


def test_headers_are_handed_out(tmp_path: Path) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nCONTENT-TYPE: text/html;\r\n charset='x-y'\r\nX-Robots-Tag: noai\r\n"
        b"x-robots-tag: noindex\r\ntdm-reservation: 1\r\n\r\n"
    )
    (page, first), _ = found_in(
        tmp_path,
        response("http://e.org/", head=head),
        response("http://e.org/a", PNG, head.replace(b"text/html", b"image/png")),
    )
    assert isinstance(page, HtmlRecord) and isinstance(first, ImageRecord)
    assert page.charset == "x-y"
    for headers in (page.headers, first.headers):
        assert headers["x-robots-tag"] == "noai\nnoindex" and headers["tdm-reservation"] == "1"


def test_revisits_are_resolved(tmp_path: Path) -> None:
    found, counts = found_in(
        tmp_path,
        response("http://e.org/p"),
        response("http://e.org/i", PNG, media="image/png"),
        response("http://e.org/p", kind="revisit"),
        response("http://e.org/q", kind="revisit"),
        response("http://e.org/j", PNG, kind="revisit"),
        response("http://e.org/z"),
    )
    page, first, again, same, last = found
    assert isinstance(page, HtmlRecord) and isinstance(again, HtmlRecord)
    assert (again.url, again.body) == ("http://e.org/q", page.body)
    assert isinstance(first, ImageRecord) and isinstance(same, ImageRecord)
    assert (same.url, same.offset) == ("http://e.org/j", first.offset)
    assert isinstance(last, HtmlRecord) and last.url == "http://e.org/z"
    assert counts["revisits_repeated"] == 1


def test_revisits_of_what_is_no_page_or_image_are_counted_as_it_is(tmp_path: Path) -> None:
    found, counts = found_in(
        tmp_path,
        response("http://e.org/s", b"css", media="text/css"),
        response("http://e.org/gone", status="404 No"),
        response("http://e.org/t", b"css", kind="revisit"),
        response("http://e.org/gone-too", kind="revisit"),
        response("http://e.org/s", b"css", kind="revisit"),
    )
    assert [(r.reason, r.page_url) for r in found if isinstance(r, Rejected)] == [
        ("page_status", "http://e.org/gone"),
        ("page_status", "http://e.org/gone-too"),
    ]
    assert (counts["records_other_media"], counts["revisits_repeated"]) == (2, 1)


def test_revisits_are_resolved_over_the_slices_of_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        response("http://e.org/p"),
        response("http://e.org/i", PNG, media="image/png"),
        *(response(f"http://e.org/{n}", b"<p>%d" % n * 30) for n in range(20)),
        response("http://e.org/p", kind="revisit"),
        response("http://e.org/q", kind="revisit"),
        response("http://e.org/j", PNG, kind="revisit"),
        response("http://e.org/0", b"<p>other", kind="revisit"),
    ]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(map(gzip.compress, records)))
    settings = WarcSource(kind="warc", paths=["a.warc.gz"])

    def all_found() -> tuple[list[Found], Counter[str]]:
        facts, counts = Warc().describe(str(path), path.stat().st_size), Counter[str]()
        found: list[Found] = []
        for number, part in enumerate(facts.slices):
            one = Input("a", 0, str(path), 0, "d", part, number, len(facts.slices))
            found += Warc().records(settings, one, counts)
        return found, counts

    whole, counts = all_found()
    assert [type(one) for one in whole[-3:]] == [HtmlRecord, ImageRecord, Rejected]
    assert counts["revisits_repeated"] == 1
    for size in (300, 1000):
        monkeypatch.setattr("septet.pipelines.sources.warc.SLICE_BYTES", size)
        assert all_found() == (whole, counts)


def test_images_inside_of_a_file_compressed_as_a_whole_are_counted(tmp_path: Path) -> None:
    records = [
        response("http://e.org/"),
        response("http://e.org/i", PNG, media="image/png"),
        response("http://e.org/2"),
    ]
    path = tmp_path / "whole.warc.gz"
    path.write_bytes(gzip.compress(b"".join(records)))
    found, counts = read(path)
    assert [r.url for r in found if isinstance(r, HtmlRecord)] == [
        "http://e.org/",
        "http://e.org/2",
    ]
    assert counts["images_unlocated"] == 1 and len(found) == 2


def test_damage_is_told_with_its_place_and_page(tmp_path: Path) -> None:
    good = gzip.compress(response("http://e.org/1"))
    path = tmp_path / "r.warc.gz"
    path.write_bytes(good + good[:-30] + good)
    found, _ = read(path)
    assert [type(r) for r in found] == [HtmlRecord, Rejected, HtmlRecord]
    assert isinstance(found[1], Rejected) and found[1].reason in ("warc_broken", "warc_truncated")
    assert f"{len(good) - 30} bytes at offset {len(good)} were not read" in str(found[1].value)
    plain = response("http://e.org/2").replace(b"Content-Length: ", b"Content-Length: 9")
    path.write_bytes(response("http://e.org/1") + plain)
    found, _ = read(path)
    assert isinstance(found[1], Rejected)
    assert (found[1].reason, found[1].page_url) == ("warc_truncated", "http://e.org/2")


def test_slices_of_an_archive_are_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [response(f"http://e.org/{i}", b"<p>%d" % i * 30) for i in range(30)]
    harmed = gzip.compress(response("http://e.org/lost"))
    parts = [*map(gzip.compress, records[:20]), harmed[:-30], *map(gzip.compress, records[20:])]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(parts))
    settings = WarcSource(kind="warc", paths=["a.warc.gz"])

    def urls() -> tuple[int, list[str], int]:
        facts = Warc().describe(str(path), path.stat().st_size)
        found = [
            one
            for number, part in enumerate(facts.slices)
            for one in Warc().records(
                settings,
                Input("a.warc.gz", 0, str(path), 0, "", part, number, len(facts.slices)),
                Counter(),
            )
        ]
        pages = [one.url for one in found if isinstance(one, HtmlRecord)]
        return len(facts.slices), pages, sum(isinstance(one, Rejected) for one in found)

    every = [f"http://e.org/{i}" for i in range(30)]
    assert urls() == (1, every, 1)
    for size in (50, 333, 1000):
        monkeypatch.setattr("septet.pipelines.sources.warc.SLICE_BYTES", size)
        number, pages, lost = urls()
        assert (pages, lost) == (every, 1) and number == -(-path.stat().st_size // size)
