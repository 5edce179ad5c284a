"""What is asked for most of a large corpus, kept in memory: numbers, facets, and captions in lower
case, compressed. A thread reads them while nobody waits; until it has, and of what does not fit,
questions read the files."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa

from septet.pipelines.browse.database import HELD, Database, QueryError
from septet.pipelines.browse.sql import Column, quoted

LEAST = 1_000_000
"""Samples below which all questions are quick without."""
MOST_BYTES = 600 * 2**20
_TEXTS = (
    "language", "language_from", "caption_from", "format", "source", "status", "chinese",
    "image_domain", "page_domain",
)  # fmt: skip
_LOWERED = ("caption",)
"""Texts that are kept in lower case, for words; they themselves are read from the files."""
_AT_ONCE = 500_000
_OWN = "c0"
_PAUSE = 0.05
_LONGEST_PAUSE = 5.0


class Held:
    """A table of one corpus in memory that stands for its files.

    Args:
        database: Where it is.
        name: Its name.
        columns: The corpus's fields.
        counts: How many samples each shard has.
        source: Gives FROM for the tables that have some fields.
        more: What of the base sidecars is kept besides, in SQL, by name.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        columns: Mapping[str, Column],
        counts: Sequence[int],
        source: Callable[[Iterable[str]], str],
        more: Mapping[str, str],
    ):
        self._more = more
        self._database, self._counts, self._source = database, counts, source
        self.table = f"{HELD}.main.{name}"
        self._known = columns
        self.columns: dict[str, Column] = dict(columns)
        """The corpus's fields as they are asked for here; the texts that are kept in lower case say
        where."""
        self.is_ready = False
        """Whether it answers."""
        self.read = 0.0
        """The share of the samples that were read."""
        self._whole: frozenset[str] = frozenset()
        self._lowered: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._making = threading.Lock()

    def has(self, whole: Iterable[str], lowered: Iterable[str]) -> bool:
        """Whether it has some fields, and some at least in lower case."""
        if not self.is_ready:
            return False
        return self._whole.issuperset(whole) and self._lowered.issuperset(lowered)

    @property
    def is_being_made(self) -> bool:
        """Whether a thread is making it."""
        return not self.is_ready and self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        """Make it in a thread, once, where the corpus is large."""
        with self._making:
            if self._thread is None and sum(self._counts) >= LEAST:
                self._thread = threading.Thread(target=self.make, daemon=True)
                self._thread.start()

    def forget(self) -> None:
        """Be asked no more, and make no more of it."""
        with self._making:
            self._ended.set()
            self.is_ready = False

    def end(self) -> None:
        """Forget, and wait for the thread."""
        self.forget()
        if self._thread is not None:
            self._thread.join(10)

    def make(self) -> None:
        """Make it, of as many fields as there is room for."""
        with suppress(QueryError):  # then the files are asked, and say why
            for fields, lowered in self._choices():
                if self._is_made(fields, lowered):
                    with self._making:
                        if not self._ended.is_set():
                            self.columns = self._spelled(lowered)
                            self._whole = frozenset({*fields, *self._more})
                            self._lowered = frozenset(lowered)
                            self.is_ready = True
                            return
                self._database.ask(f"DROP TABLE IF EXISTS {self.table}")
                if self._ended.is_set():
                    return

    def _choices(self) -> Iterator[tuple[list[str], list[str]]]:
        """Fields, and fields in lower case, that may fit: the most first."""
        fits = [name for name in self._unlike() if _is_short(name, self._known[name])]
        lowered = [name for name in _LOWERED if name in self._known and self._is_text(name)]
        own = [name for name in fits if self._known[name].table == _OWN]
        yield fits, lowered
        if lowered:
            yield own, lowered
        yield own, []

    def _unlike(self) -> Iterator[str]:
        """Fields whose names DuckDB, to which capitals are small letters, takes for no others."""
        seen = {"shard_number", "row_number"} | {one.table for one in self._known.values()}
        places = dict[tuple[str, str], str]()
        for name, column in self._known.items():
            place = (column.table, column.name.casefold())
            spelled = places.setdefault(place, column.name)
            if spelled == column.name and not (column.table == _OWN and place[1] in seen):
                yield name

    def _is_text(self, name: str) -> bool:
        return pa.types.is_string(self._known[name].type) and self._known[name].table == _OWN

    def _spelled(self, lowered: Sequence[str]) -> dict[str, Column]:
        return {
            name: column._replace(lower=_lower(name)) if name in lowered else column
            for name, column in self._known.items()
        }

    def _is_made(self, fields: Sequence[str], lowered: Sequence[str]) -> bool:
        """Make the table of some fields; whether there is room for it."""
        source = self._source([*fields, *lowered])
        tables = sorted({_OWN, *(self._known[name].table for name in fields)})
        selected = ", ".join(self._selected(fields, lowered))
        begun = False
        for first, last in self._runs():
            within = " AND ".join(
                f"{one}.shard_number >= {first} AND {one}.shard_number < {last}" for one in tables
            )
            if not self._is_quiet():
                return False
            told = f"SELECT {selected}{source} WHERE {within}"
            word = f"INSERT INTO {self.table}" if begun else f"CREATE TABLE {self.table} AS"
            self._database.ask(f"{word} {told}")
            self._database.ask(f"CHECKPOINT {HELD}")  # which compresses it
            begun = True
            self.read = sum(self._counts[:last]) / sum(self._counts)
            if self._database.held_bytes() > MOST_BYTES:
                return False
        return begun

    def _selected(self, fields: Sequence[str], lowered: Sequence[str]) -> Iterator[str]:
        yield f"{_OWN}.shard_number, {_OWN}.row_number"
        by_table: dict[str, dict[str, str]] = {}
        for name in fields:
            column = self._known[name]
            by_table.setdefault(column.table, {})[column.name] = column.sql
        yield from by_table.pop(_OWN, {}).values()
        for name, sql in self._more.items():
            yield f"{sql} AS {name}"
        for name in lowered:
            yield f"lower({self._known[name].sql}) AS {quoted(_lower(name))}"
        for table, facts in by_table.items():  # of a struct `c1`, `c1.score` is a field
            parts = [f"{quoted(name)} := {sql}" for name, sql in facts.items()]
            parts.append(f"shard_number := {table}.shard_number")
            yield f"struct_pack({', '.join(parts)}) AS {table}"

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Shards that are read together: from one, to before another."""
        starts = np.concatenate([[0], np.cumsum(self._counts)])
        first = 0
        while first < len(self._counts):
            last = int(np.searchsorted(starts, starts[first] + _AT_ONCE, "right")) - 1
            last = max(last, first + 1)
            yield first, last
            first = last

    def _is_quiet(self) -> bool:
        """Wait while questions are asked, a while; whether there is still a wish for it."""
        ends = time.monotonic() + _LONGEST_PAUSE
        while self._database.is_asked and time.monotonic() < ends:
            if self._ended.wait(_PAUSE):
                break
        return not self._ended.is_set()


def _lower(name: str) -> str:
    return f"lower {name}"


def _is_short(name: str, column: Column) -> bool:
    """Whether a field's values take few bytes."""
    if column.is_number or pa.types.is_boolean(column.type):
        return True
    return name in _TEXTS and pa.types.is_string(column.type)
