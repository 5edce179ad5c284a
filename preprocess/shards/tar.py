"""Tars of samples: a deterministic writer, and an indexer for tars that others wrote."""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

Member = dict[str, Any]
"""An entry of `septet.schemas.tables.MEMBERS`."""

MAX_NAME_BYTES = 100
_END = b"\0" * 1024


class TarError(ValueError):
    """A tar that does not hold samples as WebDataset means them."""


def split_name(name: str) -> tuple[str, str]:
    """A member's name into sample key and extension, as WebDataset does: at the first dot of the
    last path component."""
    base = name.rpartition("/")[2]
    stem, _, ext = base.partition(".")
    return name[: len(name) - len(base)] + stem, ext


class ShardWriter:
    """Writes samples into an open binary file as a plain ustar archive.

    Headers carry no time, owner or machine, so equal samples give equal bytes.
    """

    def __init__(self, out: BinaryIO):
        self._out = out
        self._offset = 0
        self._digest = hashlib.sha256()

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._digest.update(data)
        self._offset += len(data)

    def add(self, key: str, members: Mapping[str, bytes]) -> list[Member]:
        """Append one sample.

        Args:
            key: The sample's key; no dot, no slash at its ends.
            members: Content by extension, in the order to be written.

        Returns:
            The sample's entry for the sidecar's `members` column.

        Raises:
            ValueError: the key or an extension cannot be a WebDataset name.
        """
        entries = []
        for ext, data in members.items():
            name = f"{key}.{ext}"
            hidden = key.rpartition("/")[2] == ""
            if hidden or split_name(name) != (key, ext) or len(name.encode()) > MAX_NAME_BYTES:
                raise ValueError(
                    f"member name {name!r} must be KEY.EXT with no dot in KEY and at most "
                    f"{MAX_NAME_BYTES} bytes"
                )
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            self._write(info.tobuf(tarfile.USTAR_FORMAT))
            entries.append(
                {"ext": ext, "offset": self._offset, "size": len(data), "crc32": zlib.crc32(data)}
            )
            self._write(data + b"\0" * (-len(data) % tarfile.BLOCKSIZE))
        return entries

    def close(self) -> tuple[int, str]:
        """Write the end of the archive; returns its size in bytes and its hex SHA-256."""
        self._write(_END)
        self._write(b"\0" * (-self._offset % tarfile.RECORDSIZE))
        return self._offset, self._digest.hexdigest()


def index_tar(file: BinaryIO, name: str) -> Iterator[tuple[str, list[Member]]]:
    """Walk a WebDataset tar (ustar, GNU or PAX) and yield each sample's key and members.

    Args:
        file: The tar, seekable.
        name: How to call it in errors.

    Raises:
        TarError: the tar is truncated or broken, or a key's members are not adjacent.
    """
    seen: set[str] = set()
    key: str | None = None
    members: list[Member] = []
    end = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                end = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                base = info.name.rpartition("/")[2]
                if not info.isfile() or base.startswith(".") or "." not in base:
                    continue
                this, ext = split_name(info.name)
                if this != key:
                    if key is not None:
                        yield key, members
                    if this in seen:
                        raise TarError(f"{name}: the members of {this!r} are not adjacent")
                    seen.add(this)
                    key, members = this, []
                if any(member["ext"] == ext for member in members):
                    raise TarError(f"{name}: {info.name!r} is there twice")
                content = tar.extractfile(info)
                data = content.read() if content else b""
                if len(data) != info.size:
                    raise TarError(f"{name}: {info.name!r} is cut short")
                members.append(
                    {"ext": ext, "offset": info.offset_data, "size": info.size,
                     "crc32": zlib.crc32(data)}
                )  # fmt: skip
    except tarfile.TarError as error:
        raise TarError(f"{name}: {error}") from error
    # tarfile takes a header that is cut short for the end of the archive.
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE) != b"\0" * tarfile.BLOCKSIZE:
        raise TarError(f"{name}: no end-of-archive mark at offset {end}: the file is cut short")
    if key is not None:
        yield key, members
