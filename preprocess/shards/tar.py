"""Tars of samples: a deterministic writer, and an indexer of tars that others wrote."""

import hashlib
import os
import re
import tarfile
import zlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

Member = dict[str, Any]
"""An entry of `septet.schemas.tables.MEMBERS`."""

MAX_NAME_BYTES = 1024
"""Longest name of a member; from 101 bytes on it takes a PAX header."""
_USTAR_NAME_BYTES = 100
_END = b"\0" * 1024
_READ_BYTES = 2**20
_MAX_LABEL_BYTES = 2**20
_MAX_MEMBERS = 1000
"""Members of a sample, at most: each is compared with all others."""
_LABELS = frozenset(
    {
        tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    }
)  # fmt: skip
"""Types of headers that say something of the members behind them."""
_WITHOUT_CONTENT = {
    tarfile.LNKTYPE: "links", tarfile.SYMTYPE: "links", tarfile.DIRTYPE: "folders",
    tarfile.CHRTYPE: "devices", tarfile.BLKTYPE: "devices", tarfile.FIFOTYPE: "devices",
}  # fmt: skip
_PACKED = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip"))
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]+)=")


class TarError(ValueError):
    """Raised when a tar does not hold samples as WebDataset means them.

    `member` is the name of the member that is wrong, where there is one.
    """

    def __init__(self, message: str, member: str | None = None):
        super().__init__(message)
        self.member = member


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name into sample key and extension, as WebDataset does: at the first dot of
    the last path component."""
    base = name.rpartition("/")[2]
    stem, _, ext = base.partition(".")
    return name[: len(name) - len(base)] + stem, ext


class ShardWriter:
    """A writer of samples into an open binary file, as a plain ustar archive.

    Headers carry no time, owner or machine, so equal samples give equal bytes. Names that ustar
    cannot hold (over 100 bytes) get a PAX header.
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
            is_long = len(name.encode()) > _USTAR_NAME_BYTES
            self._write(info.tobuf(tarfile.PAX_FORMAT if is_long else tarfile.USTAR_FORMAT))
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


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a tar: its name, where its headers start and its content, and how many bytes that
    has."""

    name: str
    at: int
    offset: int
    size: int
    is_sparse: bool = False


def read_entries(
    file: BinaryIO,
    passed_over: Counter[str] | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Entry]:
    """Walk the plain files of a tar: v7, ustar, GNU or PAX, also several tars one behind another.

    Zeros between members are passed over, as are bytes behind an end mark that are no tar (old
    programs pad with what was in memory). A tar may end without an end mark, at a member's end.

    Args:
        file: Seekable.
        passed_over: Gets how many `links`, `folders`, `devices` and `unknown_types` there are.
        start: Where the first member's headers start.
        stop: Behind the last place where headers may start; None for the end of the file.

    Raises:
        TarError: a header that is damaged, or the file ends inside of a member; with the offset.
    """
    counts = Counter[str]() if passed_over is None else passed_over
    size = file.seek(0, os.SEEK_END)
    at, first = start, None  # where this header starts, and the first one of its member
    is_end = False  # whether an end mark, zeros, came last
    extended: dict[str, str] = {}  # of the next member: what PAX and GNU headers say
    shared: dict[str, str] = {}  # of all that follow
    while at < size and (first is not None or stop is None or at < stop):
        file.seek(at)
        block = file.read(tarfile.BLOCKSIZE)
        if not block.strip(b"\0"):
            is_end = True
            at += len(block)
            continue
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if is_end:
                at += len(block)
                continue
            packed = next(
                (word for sign, word in _PACKED if at == 0 and block.startswith(sign)), ""
            )
            raise TarError(
                f"is {packed}, no plain tar: unpack it first" if packed
                else f"no member's header at offset {at} ({error})"
            ) from error  # fmt: skip
        is_end = False
        start = at + tarfile.BLOCKSIZE
        if header.type == tarfile.GNUTYPE_SPARSE:
            start = _behind_sparse_map(file, start, block)
        if header.type in _LABELS:
            text = _read_label(file, header, start, size)
            words = _parse_label(header.type, text, at)
            if header.type != tarfile.XGLTYPE:
                extended.update(words)
            elif "path" in words or "size" in words:
                raise TarError(f"a header at offset {at} gives all members one name or size")
            else:
                shared.update(words)
            first = at if first is None else first
            at = _padded(start + header.size)
            continue
        words, extended = {**shared, **extended}, {}
        begin, first = at if first is None else first, None
        name = words.get("GNU.sparse.name") or words.get("path") or header.name
        length = _length(words.get("size"), header.size, name, at)
        if header.type in _WITHOUT_CONTENT:
            counts[_WITHOUT_CONTENT[header.type]] += 1
            at = start
            continue
        if start + length > size:
            raise TarError(
                f"{name!r} at offset {start} has {length} bytes and the file ends at {size}: it is "
                "cut short",
                name,
            )
        at = _padded(start + length)
        if not header.isreg():
            counts["unknown_types"] += 1
        else:
            is_sparse = header.type == tarfile.GNUTYPE_SPARSE or any(
                word.startswith("GNU.sparse.") for word in words
            )
            yield Entry(name, begin, start, length, is_sparse)


def _padded(end: int) -> int:
    return -(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _behind_sparse_map(file: BinaryIO, start: int, block: bytes) -> int:
    """Find where the content of an old GNU sparse member starts: behind further blocks of its
    map."""
    is_continued = block[482] != 0
    while is_continued:
        file.seek(start)
        more = file.read(tarfile.BLOCKSIZE)
        start += tarfile.BLOCKSIZE
        is_continued = len(more) > 504 and more[504] != 0
    return start


def _read_label(file: BinaryIO, header: tarfile.TarInfo, start: int, size: int) -> bytes:
    if not 0 <= header.size <= min(_MAX_LABEL_BYTES, size - start):
        raise TarError(f"a header at offset {start} of {header.size} bytes is not believed")
    file.seek(start)
    return file.read(header.size)


def _parse_label(kind: bytes, data: bytes, at: int) -> dict[str, str]:
    """Parse a header of another member's long name or PAX fields.

    PAX: records of `LENGTH KEY=VALUE\\n`, where LENGTH counts the whole record.
    """
    if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
        text = data.split(b"\0")[0].decode("utf-8", "surrogateescape")
        return {"path": text} if kind == tarfile.GNUTYPE_LONGNAME else {}
    fields: dict[str, str] = {}
    begin = 0
    while begin < len(data) and data[begin] != 0:
        match = _PAX_RECORD.match(data, begin)
        end = begin + int(match[1]) if match else 0
        if not match or end > len(data) or end <= match.end() or data[end - 1 : end] != b"\n":
            raise TarError(f"a PAX header at offset {at} is damaged")
        value = data[match.end() : end - 1].decode("utf-8", "surrogateescape")
        fields[match[2].decode("utf-8", "surrogateescape")] = value
        begin = end
    return fields


def _length(text: str | None, size: int, name: str, at: int) -> int:
    if text is not None:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise TarError(f"{name!r} at offset {at} has the size {text!r}", name)
        size = int(text)
    if size < 0:
        raise TarError(f"{name!r} at offset {at} has the size {size}", name)
    return size


@dataclass(slots=True)
class TarSample:
    """Neighbouring members of a tar that have one key.

    `at` is where the headers of the first one start; `members` are extensions with their entries,
    `contents` the bytes of those that were to be read; `fault` says why it is no sample as
    WebDataset means it.
    """

    key: str
    at: int
    members: list[tuple[str, Entry]] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    fault: str | None = None


def read_samples(
    file: BinaryIO,
    passed_over: Counter[str] | None = None,
    start: int = 0,
    stop: int | None = None,
    contents: Collection[str] = (),
    most: int = 2**20,
    remember: bool = True,
) -> Iterator[TarSample]:
    """Walk the samples of a WebDataset tar, or of a part of it.

    Args:
        file: The tar, seekable.
        passed_over: Gets how many members are no part of a sample: `links`, `folders`, `devices`,
            `unknown_types`, `hidden` (their name begins with a dot) and `without_extension`.
        start: Where the headers of a sample start.
        stop: Where those of the sample behind the last one start; None for the end of the file.
        contents: Extensions, in lower case, of members whose content is read.
        most: Bytes of content that are read of a member, and one more of those that have more.
        remember: Whether to hold all keys, so that one that comes again has its fault.

    Raises:
        TarError: the tar is cut short or damaged; what was complete before was given.
    """
    counts = Counter[str]() if passed_over is None else passed_over
    seen: set[str] = set()
    sample: TarSample | None = None
    try:
        for entry in read_entries(file, counts, start, stop):
            base = entry.name.rpartition("/")[2]
            key, ext = split_name(entry.name)
            if base.startswith("."):
                counts["hidden"] += 1
                continue
            if not ext:
                counts["without_extension"] += 1
                continue
            if sample is None or key != sample.key:
                if sample is not None:
                    done, sample = sample, None
                    yield done
                sample = TarSample(key, entry.at)
                if key in seen:
                    sample.fault = f"the members of {key!r} are not adjacent"
                if remember:
                    seen.add(key)
            sample.fault = sample.fault or _fault(entry, ext, sample)
            if len(sample.members) < _MAX_MEMBERS:
                sample.members.append((ext, entry))
            if ext.lower() in contents and not sample.fault:
                file.seek(entry.offset)
                sample.contents[ext.lower()] = file.read(min(entry.size, most + 1))
    except TarError as error:
        if sample is not None and error.member and split_name(error.member)[0] != sample.key:
            yield sample
        raise
    if sample is not None:
        yield sample


def index_tar(
    file: BinaryIO, name: str, passed_over: Counter[str] | None = None
) -> Iterator[tuple[str, list[Member]]]:
    """Walk a WebDataset tar and yield each sample's key and members, as soon as it is complete.

    Args:
        file: The tar, seekable.
        name: Its name in errors.
        passed_over: See `read_samples`.

    Raises:
        TarError: the tar is cut short or damaged, a key's members are not adjacent, or a member
            is sparse; the message says how many samples were complete before.
    """
    complete = 0
    try:
        for sample in read_samples(file, passed_over):
            if sample.fault:
                raise TarError(sample.fault)
            members = [
                {"ext": ext, "offset": one.offset, "size": one.size, "crc32": _crc32(file, one)}
                for ext, one in sample.members
            ]
            complete += 1
            yield sample.key, members
    except TarError as error:
        raise TarError(f"{name}: {error}; {complete} complete samples before it") from error


def cut_tar(file: BinaryIO, size: int, every: int) -> list[tuple[int, int]]:
    """Cut a tar into ranges of bytes that start and end between samples.

    One of at most `every` bytes is one range, of which the first header is read; of a larger one
    all headers are, and no content. (A header can be found from any place by its checksum, but it
    may be one of a tar that is a member's content.) A tar in which members of a key stand apart is
    one range, so that one reader sees it; so is what follows damage.

    Args:
        file: Seekable.
        size: The file's bytes.
        every: Bytes of a range, at least.

    Raises:
        TarError: no tar.
    """
    if size <= every:
        next(read_entries(file), None)
        return [(0, size)]
    cuts, keys = [0], array("Q")
    try:
        for sample in read_samples(file, remember=False):
            name = sample.key.encode("utf-8", "surrogateescape")
            keys.frombytes(hashlib.blake2b(name, digest_size=8).digest())
            if sample.at >= cuts[-1] + every:
                cuts.append(sample.at)
    except TarError:
        if not keys:
            raise
    if len(np.unique(np.frombuffer(keys, np.uint64))) < len(keys):
        cuts = [0]
    return list(zip(cuts, [*cuts[1:], size], strict=True))


def _fault(entry: Entry, ext: str, sample: TarSample) -> str | None:
    if entry.is_sparse:
        return f"{entry.name!r} is a sparse file: write the tar without --sparse"
    if len(sample.members) == _MAX_MEMBERS:
        return f"{sample.key!r} has more than {_MAX_MEMBERS} members"
    if any(other == ext for other, _ in sample.members):
        return f"{entry.name!r} is there twice"
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return f"the name {entry.name!r} is not UTF-8"
    return None


def _crc32(file: BinaryIO, entry: Entry) -> int:
    """The CRC-32 of a member's content, read piece by piece."""
    file.seek(entry.offset)
    left, crc32 = entry.size, 0
    while left:
        piece = file.read(min(left, _READ_BYTES))
        if not piece:
            raise TarError(f"{entry.name!r} is cut short")
        crc32 = zlib.crc32(piece, crc32)
        left -= len(piece)
    return crc32
