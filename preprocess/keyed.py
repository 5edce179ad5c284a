"""Records by key in a file that is made once and shared by all processes: a reader holds a few
pages of it, however many records there are.

The file is an SQLite database that is only read once it is there; it is written under another
name, so that whatever has its name is whole.
"""

import itertools
import json
import operator
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from septet.preprocess import files
from septet.preprocess.locks import in_turn
from septet.preprocess.scratch import scratch_folder

_UNUSED_SECONDS, _DEAD_SECONDS = 30 * 24 * 3600, 3600
_LEFT = f".*{files.TEMPORARY_SUFFIX}"
_BATCH = 10_000
PARTS = 256
"""The number of shares of the keys that several readers can part among themselves."""
_PAGES = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;"


def cache_folder() -> Path:
    """The folder of what can be made again and serves several commands: `SEPTET_CACHE`, else
    `septet` in the user's cache. This process's scratch folder where none can be made."""
    named = os.environ.get("SEPTET_CACHE")
    try:
        above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(named) if named else Path(above) / "septet"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):
        return scratch_folder()


class KeyedWriter:
    """A writer of the records of an empty database. Memory is bounded whatever their number."""

    def __init__(self, base: sqlite3.Connection):
        self._base = base
        self._base.executescript(
            f"{_PAGES} CREATE TABLE told (name TEXT, value TEXT);"
            "CREATE TABLE rows (key BLOB, kind INTEGER, data TEXT);"
            "CREATE TABLE marks (key BLOB);"
            "CREATE TEMP TABLE aside (kind TEXT, key BLOB, data TEXT); BEGIN;"
        )
        self._kept: list[tuple[bytes, int, str]] = []

    def add(self, key: str, record: Any, kind: int = 0) -> None:
        """Add a record, a JSON value; of one key there may be many, which keep their order."""
        self._kept.append((_bytes(key), kind, json.dumps(record)))
        if len(self._kept) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._base.executemany("INSERT INTO rows VALUES (?, ?, ?)", self._kept)
        self._kept.clear()

    def keys(self, kind: int) -> int:
        """The number of keys that have a record of a kind."""
        self._flush()
        counted = "SELECT COUNT(DISTINCT key) FROM rows WHERE kind = ?"
        (count,) = self._base.execute(counted, (kind,)).fetchone()
        return int(count)

    def lay_aside(self, kind: str, records: Iterable[tuple[str, Any]]) -> int:
        """Keep records of another kind by key until the file is whole, for `aside`; returns how
        many of them have a key that one before has."""
        rows = ((kind, _bytes(key), json.dumps(record)) for key, record in records)
        self._base.executemany("INSERT INTO aside VALUES (?, ?, ?)", rows)
        self._base.execute("CREATE INDEX IF NOT EXISTS aside_key ON aside (kind, key)")
        counted = "SELECT COUNT(*) - COUNT(DISTINCT key) FROM aside WHERE kind = ?"
        (repeated,) = self._base.execute(counted, (kind,)).fetchone()
        return int(repeated)

    def aside(self, kind: str, key: str) -> Any:
        """The last record of a kind that was laid aside under a key; None where there is none."""
        row = self._base.execute(
            "SELECT data FROM aside WHERE kind = ? AND key = ? ORDER BY rowid DESC LIMIT 1",
            (kind, _bytes(key)),
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def _marks(self) -> list[bytes]:
        """Keys that part all of them into `PARTS` shares of as many, or into one a key."""
        (count,) = self._base.execute("SELECT COUNT(DISTINCT key) FROM rows").fetchone()
        wanted = {count * number // PARTS for number in range(PARTS)}
        keys = self._base.execute("SELECT DISTINCT key FROM rows ORDER BY key")
        return [key for number, (key,) in enumerate(keys) if number in wanted]

    def finish(self, told: dict[str, Any]) -> None:
        """Finish the file, with what `Keyed.told` is to say."""
        self._flush()
        self._base.execute("CREATE INDEX by_key ON rows (key)")
        self._base.executemany("INSERT INTO marks VALUES (?)", ((key,) for key in self._marks()))
        pairs = [(name, json.dumps(value)) for name, value in told.items()]
        self._base.executemany("INSERT INTO told VALUES (?, ?)", pairs)
        self._base.execute("COMMIT")


def write_keyed(path: str, stamp: str, fill: Callable[[KeyedWriter], dict[str, Any]]) -> None:
    """Write a file of records, whole or not at all.

    Args:
        path: Local or remote.
        stamp: What the records were made from, for `Keyed.told["stamp"]`.
        fill: Adds the records; returns what is to be told of them.
    """
    with (
        files.open_atomic(path) as out,
        closing(sqlite3.connect(out.name, isolation_level=None)) as base,
    ):
        writer = KeyedWriter(base)
        writer.finish({**fill(writer), "stamp": stamp})


class Keyed:
    """The records of a file that `write_keyed` wrote, by key. A remote file is copied once."""

    def __init__(self, path: str):
        if files.is_local(path):
            self.path = files.local_path(path).absolute()
        else:
            with tempfile.NamedTemporaryFile(dir=scratch_folder(), delete=False) as copy:
                self.path = Path(copy.name)
                with files.open_read(path) as file:
                    shutil.copyfileobj(file, copy)
        self._base, self._process = self._open(), os.getpid()
        self.told = _told(self._base)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?immutable=1", uri=True, check_same_thread=False
        )

    def _reader(self) -> sqlite3.Connection:
        if self._process != os.getpid():  # a connection must not be carried across a fork
            self._base, self._process = self._open(), os.getpid()
        return self._base

    def __len__(self) -> int:
        (count,) = self._reader().execute("SELECT COUNT(DISTINCT key) FROM rows").fetchone()
        return int(count)

    def get(self, key: str) -> list[tuple[int, Any]]:
        """The records of a key with the kind of each, in the order in which they were added."""
        found = self._reader().execute(
            "SELECT kind, data FROM rows WHERE key = ? ORDER BY rowid", (_bytes(key),)
        )
        return [(kind, json.loads(data)) for kind, data in found]

    def groups(self, start: int = 0, stop: int = PARTS) -> Iterator[tuple[str, list[Any]]]:
        """The keys by their bytes, each with its records in the order in which they were added.

        Args:
            start: The first of the shares to be read, of `PARTS` in which the keys are parted.
            stop: The share behind the last one.
        """
        marks = [key for (key,) in self._reader().execute("SELECT key FROM marks ORDER BY key")]
        first, behind = (
            marks[len(marks) * part // PARTS] if len(marks) * part // PARTS < len(marks) else None
            for part in (start, stop)
        )
        if first is None:
            return
        end = "" if behind is None else "AND key < ?"
        rows = self._reader().execute(
            f"SELECT key, data FROM rows WHERE key >= ? {end} ORDER BY key, rowid",
            [first] if behind is None else [first, behind],
        )
        for key, mine in itertools.groupby(rows, operator.itemgetter(0)):
            text = key.decode("utf-8", "surrogatepass")
            yield text, [json.loads(data) for _, data in mine]

    def first(self, count: int) -> list[Any]:
        """The records that were added first, at most `count`."""
        found = self._reader().execute("SELECT data FROM rows ORDER BY rowid LIMIT ?", (count,))
        return [json.loads(data) for (data,) in found]


def open_stamped(path: str, stamp: str) -> Keyed | None:
    """The records of a file with that stamp; None where there is no such file, or one of another
    form."""
    if not files.exists(path):
        return None
    try:
        found = Keyed(path)
    except sqlite3.Error:
        return None
    return found if found.told.get("stamp") == stamp else None


def cached(name: str, fill: Callable[[KeyedWriter], dict[str, Any]]) -> Keyed:
    """The records that `fill` adds, from this machine's cache; made first where they are not there,
    by one process, for which the others wait.

    Args:
        name: Says what the records are made from: digests, the version of what makes them.
        fill: See `write_keyed`.
    """
    folder = cache_folder() / "records"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.sqlite"
    if not path.exists():
        with _alone(folder):
            if not path.exists():
                write_keyed(str(path), name, fill)
    os.utime(path)
    return Keyed(str(path))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only process that writes into the cache; what killed ones left and what was not used
    for a month goes."""
    with in_turn(folder / "writer.lock"):
        for pattern, seconds in (("*.sqlite", _UNUSED_SECONDS), (_LEFT, _DEAD_SECONDS)):
            for old in folder.glob(pattern):
                with suppress(OSError):
                    if time.time() - old.stat().st_mtime > seconds:
                        old.unlink()
        yield


def _told(base: sqlite3.Connection) -> dict[str, Any]:
    return {name: json.loads(value) for name, value in base.execute("SELECT * FROM told")}


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
