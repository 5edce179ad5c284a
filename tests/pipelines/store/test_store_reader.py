"""Images read from the files of the store: which bytes, and how many files are open at once."""

import zlib
from pathlib import Path
from typing import Any

import pytest

from septet.pipelines.store import reader
from septet.pipelines.store.reader import StoreError, StoreReader


def row(file: str, data: bytes, offset: int) -> dict[str, Any]:
    return {
        "file": file, "offset": offset, "size": len(data), "crc32": zlib.crc32(data),
        "image_url": "http://e.org/a.png",
    }  # fmt: skip


def test_any_number_of_files_is_read_with_few_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_OPEN_FILES", 3)
    wanted = []
    for number in range(5):
        (tmp_path / f"{number}.bin").write_bytes(b"head" + b"%d" % number * 9)
        wanted.append(row(f"{number}.bin", b"%d" % number * 9, 4))
    open_files = []
    with StoreReader(str(tmp_path)) as store:
        for number, data in enumerate(store.images([*wanted, None, *wanted])):
            assert data == (None if number == 5 else b"%d" % ((number - (number > 5)) % 5) * 9)
            open_files.append(len(store._open))
        files = [*store._open.values()]
    assert open_files == [1, 2] + [3] * 9
    assert all(file.closed for file in files)


@pytest.mark.parametrize(("offset", "size", "message"), [
    (4, 9, "should be the image http://e.org/a.png"),
    (5, 8, "but 4 bytes with CRC-32"),
])  # fmt: skip
def test_other_bytes_are_refused(tmp_path: Path, offset: int, size: int, message: str) -> None:
    (tmp_path / "a.bin").write_bytes(b"123456789")
    wanted = row("a.bin", b"x" * size, offset) | {"size": size}
    with StoreReader(str(tmp_path)) as store, pytest.raises(StoreError, match=message):
        list(store.images([wanted]))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with StoreReader(str(tmp_path)) as store, pytest.raises(StoreError, match=r"gone\.bin is gone"):
        list(store.images([row("gone.bin", b"x", 0)]))
