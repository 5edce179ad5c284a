"""What the rules of a stage measured, of the rows that they kept too, as sums of bounded size."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.schemas.cuts import CUTS, EDGES, is_least
from septet.schemas.languages import language_code

_EDGES = {unit: np.array(edges) for unit, edges in EDGES.items()}

CAME_IN = "in"
"""Key, among the reasons of a language, of the rows that the rules saw."""


@dataclass
class Tally:
    """Counts of values and of languages. Sums of tallies depend on no order."""

    values: dict[str, np.ndarray] = field(default_factory=dict)
    """By setting (see `septet.schemas.cuts`), the values that its rule kept and dropped in each
    bin, int64 [2, bins]. A rule measures the rows that no rule before it dropped."""
    languages: dict[str, Counter[str]] = field(default_factory=dict)
    """By declared language ("" where none is), the rows that came in (`CAME_IN`) and those that
    each reason dropped."""

    def count_values(
        self, stage: str, setting: str, values: np.ndarray, failed: np.ndarray
    ) -> None:
        """Count the values [n] that a setting bounded, of which some failed, bool [n]."""
        edges = _EDGES[CUTS[stage][setting].unit]
        if is_least(setting):
            bins = np.searchsorted(edges, values, side="right")
        else:
            bins = np.searchsorted(edges, values, side="left")
        size = len(edges) + 1
        counts = np.bincount(bins + size * failed, minlength=2 * size).reshape(2, size)
        self.values[setting] = self.values.get(setting, 0) + counts

    def count_languages(self, declared: pa.ChunkedArray, reasons: pa.ChunkedArray) -> None:
        """Count rows by declared language.

        Args:
            declared: Language tags [n], null where there is none.
            reasons: What each row counts as [n]: `CAME_IN`, or why it was dropped.
        """
        languages, tags = _encoded(declared)
        kinds, names = _encoded(reasons)
        counts = np.bincount(languages * len(names) + kinds, minlength=len(tags) * len(names))
        for (tag, name), count in zip(product(tags, names), counts.tolist(), strict=True):
            if count and name is not None:  # every row has a reason
                code = language_code(tag) or "" if tag else ""
                self.languages.setdefault(code, Counter())[name] += count

    def add(self, more: "Tally") -> None:
        """Add what another task measured."""
        for setting, counts in more.values.items():
            self.values[setting] = self.values.get(setting, 0) + counts
        for language, reasons in more.languages.items():
            self.languages.setdefault(language, Counter()).update(reasons)

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain data, keys sorted; nothing where nothing was counted."""
        values = {name: counts.tolist() for name, counts in sorted(self.values.items())}
        languages = {
            name: dict(sorted(reasons.items())) for name, reasons in sorted(self.languages.items())
        }
        return {
            key: found for key, found in (("values", values), ("languages", languages)) if found
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Tally":
        """The inverse of `to_dict`; other keys do not matter."""
        return cls(
            {name: np.array(counts, np.int64) for name, counts in data.get("values", {}).items()},
            {name: Counter(reasons) for name, reasons in data.get("languages", {}).items()},
        )


def _encoded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str | None]]:
    """The number of each entry among the distinct ones, int64 [n], and these; null is the last."""
    coded = pc.dictionary_encode(column.combine_chunks())
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    names = [*coded.dictionary.to_pylist(), None]
    codes = coded.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64), names
