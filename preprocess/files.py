"""Files that are whole or absent, on any file system that fsspec knows.

A file is written under a temporary name beside its final one and renamed (local disk), or put
in one piece (object stores). So whatever has its final name is whole.
"""

import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from septet.preprocess.scratch import scratch_folder

TEMPORARY_SUFFIX = ".septet-tmp"


def is_local(path: str) -> bool:
    """Whether `path` is on this machine's own file system."""
    return "://" not in path or path.startswith("file://")


def local_path(path: str) -> Path:
    """A local `path` as a `Path`, without its scheme."""
    return Path(path.removeprefix("file://"))


def join(base: str, *parts: str) -> str:
    """Join `base` and `parts` with single slashes, for URLs and local paths alike."""
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs",
             "hf": "huggingface_hub"}  # fmt: skip
"""What is to be installed for stores that people name, by the scheme of their URLs."""


STORE_OPTIONS: dict[str, Any] = {"use_listings_cache": False}
"""How file systems are opened: listings are not kept, as other processes write and remove files
meanwhile. Opened otherwise it is another one, which does not know what this one wrote."""


def file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a remote path, and the path as that has it.

    Raises:
        OSError: its package is not installed; says which.
        ValueError: nobody knows the scheme.
    """
    try:
        fs, plain = fsspec.url_to_fs(path, **STORE_OPTIONS)
    except ImportError as error:
        scheme = path.partition("://")[0]
        advice = f"pip install {_PACKAGES[scheme]}" if scheme in _PACKAGES else str(error)
        raise OSError(f"{path}: what reads {scheme}:// is not installed: {advice}") from error
    return fs, str(plain)


class _Written:
    """The bytes of the files that this process has written whole; threads may write at once."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()

    def add(self, out: BinaryIO) -> None:
        """Count a file that is written."""
        with self._lock:
            self.bytes += os.fstat(out.fileno()).st_size


_WRITTEN = _Written()


def bytes_written() -> int:
    """The bytes of all files that this process has written so far."""
    return _WRITTEN.bytes


def exists(path: str) -> bool:
    """Whether there is a file or folder of that name."""
    if is_local(path):
        return local_path(path).exists()
    fs, plain = file_system(path)
    return bool(fs.exists(plain))


def list_folder(path: str) -> list[str]:
    """The sorted names in a folder, without temporary files; empty where there is no such
    folder."""
    if is_local(path):
        folder = local_path(path)
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    else:
        fs, plain = file_system(path)
        found = fs.ls(plain, detail=False) if fs.exists(plain) else []
        names = [name.rstrip("/").rsplit("/", 1)[-1] for name in found]
    return sorted(name for name in names if not name.endswith(TEMPORARY_SUFFIX))


_FEW_FOLDERS = 8


def paths_in(folders: Iterable[str]) -> set[str]:
    """Paths of the files in some folders. On a store, which lists a thousand names a request
    whatever their folders, neighbouring folders are listed as one, with all below it."""
    given = set(folders)
    asked = given
    while len(asked) > _FEW_FOLDERS and not is_local(min(asked)):
        above: dict[str, list[str]] = {}
        for folder in asked:
            above.setdefault(folder.rpartition("/")[0], []).append(folder)
        fewer = {parent if some[1:] else some[0] for parent, some in above.items()}
        if fewer == asked:
            break
        asked = fewer
    found: set[str] = set()
    for folder in asked:
        names = list_folder(folder) if folder in given else (name for name, _ in walk(folder))
        found |= {join(folder, name) for name in names}
    return found


def walk(path: str) -> Iterator[tuple[str, int]]:
    """Walk the files below a folder, temporary ones too; yields path and size in bytes, sorted,
    paths relative to the folder."""
    yield from ((name, size) for name, size, _ in walk_times(path))


def walk_times(path: str) -> Iterator[tuple[str, int, float | None]]:
    """Walk as `walk` does, with the time when each file was written, in seconds since the epoch;
    None where its store does not say it."""
    if is_local(path):
        root = str(local_path(path))
        for folder, folders, names in os.walk(root):
            folders.sort()
            below = os.path.relpath(folder, root)
            for name in sorted(names):
                with suppress(FileNotFoundError):  # removed just now
                    found = (Path(folder) / name).stat()
                    below_root = name if below == "." else f"{below}/{name}"
                    yield below_root, found.st_size, found.st_mtime
        return
    fs, remote = file_system(path)
    for name, info in sorted(fs.find(remote, detail=True).items()):
        below_root = name.removeprefix(remote.rstrip("/") + "/")
        yield below_root, int(info.get("size") or 0), _written(info)


def _written(info: Mapping[str, Any]) -> float | None:
    """The time of a file in the words of its store: of S3, of memory and Azure, of Google, or a
    local one."""
    for name in ("LastModified", "last_modified", "created", "mtime", "updated"):
        value = info.get(name)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None


def remove(path: str) -> None:
    """Remove a file or a whole folder; nothing happens where there is none."""
    if is_local(path):
        plain = local_path(path)
        if plain.is_dir():
            shutil.rmtree(plain)
        else:
            plain.unlink(missing_ok=True)
        return
    fs, remote = file_system(path)
    with suppress(FileNotFoundError):
        fs.rm(remote, recursive=True)


def move(path: str, to: str) -> None:
    """Move a file; on a store it is copied, then removed."""
    if is_local(path):
        local_path(to).parent.mkdir(parents=True, exist_ok=True)
        local_path(path).replace(local_path(to))
        return
    fs, remote = file_system(path)
    fs.mv(remote, file_system(to)[1])


def take_away(path: str) -> bool:
    """Remove a file; returns whether it was there.

    On a local file system (NFS, too) this is atomic: of several that try, one is told True. On an
    object store two that try at once may both be.
    """
    if is_local(path):
        try:
            local_path(path).unlink()
        except FileNotFoundError:
            return False
        return True
    fs, remote = file_system(path)
    try:
        there = bool(fs.exists(remote))
        if there:
            fs.rm_file(remote)
    except FileNotFoundError:
        return False
    return there


def remove_temporaries(folder: str) -> None:
    """Remove the temporary files below a local `folder`, which killed writers left."""
    if is_local(folder):
        for left in [*local_path(folder).rglob(f".*{TEMPORARY_SUFFIX}")]:
            remove(str(left))


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Add the file's name to the error that its disk is full (or a quota): what writes does not
    say it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def open_atomic(path: str) -> Iterator[BinaryIO]:
    """Open a seekable binary file that appears as `path` when the block ends without an
    exception."""
    if is_local(path):
        final = local_path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.parent / f".{final.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        try:
            with naming(final), temporary.open("wb+") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
                _WRITTEN.add(out)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
        return
    fs, remote = file_system(path)
    with (
        tempfile.NamedTemporaryFile(dir=scratch_folder(), suffix=TEMPORARY_SUFFIX) as scratch,
        naming(scratch.name),
    ):
        yield scratch  # type: ignore[misc]
        scratch.flush()
        fs.makedirs(remote.rsplit("/", 1)[0], exist_ok=True)
        fs.put_file(scratch.name, remote)
        _WRITTEN.add(scratch)  # type: ignore[arg-type]


def write_bytes(path: str, data: bytes) -> None:
    """Write `data` as `path`, whole or not at all."""
    with open_atomic(path) as out:
        out.write(data)


def open_read(path: str, ahead: bool = True) -> BinaryIO:
    """Open a file for reading; a local name is taken as it is, whatever signs it holds.

    Pipes and devices are refused and not waited for.

    Args:
        path: Local or remote.
        ahead: Whether a remote file is read ahead, megabytes at a time; most of them in
            vain for a reader that jumps.

    Raises:
        OSError: it is not there, is no plain file, or cannot be read.
    """
    if is_local(path):
        return os.fdopen(open_plain(path), "rb")
    fs, remote = file_system(path)
    file: BinaryIO = fs.open(remote, "rb", **({} if ahead else {"cache_type": "none"}))
    return file


def open_plain(path: str) -> int:
    """Open a local plain file for reading, as `open_read` does; returns its descriptor.

    Raises:
        OSError: it is not there, is no plain file, or cannot be read.
    """
    plain = path.removeprefix("file://")
    descriptor = os.open(plain, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise OSError(errno.EINVAL, f"is {kind}, no plain file", plain)
    return descriptor


def read_bytes(path: str) -> bytes:
    """Read the whole of `path`, which is a plain file as for `open_read`."""
    if is_local(path):
        with open_read(path) as file:
            return file.read()
    fs, remote = file_system(path)
    data: bytes = fs.cat_file(remote)
    return data


def size(path: str) -> int:
    """The size of a file in bytes."""
    if is_local(path):
        return local_path(path).stat().st_size
    fs, remote = file_system(path)
    return int(fs.size(remote))


class TableSink:
    """A writer of a Parquet file (zstd), table by table; a context manager for use in
    `open_atomic`.

    Equal tables in equal order give equal bytes.
    """

    def __init__(self, out: BinaryIO, schema: pa.Schema):
        self.rows = 0
        self._schema = schema
        self._writer = pq.ParquetWriter(out, schema, compression="zstd", version="2.6")

    def __enter__(self) -> "TableSink":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._writer.is_open:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Append a table as a row group; its columns are cast to the sink's schema."""
        if len(table):
            self.rows += len(table)
            self._writer.write_table(table.select(self._schema.names).cast(self._schema))

    def close(self, metadata: dict[str, str] | None = None) -> None:
        """Finish the file, with key-value metadata for its footer."""
        if metadata:
            self._writer.add_key_value_metadata(metadata)
        self._writer.close()


def write_table(
    path: str,
    table: pa.Table,
    schema: pa.Schema | None = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write `table` as Parquet, whole or not at all."""
    with open_atomic(path) as out, TableSink(out, schema or table.schema) as sink:
        sink.write(table)
        sink.close(metadata)


def read_table(path: str, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file, or some columns of it; it is a plain file as for `open_read`."""
    if is_local(path):
        os.close(open_plain(path))  # Arrow would wait for what a pipe brings
        return pq.ParquetFile(local_path(path)).read(columns)
    fs, remote = file_system(path)
    with fs.open(remote) as file:
        return pq.ParquetFile(file).read(columns)


def read_table_metadata(path: str) -> tuple[int, dict[bytes, bytes]]:
    """Read the row count and the key-value metadata of a Parquet file, from its footer alone."""
    with open_read(path) as file:
        footer = pq.ParquetFile(file).metadata
        return footer.num_rows, dict(footer.metadata or {})


def sha256(path: str) -> str:
    """The hex SHA-256 of a file's content."""
    with open_read(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


SAMPLED_DIGEST_ABOVE = 256 * 2**20
_SAMPLE = 2**20


def content_digest(path: str) -> tuple[int, str]:
    """The size in bytes and a digest of an input file.

    Files up to 256 MiB are digested whole ("blake2b:…"). For larger ones the size and 16 evenly
    spread mebibytes are ("sampled:…"): a crawl's archives are terabytes, and they are written
    once. The digest does not depend on the file's name or times.
    """
    with open_read(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16, person=b"septet.input")
        if size <= SAMPLED_DIGEST_ABOVE:
            while block := file.read(_SAMPLE):
                digest.update(block)
            return size, f"blake2b:{digest.hexdigest()}"
        for i in range(16):
            file.seek((size - _SAMPLE) * i // 15)
            digest.update(file.read(_SAMPLE))
    return size, f"sampled:{digest.hexdigest()}"
