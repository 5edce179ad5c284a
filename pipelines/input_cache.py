"""A cache of what earlier builds found out about their inputs, so that the next one need not read
them.

A file counts as unchanged while its label, size, time of change (nanoseconds) and inode are those
that were noted; on object stores label, size and entity tag or time. That is trusted: a
change of bytes that sets all of these back is not noticed. A file that changed less than
two seconds before it was read is not noted, for it might change again within one tick of its clock.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from septet.pipelines.sources.base import Facts, InputError, Source
from septet.pipelines.sources.listing import listing_digest, stamp_of
from septet.preprocess import files
from septet.schemas.layout import STAGES

CACHE_FOLDER = "inputs"
"""The folder of the cache, below `stages/` of the corpus."""
_FILE = "known.parquet"
_SCHEMA = pa.schema(
    [
        pa.field("label", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("facts", pa.string(), nullable=False),
    ]
)
_SETTLED_NS = 2 * 10**9


@dataclass(frozen=True)
class Known:
    """The facts of an input: its bytes, the digest of its content, its slices and columns."""

    size: int
    digest: str
    facts: Facts


class InputCache:
    """The cache of one corpus. Nothing is read or written where the corpus is None."""

    def __init__(self, corpus: str | None):
        self._path = files.join(corpus, STAGES, CACHE_FOLDER, _FILE) if corpus is not None else None
        self._noted: dict[tuple[str, str], tuple[str, Known]] = {}
        self._current: dict[tuple[str, str], tuple[str, Known]] = {}
        if self._path is None:
            return
        try:
            rows = files.read_table(self._path).to_pylist()
        except (OSError, pa.ArrowInvalid):  # there are none, or damaged ones
            return
        for row in rows:
            known = Known(row["size"], row["digest"], _facts(row["facts"]))
            self._noted[row["label"], row["kind"]] = row["stamp"], known

    def get(self, label: str, path: str, source: Source) -> Known:
        """The cached facts of an input where it is unchanged, else those found by looking into it
        now.

        Raises:
            InputError: it is not there, cannot be read, or is not of the source's kind.
        """
        kind = f"{source.kind}-{source.version}"
        try:
            size, stamp = _stat(path)
            noted = self._noted.get((label, kind))
            if noted is not None and stamp and noted[0] == stamp:
                self._current[label, kind] = noted
                return noted[1]
            facts = source.describe(path, size)
            look = listing_digest if source.folders else files.content_digest
            size, digest = look(path)
        except InputError as error:
            raise InputError(f"{label}: {error}") from error
        except OSError as error:
            raise InputError(f"{label}: cannot be read: {error.strerror or error}") from error
        except Exception as error:  # stores raise what they like
            if files.is_local(path):
                raise
            raise InputError(f"{label}: cannot be read: {_told(error)}") from error
        known = Known(size, digest, facts)
        if stamp:
            self._current[label, kind] = stamp, known
        return known

    def write(self) -> None:
        """Write the facts of all inputs that were asked for, in place of those cached before."""
        if self._path is None or self._current == self._noted:
            return
        rows = [
            {"label": label, "kind": kind, "stamp": stamp, "size": known.size,
             "digest": known.digest,
             "facts": json.dumps({"slices": known.facts.slices, "columns": known.facts.columns})}
            for (label, kind), (stamp, known) in sorted(self._current.items())
        ]  # fmt: skip
        files.write_table(self._path, pa.Table.from_pylist(rows, _SCHEMA), _SCHEMA)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _facts(text: str) -> Facts:
    stored = json.loads(text)
    return Facts([(start, stop) for start, stop in stored["slices"]], stored["columns"])


def _stat(path: str) -> tuple[int, str]:
    """The size and stamp of an input; the stamp is empty where it says too little to be trusted."""
    if not files.is_local(path):
        fs, plain = files.file_system(path)
        info = fs.info(plain)
        stamp = stamp_of(info)
        return int(info.get("size") or 0), f"{info.get('size')} {stamp}" if stamp else ""
    found = files.local_path(path).stat()
    if Path(path).is_dir() or time.time_ns() - found.st_mtime_ns < _SETTLED_NS:
        return found.st_size, ""
    return found.st_size, f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"
