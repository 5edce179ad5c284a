"""Counts of the most frequent values among any number of values, in bounded memory."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MOST = 2**16
"""The number of values that are kept when there are more than twice as many."""
_HASHES = 4096
"""The number of least hashes of values that are kept to estimate how many values there are: within
5 % nearly always."""


@dataclass
class Frequent:
    """How often values occur. Exact until there are more than 131,072 different ones.

    From then on the rarest are let go whenever there are too many again. So a count may be too low,
    by at most `error`, and a value that is not listed occurred at most `error` times; `total` is
    exact. Counts of equal rows are equal where the same parts are added in the same order.
    """

    counts: Counter[str] = field(default_factory=Counter)
    total: int = 0
    error: int = 0
    hashes: NDArray[np.uint64] | None = None
    """The least `_HASHES` hashes of all values seen, ascending; None while nothing was let go."""

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> "Frequent":
        """Make the counts from exact counts of any number of values."""
        found = cls(Counter(counts), sum(counts.values()))
        found._let_go()
        return found

    @property
    def distinct(self) -> int:
        """The number of different values: exact while none was let go, else estimated."""
        if self.hashes is None:
            return len(self.counts)
        return round((len(self.hashes) - 1) / (int(self.hashes[-1]) / 2**64))

    def __iadd__(self, other: "Frequent") -> "Frequent":
        if self.hashes is not None or other.hashes is not None:
            self.hashes = _least(
                _hashes(self.counts) if self.hashes is None else self.hashes,
                _hashes(other.counts) if other.hashes is None else other.hashes,
            )
        self.counts.update(other.counts)
        self.total += other.total
        self.error += other.error
        self._let_go()
        return self

    def _let_go(self) -> None:
        if len(self.counts) <= 2 * MOST:
            return
        if self.hashes is None:
            self.hashes = _hashes(self.counts)
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        self.error += ranked[MOST][1]
        self.counts = Counter(dict(ranked[:MOST]))


def _hashes(values: Iterable[str]) -> NDArray[np.uint64]:
    text = b"".join(
        hashlib.blake2b(value.encode("utf-8", "replace"), digest_size=8).digest()
        for value in values
    )
    return _least(np.frombuffer(text, "<u8"))


def _least(*hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.unique(np.concatenate(hashes))[:_HASHES]
