import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from fastwarc.warc import ArchiveIterator as FastIterator
from warcio.archiveiterator import ArchiveIterator

from septet.preprocess.warc.records import Record, read_record, read_records
from septet.preprocess.warc.write import Exchanged, WarcWriter

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def exchanged(url: str, body: bytes, *headers: tuple[bytes, bytes]) -> Exchanged:
    asked = [("Host", "e.org"), ("User-Agent", "Septet/0.1")]
    return Exchanged(url, asked, 200, "OK", [(b"Content-Type", b"text/html"), *headers], body, AT)


BODIES = {
    "http://e.org/": b"<html>one</html>",
    "http://e.org/two?q=%20": b"",
    "http://e.org/three": b"5\r\nthat looks like a chunk",
    "http://e.org/four": gzip.compress(b"<html>four</html>"),
}


def write(path: Path) -> list[int]:
    with WarcWriter(path, "Septet/0.1") as writer:
        return [
            writer.write(
                exchanged(
                    url, body, (b"Transfer-Encoding", b"chunked"), (b"X-A", b"\xe9"),
                    *([(b"Content-Encoding", b"gzip")] if body[:2] == b"\x1f\x8b" else []),
                )
            )
            for url, body in BODIES.items()
        ]  # fmt: skip


def records(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for record in read_records(file):
            assert isinstance(record, Record), record
            yield record


def test_other_libraries_read_it_and_agree_on_the_digests(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    write(path)
    with path.open("rb") as file:
        kinds, bodies = [], {}
        for record in ArchiveIterator(file, check_digests="raise"):
            kinds.append(record.rec_type)
            assert record.rec_headers.protocol == "WARC/1.1"
            content = record.content_stream().read()
            if record.rec_type == "response":
                assert record.rec_headers.get_header("WARC-Date") == "2026-01-02T03:04:05Z"
                assert record.http_headers.get_header("Transfer-Encoding") is None
                bodies[record.rec_headers.get_header("WARC-Target-URI")] = content
    assert kinds == ["warcinfo", *["response", "request"] * 4]
    assert bodies == {**BODIES, "http://e.org/four": b"<html>four</html>"}
    with path.open("rb") as file:
        checked = [record.verify_block_digest() for record in FastIterator(file, parse_http=False)]
    assert checked == [True] * 9


def test_the_own_reader_reads_any_record_by_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    write(path)
    found = list(records(path))
    assert [record.kind for record in found] == ["warcinfo", *["response", "request"] * 4]
    with path.open("rb") as file:
        for record in found:
            assert record.offset is not None
            again = read_record(file, record.offset)
            assert isinstance(again, Record) and again.block == record.block
    assert b"GET /two?q=%20 HTTP/1.1\r\nHost: e.org" in (found[4].block or b"")


def test_what_a_killed_writer_left_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    ends = write(path)
    whole = path.read_bytes()
    assert ends[-1] == len(whole)
    path.write_bytes(whole[: ends[1] + 100])
    with WarcWriter(path, "Septet/0.1", ends[1]) as writer:
        writer.write(exchanged("http://e.org/new", b"new"))
    urls = [record.url for record in records(path) if record.kind == "response"]
    assert urls == ["http://e.org/", "http://e.org/two?q=%20", "http://e.org/new"]
