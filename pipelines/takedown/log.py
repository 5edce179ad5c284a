"""The log of removals: when, by whom and why, a JSON object a line."""

import getpass
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from septet.pipelines.takedown.wanted import Wanted
from septet.preprocess import files
from septet.schemas.layout import REMOVED_LOG

if TYPE_CHECKING:
    from septet.pipelines.takedown.remove import Taken


@dataclass(frozen=True)
class Entry:
    """A line of the log. It does not repeat what was removed."""

    time: str
    """UTC, ISO 8601."""
    who: str
    note: str
    what: str
    """`ids`, `urls`, `domain`, `phash`, or `compact`."""
    figures: dict[str, int]

    @classmethod
    def now(cls, who: str, note: str, wanted: Wanted, taken: "Taken") -> Self:
        """The line of a removal that happens now."""
        figures = {
            "lines": len(wanted.values),
            "removed": taken.removed,
            "with_others": taken.with_others,
            "before": taken.before,
            "unknown": len(taken.unknown),
        }
        return cls(timestamp(), who or user(), note, wanted.how, figures)


def timestamp() -> str:
    """The time now, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def user() -> str:
    """The name of whoever runs this; empty where the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def append(corpus: str, entry: Entry) -> None:
    """Add a line to a corpus's log."""
    path = files.join(corpus, REMOVED_LOG)
    before = files.read_bytes(path) if files.exists(path) else b""
    line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
    files.write_bytes(path, before + line.encode())


def read_log(corpus: str) -> list[dict[str, Any]]:
    """The lines of a corpus's log, oldest first."""
    path = files.join(corpus, REMOVED_LOG)
    if not files.exists(path):
        return []
    return [json.loads(line) for line in files.read_bytes(path).splitlines()]
