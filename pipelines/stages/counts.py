"""Counts of the rows that a task, a stage or a build took in, gave out and dropped, by reason."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from septet.preprocess.rules.tally import Tally

METADATA_KEY = "septet.counts"


@dataclass
class Counts:
    """Figures of the funnel. `other` holds what is counted but is no pair (pages, images …)."""

    rows_in: int = 0
    rows_out: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    """What rules measured, of the rows that they kept too."""

    def add(self, more: "Counts") -> None:
        """Add another task's figures."""
        self.rows_in += more.rows_in
        self.rows_out += more.rows_out
        self.rejected.update(more.rejected)
        self.other.update(more.other)
        self.tally.add(more.tally)

    @classmethod
    def sum(cls, parts: "Iterable[Counts]") -> "Counts":
        """The figures of several tasks together."""
        total = cls()
        for part in parts:
            total.add(part)
        return total

    def snapshot(self) -> "Counts":
        """A copy of figures that another thread may go on counting."""
        return Counts(self.rows_in, self.rows_out, Counter(self.rejected), Counter(self.other))

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain data, keys sorted."""
        return {
            "in": self.rows_in,
            "out": self.rows_out,
            "rejected": dict(sorted(self.rejected.items())),
            "counts": dict(sorted(self.other.items())),
            **self.tally.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Counts":
        """The inverse of `to_dict`."""
        rejected, other = Counter(data["rejected"]), Counter(data["counts"])
        return cls(data["in"], data["out"], rejected, other, Tally.from_dict(data))

    def to_metadata(self) -> dict[str, str]:
        """The counts as metadata for the footer of the task's Parquet output."""
        return {METADATA_KEY: json.dumps(self.to_dict())}

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes]) -> "Counts":
        """The counts in such a footer; zero where it has none."""
        text = metadata.get(METADATA_KEY.encode())
        return cls.from_dict(json.loads(text)) if text else cls()


HOSTS_WAITING = "hosts_waiting"
"""The key in `Counts.other` of the hosts that have URLs without a result: a state and no sum, so
it is only in counts that are under way."""
EVALUATION_HITS = "evaluation_hits"
"""The keys in `Counts.other` of what was dropped for an evaluation set: this word and its name."""
UNDER_WAY: list[Counts] = []
"""The counts of the tasks that this process runs now; workers send them to the process that waits
for the build."""


@contextmanager
def under_way(*parts: Counts) -> Iterator[None]:
    """Tell of some counts while the block runs."""
    UNDER_WAY.extend(parts)
    try:
        yield
    finally:
        UNDER_WAY[:] = [one for one in UNDER_WAY if all(one is not part for part in parts)]
