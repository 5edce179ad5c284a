"""The journal of a crawl: a line for each address that was asked for and what became of it.

A line comes after what it tells of is in the archive, and says where the archive ends then. Who is
killed in between finds the last whole line, cuts the archive back to it, and asks again for what
was under way: one address a host at most. After a power cut the last lines may be missing, or tell
of more than the archive holds (`archives`).
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from septet.pipelines.crawl.frontier import Link

NAME = "journal.jsonl"


@dataclass(frozen=True)
class Entry:
    """What became of one address."""

    url: str
    kind: str
    depth: int
    hops: int
    outcome: str
    """`stored`, or why it was not: a reason of `septet.schemas.reasons`, `redirect`, `same` (its
    bytes are stored already), `noarchive`, `media`, `sitemap`."""
    value: str | None = None
    archive: int = 0
    """The number of the archive that is written to."""
    end: int = 0
    """Where that archive ends."""
    bytes: int = 0
    """Bytes of the answer's body."""
    digest: str | None = None
    """Of a page that was stored."""
    links: list[Link] = field(default_factory=list)
    """What was new in it."""
    known: list[str] = field(default_factory=list)
    """Addresses that it stands for, too."""
    safe: int = 0
    """How much of that archive was on the disk for certain."""

    @property
    def link(self) -> Link:
        """The address as it was asked for."""
        return Link(self.url, self.kind, self.depth, self.hops)


class JournalError(ValueError):
    """Raised when a journal, or an archive that it tells of, is not what a crawl has written."""


class Journal:
    """The journal of one crawl, open to be added to.

    Args:
        folder: The crawl's folder.
    """

    def __init__(self, folder: Path):
        self._path = folder / NAME
        self._file = self._path.open("ab", buffering=0)
        sync_folder(folder)

    def add(self, entry: Entry) -> None:
        """Add a line."""
        data = {name: value for name, value in asdict(entry).items() if value}
        data["links"] = [list(link) for link in entry.links]
        line = json.dumps(data, ensure_ascii=False).encode() + b"\n"
        while line:
            line = line[self._file.write(line) or 0 :]

    def sync(self) -> None:
        """Bring what was added to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Bring everything to the disk, and close the file."""
        self.sync()
        self._file.close()


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk."""
    there = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(there)
    finally:
        os.close(there)


def read_journal(folder: Path) -> Iterator[Entry]:
    """Read the whole lines of a journal; what a killed writer left of another one is cut off.

    Raises:
        JournalError: a whole line is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return
    end = 0
    with path.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            yield _parsed(line, path, end)
        file.truncate(end)


def last_entry(folder: Path) -> Entry | None:
    """The last whole entry of a journal; None where there is none.

    Raises:
        JournalError: see `read_journal`.
    """
    last = None
    for entry in read_journal(folder):
        last = entry
    return last


def cut_journal(folder: Path, archive: int, end: int) -> tuple[int, int]:
    """Cut off all lines from the first one on that tells of more of an archive than its first `end`
    bytes; returns the number of these lines, and where the archive ends by the others."""
    kept = size = lost = 0
    path = folder / NAME
    with path.open("r+b") as file:
        for line in file:
            entry = _parsed(line, path, size + len(line))
            if lost or (entry.archive == archive and entry.end > end):
                lost += 1
            else:
                size += len(line)
                kept = entry.end if entry.archive == archive else 0
        file.truncate(size)
        os.fsync(file.fileno())
    return lost, kept


def _parsed(line: bytes, path: Path, end: int) -> Entry:
    try:
        data = json.loads(line)
        links = [Link(*link) for link in data.pop("links", [])]
        return Entry(**{"depth": 0, "hops": 0, **data, "links": links})
    except (ValueError, TypeError, AttributeError) as error:
        raise JournalError(
            f"{path}: the line that ends at byte {end} is damaged ({error}): put back a copy of "
            "the file, or begin anew in another folder"
        ) from error
