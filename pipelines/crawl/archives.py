"""The archives of a crawl: numbered WARC files, one of them written to, of which a journal tells.

Neither file is flushed to the disk with every page, so after a power cut either may have lost its
end. An archive is synced every few seconds, before the journal is, and the journal's lines say how
much of it was safe by then. What lies behind is read when a crawl goes on: the journal is cut back
to what the archive holds whole, and the rest is asked for again.
"""

import time
import zlib
from dataclasses import replace
from pathlib import Path

from septet.pipelines.crawl.journal import (
    NAME,
    Entry,
    JournalError,
    cut_journal,
    last_entry,
    sync_folder,
)
from septet.preprocess.warc.write import Exchanged, WarcWriter

_ARCHIVE_BYTES = 2**30
_SYNC_SECONDS = 5.0
_PIECE = 2**16
_PUT_BACK = "put back a copy of the file, or begin anew in another folder"


class Archives:
    """The archives of one crawl, open to be added to.

    Args:
        folder: The crawl's folder.
        software: Who writes.

    Raises:
        JournalError: an archive that the journal tells of is not there, or there are archives
            without a journal.
    """

    def __init__(self, folder: Path, software: str):
        self._folder, self._software = folder / "warc", software
        self._folder.mkdir(exist_ok=True)
        self._writer: WarcWriter | None = None
        self._synced = time.monotonic()
        self.lost = 0
        """Lines of the journal that told of more than the archive holds; they were cut off."""
        self.number = self.end = self.safe = 0
        self._resume(folder)

    def _resume(self, folder: Path) -> None:
        """Stand where journal and archive agree, and cut both back to there."""
        there = {
            int(path.name.split(".")[0]): path
            for path in self._folder.glob("*.warc.gz")
            if path.name.split(".")[0].isdecimal()
        }
        if there and not (folder / NAME).exists():
            raise JournalError(f"{folder} has archives but no {NAME}: {_PUT_BACK}")
        if last := last_entry(folder):
            self.number, self.end, self.safe = last.archive, last.end, last.safe
        if self.end and self.number not in there:
            name = self._path(self.number)
            raise JournalError(f"{name} is not there, and {NAME} tells of it: {_PUT_BACK}")
        if self.end:
            path = there[self.number]
            if (whole := _whole(path, self.safe, self.end)) < self.end:
                self.lost, self.end = cut_journal(folder, self.number, whole)
            self.safe = min(self.safe, self.end)
        for number, path in there.items():
            if number > self.number or (number == self.number and not self.end):
                path.unlink()
            elif number == self.number:
                with path.open("r+b") as file:
                    file.truncate(self.end)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.warc.gz"

    def store(self, exchanged: Exchanged) -> None:
        """Append an answer with its request."""
        if self.end >= _ARCHIVE_BYTES:
            self.close()
            self.number, self.end, self.safe = self.number + 1, 0, 0
        if self._writer is None:
            self._writer = WarcWriter(self._path(self.number), self._software, self.end)
            sync_folder(self._folder)
        self.end = self._writer.write(exchanged)

    def placed(self, entry: Entry) -> Entry:
        """An entry of the journal with the place where the archive ends now."""
        return replace(entry, archive=self.number, end=self.end, safe=self.safe)

    def sync(self, soon: bool = False) -> bool:
        """Bring what was written to the disk, every few seconds, or `soon`; returns whether it was
        done."""
        now = time.monotonic()
        if not soon and now - self._synced < _SYNC_SECONDS:
            return False
        if self._writer is not None:
            self._writer.sync()
        self.safe, self._synced = self.end, now
        return True

    def close(self) -> None:
        """Bring everything to the disk, and close the file."""
        self.sync(soon=True)
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def count(self) -> int:
        """The number of archives."""
        return len(list(self._folder.glob("*.warc.gz")))


def _whole(path: Path, start: int, end: int) -> int:
    """Where the last whole member of a gzip file ends that lies between two places; `start` is the
    end of one, of which the file may lack a part."""
    size = path.stat().st_size
    at = start
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    with path.open("rb") as file:
        if size <= start:
            return size
        file.seek(start)
        left = min(size, end) - start
        while piece := file.read(min(_PIECE, left)):
            left -= len(piece)
            try:
                while piece:
                    member.decompress(piece)
                    piece = member.unused_data
                    if member.eof:
                        at = file.tell() - len(piece)
                        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            except zlib.error:
                break
    return at
