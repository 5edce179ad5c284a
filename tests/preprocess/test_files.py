"""Files that are whole or absent, here and on an object store; names with signs; pipes."""

import hashlib
import os
import secrets
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from septet.preprocess import files
from tests.object_store import object_store

PLACES = ["local", "file URL", "signs in the name", "store"]


@pytest.fixture(params=PLACES)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "store":
        return f"memory://{secrets.token_hex(4)}"
    if request.param == "signs in the name":
        return str(tmp_path / "a::b #?[1]")
    return f"file://{tmp_path}" if request.param == "file URL" else str(tmp_path)


def test_what_is_written_is_read(base: str) -> None:
    path = files.join(base, "/below/", "x.bin")
    assert path == f"{base}/below/x.bin"
    assert not files.exists(path) and files.list_folder(files.join(base, "below")) == []
    files.write_bytes(path, b"abc")
    assert files.exists(path) and files.exists(files.join(base, "below"))
    assert files.read_bytes(path) == b"abc" and files.size(path) == 3
    with files.open_read(path) as file:
        assert file.seek(1) == 1 and file.read() == b"bc"
    assert files.sha256(path) == hashlib.sha256(b"abc").hexdigest()
    assert files.list_folder(files.join(base, "below")) == ["x.bin"]
    files.remove(path)
    files.remove(path)
    assert not files.exists(path)


def test_folders_are_listed_together_and_files_move(base: str) -> None:
    for name in ("1/x", "1/.x.septet-tmp", "2/y", "3/4/z"):
        files.write_bytes(files.join(base, "a", name), name.encode())
    folders = [files.join(base, "a", str(number)) for number in (1, 2, *range(5, 25))]
    deep = [files.join(base, "a/3", str(number)) for number in range(20)]
    found = files.paths_in([*folders, *deep])
    wanted = {files.join(base, "a", name) for name in ("1/x", "2/y", "3/4/z")}
    assert wanted <= found and (base.startswith("memory") or wanted == found)
    assert files.paths_in(folders[:1]) == {files.join(base, "a/1/x")}
    files.move(files.join(base, "a/1/x"), files.join(base, "a/new/z"))
    assert not files.exists(files.join(base, "a/1/x"))
    assert files.read_bytes(files.join(base, "a/new/z")) == b"1/x"


def test_tables(base: str) -> None:
    path = files.join(base, "t.parquet")
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    files.write_table(path, table, metadata={"k": "v"})
    assert files.read_table(path) == table
    assert files.read_table(path, ["b"]).column_names == ["b"]
    rows, metadata = files.read_table_metadata(path)
    assert rows == 2 and metadata[b"k"] == b"v"
    with pytest.raises(pa.ArrowInvalid):
        files.write_table(path, pa.table({"a": ["no number"]}), pa.schema([("a", pa.int64())]))
    assert files.read_table(path) == table


def test_equal_tables_are_equal_bytes(tmp_path: Path) -> None:
    table = pa.table({"a": list(range(1000))})
    for name in ("1", "2"):
        files.write_table(str(tmp_path / name), table)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_sink_counts_rows_and_leaves_out_empty_tables(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int32())])
    path = str(tmp_path / "t.parquet")
    with files.open_atomic(path) as out, files.TableSink(out, schema) as sink:
        for rows in ([1, 2], [], [3]):
            sink.write(pa.table({"b": rows, "a": rows}))
        assert sink.rows == 3
    assert files.read_table(path) == pa.table({"a": [1, 2, 3]}, schema=schema)


def test_a_writer_that_fails_leaves_what_was_there(base: str) -> None:
    path = files.join(base, "x")
    files.write_bytes(path, b"old")
    with pytest.raises(RuntimeError), files.open_atomic(path) as out:
        out.write(b"new")
        raise RuntimeError
    assert files.read_bytes(path) == b"old" and files.list_folder(base) == ["x"]


def test_what_killed_writers_left_is_no_file_and_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "below" / f".x.1234{files.TEMPORARY_SUFFIX}"
    left.parent.mkdir()
    left.write_bytes(b"half")
    (tmp_path / "below/.keep").write_bytes(b"")
    assert files.list_folder(str(tmp_path / "below")) == [".keep"]
    files.remove_temporaries(str(tmp_path))
    assert not left.exists() and (tmp_path / "below/.keep").exists()


def test_folders_are_removed_with_all_below(base: str) -> None:
    files.write_bytes(files.join(base, "a", "b"), b"x")
    files.remove(files.join(base, "a"))
    assert not files.exists(files.join(base, "a"))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for read in (files.open_read, files.read_bytes, files.read_table, files.read_table_metadata):
        with pytest.raises(OSError, match="a folder" if kind == "folder" else "a pipe or a device"):
            read(str(path))  # type: ignore[operator]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(FileNotFoundError):
        files.open_read(str(tmp_path / "nowhere"))


def test_digests_of_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.SAMPLED_DIGEST_ABOVE == 2**28  # names of what was built depend on it
    monkeypatch.setattr(files, "SAMPLED_DIGEST_ABOVE", 1000)
    monkeypatch.setattr(files, "_SAMPLE", 10)

    def digest(data: bytes, name: str = "x") -> str:
        (tmp_path / name).write_bytes(data)
        size, text = files.content_digest(str(tmp_path / name))
        assert size == len(data)
        return text

    small = bytes(range(250)) * 4
    assert digest(small) == digest(small, "y") and digest(small).startswith("blake2b:")
    for at in (0, 500, 999):
        assert digest(small[:at] + b"\xff" + small[at + 1 :]) != digest(small)
    large = small + b"x"
    assert digest(large).startswith("sampled:") and digest(large) != digest(large + b"x")
    for at in (0, 9, 495, 991, 1000):  # the first, middle and last of the samples
        seen = any(start <= at < start + 10 for start in ((991 * i) // 15 for i in range(16)))
        changed = large[:at] + b"\xff" + large[at + 1 :]
        assert (digest(changed) != digest(large)) == seen


def test_a_walk_tells_each_file_below_with_its_size(base: str) -> None:
    root = files.join(base, "root")
    names = {"b": 1, "a/2": 2, "a/.3.septet-tmp": 3, "a.c": 0, "a/d/e": 5}
    for name, size in names.items():
        files.write_bytes(files.join(root, name), b"x" * size)
    assert dict(files.walk(root)) == names
    assert dict(files.walk(files.join(root, "a"))) == {"2": 2, ".3.septet-tmp": 3, "d/e": 5}
    assert list(files.walk(files.join(root, "none"))) == []


def test_a_file_is_taken_away_by_one(base: str) -> None:
    path = files.join(base, "lease")
    files.write_bytes(path, b"x")
    assert [files.take_away(path) for _ in range(2)] == [True, False]
    assert not files.exists(path)


def test_a_store_is_asked_anew_when_others_wrote_and_removed() -> None:
    """Drivers live long, and workers of other machines write and remove below the same folder."""
    with object_store() as bucket:
        folder = f"{bucket}/stages"
        files.write_bytes(f"{folder}/1", b"1")
        assert files.list_folder(folder) == ["1"]
        assert [name for name, _ in files.walk(folder)] == ["1"]
        other = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        other.rm_file(f"{folder}/1")
        other.pipe_file(f"{folder}/2", b"2")
        assert not files.exists(f"{folder}/1") and files.exists(f"{folder}/2")
        assert not files.take_away(f"{folder}/1")
        files.remove(f"{folder}/1")
        assert files.list_folder(folder) == ["2"]
        other.rm_file(f"{folder}/2")
        other.pipe_file(f"{folder}/3", b"3")
        files.remove(folder)
        assert other.find(folder) == []
        files.remove(folder)
