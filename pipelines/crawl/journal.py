"""The journal of a crawl: a line for each address that was asked for and what became of it.

A line comes after what it tells of is in the archive, and says where the archive ends then. Who is
killed in between finds the last whole line, cuts the archive back to it, and asks again for what
was under way: one address a host at most.
"""

import json
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

    def add(self, entry: Entry) -> None:
        """Add a line."""
        data = {name: value for name, value in asdict(entry).items() if value}
        data["links"] = [list(link) for link in entry.links]
        line = json.dumps(data, ensure_ascii=False).encode() + b"\n"
        while line:
            line = line[self._file.write(line) or 0 :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
