"""Tars that other programs wrote, or that nobody should have written: walked, refused, bounded."""

import io
import subprocess
import tarfile
import zlib
from collections import Counter
from pathlib import Path

import pytest

from septet.preprocess.shards.tar import (
    MAX_NAME_BYTES,
    Entry,
    ShardWriter,
    TarError,
    index_tar,
    read_entries,
    read_samples,
)

BLOCK = 512


def member(
    name: str, data: bytes = b"abc", kind: bytes = tarfile.REGTYPE, **fields: object
) -> bytes:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + b"\0" * (-len(data) % BLOCK)


def index(data: bytes) -> tuple[dict[str, list[str]], Counter[str]]:
    passed_over: Counter[str] = Counter()
    file = io.BytesIO(data)
    found = {}
    for key, members in index_tar(file, "x.tar", passed_over):
        found[key] = [m["ext"] for m in members]
        for m in members:
            file.seek(m["offset"])
            assert zlib.crc32(file.read(m["size"])) == m["crc32"]
    return found, passed_over


def patched(block: bytes, at: int, field: bytes) -> bytes:
    """A header with some bytes replaced and its checksum mended."""
    head = bytearray(block[:BLOCK])
    head[at : at + len(field)] = field
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + block[BLOCK:]


END = b"\0" * 1024
ONE, TWO = member("1.jpg") + member("1.txt"), member("2.jpg", b"x" * 600)
BOTH = {"1": ["jpg", "txt"], "2": ["jpg"]}
V7 = patched(TWO, 257, b"\0" * 8)
JUNK = bytes(range(1, 256)) * 9

WHOLE = {
    "end mark": ONE + TWO + END,
    "no end mark": ONE + TWO,
    "one zero block": ONE + TWO + END[:BLOCK],
    "no padding of the last member": ONE + TWO[: BLOCK + 600],
    "padded to a record": ONE + TWO + END * 10,
    "two tars": ONE + END + TWO + END,
    "two tars with padding": ONE + END * 10 + TWO + END * 10,
    "a zero block between members": ONE + END[:BLOCK] + TWO,
    "what was in memory behind the end mark": ONE + TWO + END + JUNK,
    "a tar behind what was in memory": ONE + END + JUNK[:BLOCK] * 1 + TWO + END,
    "version 7": ONE + V7 + END,
    "size in base 256": ONE + patched(TWO, 124, b"\x80" + b"\0" * 9 + b"\x02\x58") + END,
    "contiguous file": ONE + member("2.jpg", kind=tarfile.CONTTYPE) + END,
}  # fmt: skip


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_tars_that_hold_two_samples(data: bytes) -> None:
    found, passed_over = index(data)
    assert found == BOTH and not passed_over


def test_an_empty_file_and_an_empty_tar_hold_nothing() -> None:
    assert index(b"") == index(END) == index(END[:10]) == ({}, Counter())


def pax(fields: dict[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    data = b""
    for key, value in fields.items():
        body = f" {key}={value}\n".encode()
        size = len(body) + len(str(len(body)))
        size = len(body) + len(str(size))
        data += str(size).encode() + body
    return member("PaxHeader", data, kind)


def test_an_empty_header_says_nothing() -> None:
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
        assert index(ONE + member("x", b"", kind) + TWO)[0] == BOTH
    padded = member("x", b"14 comment=ab\n" + b"\0" * 5, tarfile.XHDTYPE)
    assert index(ONE + padded + TWO)[0] == BOTH


LONG = "d/" + "k" * 200
NAMES = {
    "PAX path": (pax({"path": f"{LONG}.jpg", "mtime": "1.5"}) + member("short"), f"{LONG}.jpg"),
    "GNU long name": (member(f"{LONG}.jpg"), f"{LONG}.jpg"),
    "GNU long link before a long name": (
        member("././@LongLink", b"elsewhere\0", tarfile.GNUTYPE_LONGLINK) + member(f"{LONG}.jpg"), f"{LONG}.jpg"),
    "ustar prefix": (patched(patched(member("k.jpg"), 257, b"ustar\00000"), 345, b"a/b"), "a/b/k.jpg"),
    "escapes": (member("\x1b[31m.jpg"), "\x1b[31m.jpg"),
    "not ASCII": (member("é/日.jpg"), "é/日.jpg"),
    "dots before": (member("./../k.jpg"), "./../k.jpg"),
    "PAX for all that follow": (pax({"comment": "x"}, tarfile.XGLTYPE) + member("k.jpg"), "k.jpg"),
    "PAX of Solaris": (pax({"path": "k.jpg"}, tarfile.SOLARIS_XHDTYPE) + member("short"), "k.jpg"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "name"), NAMES.values(), ids=NAMES)
def test_names(data: bytes, name: str) -> None:
    entries = list(read_entries(io.BytesIO(data + member("z.txt", b"12"))))
    assert [entry.name for entry in entries] == [name, "z.txt"]
    assert [entry.size for entry in entries] == [3, 2]


def test_pax_sizes_count() -> None:
    data = pax({"size": "5"}) + patched(member("1.jpg", b"abcde"), 124, b"%011o\0" % 0) + TWO
    assert [(e.name, e.size) for e in read_entries(io.BytesIO(data))] == [
        ("1.jpg", 5),
        ("2.jpg", 600),
    ]


def test_what_is_no_member_of_a_sample_is_counted() -> None:
    data = (
        member("d", b"", tarfile.DIRTYPE)
        + member("1.jpg", b"", tarfile.LNKTYPE, linkname="0.jpg")
        + patched(member("2.jpg", b"", tarfile.SYMTYPE, linkname="0.jpg"), 124, b"%011o\0" % 9)
        + member("pipe.jpg", b"", tarfile.FIFOTYPE)
        + member("3.jpg", b"x" * 600, b"Q")
        + member("d/.hidden.jpg")
        + member("README")
        + member("dots.")
        + ONE
    )
    found, passed_over = index(data)
    assert found == {"1": ["jpg", "txt"]}
    assert passed_over == {
        "unknown_types": 1,
        "folders": 1,
        "links": 2,
        "devices": 1,
        "hidden": 1,
        "without_extension": 2,
    }


BROKEN = {
    "damaged header": (ONE + b"\1" + TWO[1:], "no member's header at offset 2048", 0),
    "damaged second": (ONE + TWO + member("3.jpg") + JUNK, "no member's header at offset 4608", 2),
    "cut in a header": (ONE + TWO[:100], "no member's header at offset 2048", 0),
    "cut in content": (ONE + TWO[: BLOCK + 599], "'2.jpg' at offset 2560 has 600 bytes and the file ends at 3159", 1),
    "a size of terabytes": (ONE + patched(TWO, 124, b"\x80" + b"\0" * 5 + b"\x09" + b"\0" * 5), "it is cut short", 1),
    "a negative size": (ONE + patched(TWO, 124, b"\xff" * 12), "has the size -1", 1),
    "a PAX size of words": (ONE + pax({"size": "1e9"}) + TWO, "has the size '1e9'", 1),
    "a PAX size below zero": (ONE + pax({"size": "-1"}) + TWO, "has the size '-1'", 1),
    "a PAX header of terabytes": (ONE + patched(pax({"a": "b"}), 124, b"77777777777\0") + TWO, "is not believed", 0),
    "a PAX header longer than the file": (ONE + patched(pax({"a": "b"}), 124, b"%011o\0" % 5000), "of 5000 bytes is not believed", 0),
    "a PAX record that lies": (ONE + member("p", b"99 path=x\n", tarfile.XHDTYPE) + TWO, "PAX header at offset 2048 is damaged", 0),
    "a PAX record too short": (ONE + member("p", b"3 path=x\n", tarfile.XHDTYPE) + TWO, "PAX header at offset 2048 is damaged", 0),
    "a PAX record without its end": (ONE + member("p", b"10 path=xx", tarfile.XHDTYPE) + TWO, "PAX header at offset 2048 is damaged", 0),
    "old sparse": (ONE + member("2.jpg", kind=tarfile.GNUTYPE_SPARSE) + TWO, "'2.jpg' is a sparse file", 1),
    "sparse in PAX": (ONE + pax({"GNU.sparse.major": "1", "GNU.sparse.name": "2.jpg"}) + member("x"), "'2.jpg' is a sparse file", 1),
    "there twice": (ONE + TWO + TWO, "'2.jpg' is there twice", 1),
    "not adjacent": (ONE + TWO + member("1.json"), "the members of '1' are not adjacent", 2),
    "a name that is not UTF-8": (ONE + patched(TWO, 0, b"\xff2.jpg"), "is not UTF-8", 1),
    "gzip": (b"\x1f\x8b\x08" + ONE, "is gzip, no plain tar: unpack it first", 0),
    "no tar": (JUNK, "no member's header at offset 0", 0),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message", "before"), BROKEN.values(), ids=BROKEN)
def test_tars_that_are_refused_say_where(data: bytes, message: str, before: int) -> None:
    found = []
    with pytest.raises(TarError) as error:
        for key, _ in index_tar(io.BytesIO(data), "x.tar"):
            found.append(key)
    assert str(error.value).startswith("x.tar: ") and message in str(error.value)
    assert len(found) == before and f"; {before} complete samples" in str(error.value)


def test_sparse_members_that_are_no_samples_are_walked_over() -> None:
    """An old sparse member's map goes on in blocks behind its header: 4 extents there, 21 a block."""
    head = patched(member("sparse", kind=tarfile.GNUTYPE_SPARSE), 482, b"\1")
    more = b"\0" * 504 + b"\1" + b"\0" * 7
    last = b"\0" * 512
    data = head[:BLOCK] + more + last + head[BLOCK:] + ONE
    found, passed_over = index(data)
    assert found == {"1": ["jpg", "txt"]} and passed_over == {"without_extension": 1}
    (entry, *_) = read_entries(io.BytesIO(data))
    assert entry == Entry("sparse", 0, 3 * BLOCK, 3, True)


@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "pax"])
def test_tars_of_gnu_tar(tmp_path: Path, form: str) -> None:
    folder = tmp_path / ("n" * 60) / "deep"
    folder.mkdir(parents=True)
    sparse = form in ("gnu", "pax")
    (folder / "a.jpg").write_bytes(b"x" * 1000)
    (folder / "a.txt").write_bytes(b"")
    (folder / "b.jpg").symlink_to("a.jpg")
    (folder / "holes").write_bytes(b"")
    with (folder / "holes").open("r+b") as file:
        file.truncate(10**6)
        file.seek(500_000)
        file.write(b"x")
    subprocess.run(
        ["tar", *(["-S"] if sparse else []), "-C", tmp_path, "--sort=name", f"--format={form}", "-cf", tmp_path / "x.tar", "n" * 60],
        check=True,
    )  # fmt: skip
    found, passed_over = index((tmp_path / "x.tar").read_bytes())
    assert found == {"n" * 60 + "/deep/a": ["jpg", "txt"]}
    assert passed_over == {"folders": 2, "links": 1, "without_extension": 1}


@pytest.mark.parametrize("size", [95, 96, 97, 300, MAX_NAME_BYTES - 4])
def test_the_writer_takes_long_keys(size: int) -> None:
    out = io.BytesIO()
    writer = ShardWriter(out)
    key = "k" * size
    entries = writer.add(key, {"jpg": b"abc", "txt": b""})
    writer.close()
    out.seek(0)
    assert list(index_tar(out, "x")) == [(key, entries)]
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert tar.getnames() == [f"{key}.jpg", f"{key}.txt"]
    long = out.getvalue()[156:157] == tarfile.XHDTYPE
    assert long == (size > 96)


def test_large_members_take_no_memory() -> None:
    import tracemalloc

    data = io.BytesIO(member("1.jpg", b"x" * 30_000_000) + END)
    tracemalloc.start()
    assert [key for key, _ in index_tar(data, "x")] == ["1"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_sample_of_too_many_members_is_none() -> None:
    """Members are compared with one another: of 100,000 that would take minutes."""
    names = [*(f"a.{n}" for n in range(1200)), "b.txt"]
    first, second = read_samples(io.BytesIO(b"".join(map(member, names))))
    assert first.fault == "'a' has more than 1000 members" and len(first.members) == 1000
    assert second.fault is None and second.key == "b"
