"""Records of WARC files that are whole, damaged, cut, compressed oddly, or no WARC at all."""

import gzip
import io
import itertools
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator as OtherReader

from septet.preprocess.warc import stream
from septet.preprocess.warc.records import (
    Damage,
    Record,
    UnusableArchiveError,
    read_record,
    read_records,
)

Pack = Callable[[bytes], bytes]
PACKS: dict[str, Pack] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def record(
    number: int, body: bytes = b"", version: str = "WARC/1.0", eol: bytes = b"\r\n", more: str = "",
    length: str | None = None, upper: bool = False,
) -> bytes:  # fmt: skip
    block = body or b"body of %d " % number * 20
    lines = [
        version, "WARC-Type: response", f"WARC-Target-URI: http://e.org/{number}",
        f"Content-Length: {len(block) if length is None else length}", *([more] if more else []),
    ]  # fmt: skip
    head = eol.join(line.encode() for line in lines)
    head = head.upper() if upper else head
    return head + eol + eol + block + eol + eol


def walk(
    data: bytes, begin: int = 0, end: int | None = None
) -> tuple[list[int], list[Damage], list[Record]]:
    """Numbers of the records found, the damage, and the records."""
    found = list(read_records(io.BytesIO(data), begin, end))
    records = [item for item in found if isinstance(item, Record)]
    damage = [item for item in found if isinstance(item, Damage)]
    return [int(r.url.rpartition("/")[2]) for r in records], damage, records


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_records_are_found_and_read_again_by_offset_and_length(pack: Pack) -> None:
    data = b"".join(pack(record(i)) for i in range(5))
    numbers, damage, records = walk(data)
    assert numbers == list(range(5)) and not damage
    ends = [*(r.offset for r in records[1:]), len(data)]
    for r, end in zip(records, ends, strict=True):
        assert r.offset is not None and r.length is not None and r.offset + r.length == end
        assert read_record(io.BytesIO(data), r.offset) == r
        alone = data[r.offset : r.offset + r.length]
        assert walk(alone)[2][0].block == r.block


@pytest.mark.parametrize("size", [1, 13, 100])
@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_files_larger_than_a_read(pack: Pack, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_READ_BYTES", size)
    bodies = [b"%d " % (i * i) * 99 for i in range(4)]
    numbers, damage, records = walk(b"".join(pack(record(i, b)) for i, b in enumerate(bodies)))
    assert (numbers, damage) == ([0, 1, 2, 3], [])
    assert [r.block for r in records] == bodies
    whole = pack(record(0) + b"garbage\n" * 30 + record(2))  # what follows is not record 0's fault
    numbers, (odd,), _ = walk(whole)
    assert numbers == [0, 2] and "found 'garbage" in odd.message
    numbers, damage, _ = walk(pack(b"".join(map(record, range(4)))) + b"\0" * 300)
    assert (numbers, damage) == ([0, 1, 2, 3], [])


FORMS = {
    "version 0.18": record(1, version="WARC/0.18"),
    "version 1.1": record(1, version="WARC/1.1"),
    "version with blanks": record(1, version="WARC/1.0  "),
    "version in lower case": record(1, version="warc/1.0"),
    "lower-case names": record(1).replace(b"WARC-T", b"warc-t").replace(b"Content-L", b"content-l"),
    "bare line feeds": record(1, eol=b"\n"),
    "continued line": record(1, more="WARC-Notes: one\r\n\ttwo"),
    "line without a colon": record(1, more="hello"),
    "brackets around the URL": record(1).replace(b"http://e.org/1", b"<http://e.org/1>"),
    "no blank behind": record(1)[:-4],
    "one line end behind": record(1)[:-2],
    "more blanks behind": record(1) + b"\r\n" * 9,
    "as many blanks behind as are taken": record(1)[:-4] + b"\n" * 2**16,
    "bytes that are no UTF-8 in the header": record(1).replace(b"WARC-Type", b"X-\xff: \xe9\r\nWARC-Type"),
    "empty body": record(1, body=b"\r\n").replace(b"Content-Length: 2\r\n\r\n\r\n", b"Content-Length: 0\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_of_headers_that_other_readers_end_at(form: bytes, pack: Pack) -> None:
    numbers, damage, _ = walk(b"".join(pack(r) for r in (record(0), form, record(2))))
    assert (numbers, damage) == ([0, 1, 2], [])


BAD = {
    "no length": record(1).replace(b"Content-Length", b"Content-Lengt"),
    "length of letters": record(1, length="x"),
    "negative length": record(1, length="-5"),
    "length too large": record(1, length="99999999999"),
    "length far too large": record(1, length="9" * 30),
    "length some bytes too small": record(1, length="100"),
    "length that swallows the next": record(1, length=str(len(record(1)) + 100)),
    "no version": record(1)[2:],
    "garbage": b"garbage!" * 300,
    "blanks without end": record(1)[:-4] + b"\n" * (2**16 + 1),
}


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_record_costs_itself(bad: bytes, pack: Pack) -> None:
    parts = [pack(record(0)), pack(bad), pack(record(2)), pack(record(3))]
    numbers, damage, _ = walk(b"".join(parts))
    assert numbers == [0, 2, 3]
    assert len(damage) == 1
    assert damage[0].offset == len(parts[0])
    assert damage[0].length == len(parts[1])


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[: len(data) // 2] + b"\xff\xff\xff" + data[len(data) // 2 + 3 :],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:-4] + bytes(b ^ 1 for b in data[-4:]) if data[0] == 0x28 else data[:-8] + bytes(b ^ 1 for b in data[-8:]),
        lambda data: b"\1\1" + data[2:],
        lambda data: b"garbage! " * 3,
        lambda data: data[:1] + data[2:],
    ],
    ids=["flipped", "cut in half", "last byte gone", "checksum", "magic", "no member", "byte gone"],
)  # fmt: skip
def test_a_damaged_member_costs_itself(name: str, harm: Callable[[bytes], bytes]) -> None:
    pack = PACKS[name]
    parts = [pack(record(0)), harm(pack(record(1, b"".join(b"%d " % (i * i) for i in range(500))))),
             pack(record(2)), pack(record(3))]  # fmt: skip
    numbers, damage, _ = walk(b"".join(parts))
    assert numbers == [0, 2, 3]
    assert [d.offset for d in damage] == [len(parts[0])]
    assert damage[0].length == len(parts[1])


_PARTS = st.one_of(
    st.builds(lambda n, size: gzip.compress(record(n, b"x%d" % n * size)), st.integers(0, 9), st.integers(1, 99)),
    st.builds(lambda n: gzip.compress(record(n) + record(n + 1)), st.integers(0, 9)),
    st.builds(lambda n: gzip.compress(record(n)[:40]) + gzip.compress(record(n)[40:]), st.integers(0, 9)),
    st.builds(lambda n, at: (lambda d: d[:at] + b"\xff" + d[at + 1 :])(gzip.compress(record(n))), st.integers(0, 9), st.integers(0, 120)),
    st.builds(lambda n, at: gzip.compress(record(n))[:at], st.integers(0, 9), st.integers(0, 120)),
    st.builds(bytes, st.integers(0, 30)), st.binary(max_size=12), st.just(gzip.compress(b"")), st.just(gzip.compress(b"\r\n")),
    st.just(record(3)), st.just(b"\x1f\x8b\x08"), st.just(gzip.compress(record(4, length="3"))),
)  # fmt: skip


@given(st.lists(_PARTS, max_size=7).map(b"".join), st.integers(0, 300), st.integers(1, 900))
def test_members_decoded_at_once_are_those_decoded_by_the_piece(
    data: bytes, begin: int, size: int
) -> None:
    def read() -> list[Record | Damage | str]:
        try:
            return list(read_records(io.BytesIO(data), begin, begin + size))
        except UnusableArchiveError as error:
            return [str(error)]

    quick = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "whole_gzip_member", lambda member, most: None)
        assert read() == quick


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_every_cut_gives_what_came_before_and_says_so(pack: Pack) -> None:
    parts = [pack(record(i)) for i in range(3)]
    data = b"".join(parts)
    plain = pack is PACKS["plain"]
    for size in range(1, len(data)):
        if size < len(parts[0]) - 4 * plain:
            with pytest.raises(UnusableArchiveError):
                walk(data[:size])
            continue
        ends = [sum(map(len, parts[: i + 1])) for i in range(3)]
        blank = 4 if plain else 0  # a record that lacks only the blank lines behind it is whole
        whole = sum(end - blank <= size for end in ends)
        numbers, damage, _ = walk(data[:size])
        assert numbers == list(range(whole)), size
        left = size - ends[whole - 1]
        assert [(d.is_cut or left < 8, d.offset, d.length) for d in damage] == (
            [(True, ends[whole - 1], left)] if left > 0 else []
        ), size


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_record_that_the_next_member_cuts_short_is_cut(name: str) -> None:
    pack = PACKS[name]
    parts = [pack(record(0)), pack(record(1)[:-50]), pack(record(2))]
    numbers, damage, _ = walk(b"".join(parts))
    assert numbers == [0, 2]
    assert [(d.is_cut, d.offset, d.length) for d in damage] == [
        (True, len(parts[0]), len(parts[1]))
    ]


def test_where_no_record_is_nothing_is_read() -> None:
    data = record(0) + b"\r\n" * 3
    found = read_record(io.BytesIO(data), len(record(0)))
    assert found == Damage(len(record(0)), 0, True, "no record here")


def test_a_part_without_records_does_not_make_a_file_none() -> None:
    data = b"hello world\n" * 9
    (odd,) = walk(data, 0, len(data) - 1)[1]
    assert (odd.offset, odd.length) == (0, len(data))
    assert walk(data, 9, len(data)) == ([], [], [])
    for end in (None, len(data), len(data) + 1):
        with pytest.raises(UnusableArchiveError, match="begins with 'hello world"):
            walk(data, 0, end)


def test_a_file_compressed_as_a_whole_or_in_blocks() -> None:
    data = b"".join(record(i) for i in range(40))
    blocks = b"".join(gzip.compress(data[i : i + 700]) for i in range(0, len(data), 700))
    for packed in (gzip.compress(data), zstandard.compress(data), blocks):
        numbers, damage, records = walk(packed)
        assert numbers == list(range(40)) and not damage
        assert records[0].offset == 0 and records[1].offset is None
    cut = gzip.compress(data)
    numbers, damage, _ = walk(cut[: len(cut) * 2 // 3])
    assert numbers == list(range(len(numbers))) and len(damage) == 1 and damage[0].is_cut


def test_one_bad_record_in_a_file_compressed_as_a_whole() -> None:
    data = record(0) + record(1, length="x") + record(2)
    numbers, damage, _ = walk(gzip.compress(data))
    assert numbers == [0, 2] and "Content-Length is 'x'" in damage[0].message


def test_zstd_with_a_dictionary_and_frames_to_skip() -> None:
    words = zstandard.ZstdCompressionDict(record(7) * 4)
    pack = zstandard.ZstdCompressor(dict_data=words).compress
    frame = zstandard.compress(words.as_bytes())
    head = b"\x5d\x2a\x4d\x18" + len(frame).to_bytes(4, "little") + frame
    skip = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    data = head + pack(record(0)) + skip + pack(record(1))
    numbers, damage, records = walk(data)
    assert numbers == [0, 1] and not damage
    assert records[1].offset is not None
    assert read_record(io.BytesIO(data), records[1].offset) == records[1]


def test_padding_behind_the_last_record_is_no_damage() -> None:
    for pad in (b"\0" * 5000, b"\r\n\r\n"):
        assert walk(record(0) + pad)[:2] == ([0], [])
    assert walk(gzip.compress(record(0)) + b"\0" * 5000)[:2] == ([0], [])


def test_large_blocks_are_passed_over_and_their_neighbours_kept() -> None:
    for pack in PACKS.values():
        data = pack(record(0, b"x" * 5000)) + pack(record(1))
        big, small = read_records(io.BytesIO(data), max_block=1000)
        assert isinstance(big, Record) and big.block is None and big.size == 5000
        assert isinstance(small, Record) and small.block is not None
        exactly, _ = read_records(io.BytesIO(data), max_block=5000)
        assert isinstance(exactly, Record) and exactly.block == b"x" * 5000


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_slices_give_each_record_once(data: st.DataObject) -> None:
    pack = PACKS[data.draw(st.sampled_from(sorted(PACKS)))]
    whole = b"".join(pack(record(i, b"\n%d" % i * 30)) for i in range(20))
    cuts = data.draw(st.lists(st.integers(1, len(whole)), max_size=5))
    edges = [0, *sorted(cuts), len(whole)]
    numbers = [n for a, b in itertools.pairwise(edges) if b > a for n in walk(whole, a, b)[0]]
    assert numbers == list(range(20))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(PACKS)), st.integers(0, 2**30), st.integers(1, 255))
def test_a_flipped_byte_costs_one_record_at_most(name: str, at: int, flip: int) -> None:
    pack = PACKS[name]
    parts = [pack(record(i)) for i in range(4)]
    data = bytearray(b"".join(parts))
    data[at % len(data)] ^= flip
    try:
        found = list(read_records(io.BytesIO(bytes(data))))
    except UnusableArchiveError:
        assert at % len(data) < len(parts[0])  # the magic of the file
        return
    records = [r for r in found if isinstance(r, Record)]
    assert len(records) >= 3
    for r in records:
        if name != "plain":  # without a checksum a flipped byte of a body is not seen
            assert r.block in [b"body of %d " % i * 20 for i in range(4)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (gzip.compress(b'{"a": 1}\n' * 99, mtime=0), "it begins with .*\"a\": 1.* in gzip where a record begins"),
        (b"<!DOCTYPE html><title>404", "is an HTML page, perhaps a server's error page"),
        (gzip.compress(b"<html>", mtime=0), "is an HTML page in gzip"),
        (b"filedesc://x.arc 0.0.0.0 20100101000000 text/plain 76\n1 0 x\n", "is an ARC file"),
        (b"PK\x03\x04aaaa", "is a zip archive: unpack it"),
        (b"BZh91AY", "is bzip2: unpack it"),
        (b"\x1f\x8b\x08\0nonsense" * 9, "a gzip member cannot be decoded"),
        (b"\x5d\x2a\x4d\x18\xff\xff\xff\xffno dictionary", "is no WARC file"),
        (b"hello world\n" * 9, "begins with 'hello world"),
    ],
)  # fmt: skip
def test_files_that_are_no_warc_say_what_they_are(data: bytes, message: str) -> None:
    with pytest.raises(UnusableArchiveError, match=message):
        walk(data)


def test_bombs_take_neither_memory_nor_the_neighbours() -> None:
    import resource

    head = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://e.org/1\r\n"
    bombs = [
        head + b"Content-Length: 300000000\r\n\r\n" + b"\0" * 300_000_000 + b"\r\n\r\n",
        head + b"X: " + b"a" * 100_000_000,
    ]
    for pack in (PACKS["gzip"], PACKS["zstd"]):
        packed = [pack(bomb) for bomb in bombs]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for bomb in packed:
            found = list(read_records(io.BytesIO(pack(record(0)) + bomb + pack(record(2)))))
            kept = [r.url for r in found if isinstance(r, Record) and r.block is not None]
            assert kept == ["http://e.org/0", "http://e.org/2"]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_as_many_records_as_another_reader_finds() -> None:
    data = b"".join(gzip.compress(record(i)) for i in range(30))
    assert len(walk(data)[0]) == sum(1 for _ in OtherReader(io.BytesIO(data)))
