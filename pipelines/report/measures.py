"""Measures of samples (sides, bytes, words), and their distributions, which can be added exactly.

Values are whole numbers. Up to 1,023 they are kept as they are; above, their ten leading bits are
(rounded down, at most 0.2 % low), as in HDR histograms. So a distribution has at most a few
thousand distinct values however large the corpus, counts merge in any order, and bins whose edges
have ten significant bits are exact.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BITS = 10
"""The leading bits of a value that are kept."""
QUANTILES = {"p1": 0.01, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}

Unit = Literal["characters", "words", "pixels", "width : height", "bytes"]


@dataclass(frozen=True)
class Measure:
    """A measured quantity with the fixed edges of its bins.

    Bin i holds `edges[i] <= value < edges[i + 1]`; the last one everything from `edges[-1]` on.
    Values and edges are stored times `scale`.
    """

    title: str
    unit: Unit
    edges: tuple[int, ...]
    scale: int = 1


_PIXELS = (
    0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512, 640, 768, 1024, 1280, 1600,
    2048, 3072, 4096, 6144, 8192,
)  # fmt: skip
_BYTES = (0, *(2**i for i in range(9, 27)))
_CHARS = (
    0, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 125, 150, 200, 250, 300, 400, 500, 700, 1000,
    1500, 2000,
)  # fmt: skip
_WORDS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 256, 512)
_RATIOS = (
    0, 200, 250, 330, 400, 500, 600, 700, 800, 900, 1000, 1100, 1250, 1500, 1750, 2000, 2500, 3000,
    4000, 5000,
)  # fmt: skip

MEASURES: dict[str, Measure] = {
    "caption_chars": Measure("Caption length in characters", "characters", _CHARS),
    "caption_words": Measure("Caption length in words", "words", _WORDS),
    "original_width": Measure("Original width", "pixels", _PIXELS),
    "original_height": Measure("Original height", "pixels", _PIXELS),
    "original_short_side": Measure("Original shorter side", "pixels", _PIXELS),
    "width": Measure("Stored width", "pixels", _PIXELS),
    "height": Measure("Stored height", "pixels", _PIXELS),
    "aspect_ratio": Measure("Aspect ratio", "width : height", _RATIOS, scale=1000),
    "original_bytes": Measure("Original file size", "bytes", _BYTES),
    "image_bytes": Measure("Stored image size", "bytes", _BYTES),
}
"""The measures in the order in which they are shown. Words are those of
`preprocess.text.words.count_words`; `aspect_ratio` is of the original image where its size is
known, else of the stored one."""


def quantise(values: np.ndarray) -> np.ndarray:
    """Clear all but the ten leading bits of non-negative int64 values [n]."""
    _, bits = np.frexp(values.astype(np.float64))
    shift = np.maximum(bits - BITS, 0)
    return (values >> shift) << shift


def quantised(counts: Mapping[int, int]) -> Counter[int]:
    """Counts by value as counts by quantised value."""
    found: Counter[int] = Counter()
    values = quantise(np.fromiter(counts, np.int64, len(counts))).tolist()
    for value, n in zip(values, counts.values(), strict=True):
        found[value] += n
    return found


def tally(found: pa.StructArray) -> Counter:
    """Make a counter of the result of `pyarrow.compute.value_counts`."""
    values, counts = found.field("values").to_pylist(), found.field("counts").to_pylist()
    return Counter(dict(zip(values, counts, strict=True)))


@dataclass(frozen=True)
class Distribution:
    """The counts of each (quantised) value; `minimum`, `maximum` and `total` are exact."""

    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0
    minimum: int | None = None
    maximum: int | None = None

    @classmethod
    def of(cls, values: np.ndarray) -> "Distribution":
        """The distribution of int64 values [n]; negative ones count as missing."""
        values = values[values >= 0]
        if not len(values):
            return cls()
        counts = tally(pc.value_counts(pa.array(quantise(values))))
        return cls(counts, int(values.sum()), int(values.min()), int(values.max()))

    def __add__(self, other: "Distribution") -> "Distribution":
        if self.minimum is None or self.maximum is None:
            return other
        if other.minimum is None or other.maximum is None:
            return self
        counts = self.counts.copy()
        counts.update(other.counts)
        return Distribution(
            counts,
            self.total + other.total,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    @property
    def count(self) -> int:
        """The number of values."""
        return self.counts.total()

    def quantiles(self) -> dict[str, int]:
        """The least value, for each of `QUANTILES`, that at least that share does not exceed."""
        values = np.array(sorted(self.counts), np.int64)
        reached = np.cumsum([self.counts[int(value)] for value in values])
        return {
            name: int(values[np.searchsorted(reached, q * self.count - 1e-9)])
            for name, q in QUANTILES.items()
        }

    def bins(self, edges: tuple[int, ...]) -> list[int]:
        """Values in each bin of `edges` (see `Measure`)."""
        values = np.fromiter(self.counts.keys(), np.int64, len(self.counts))
        weights = np.fromiter(self.counts.values(), np.int64, len(self.counts))
        place = np.searchsorted(np.array(edges), values, side="right") - 1
        counts = np.zeros(len(edges), np.int64)
        np.add.at(counts, place, weights)
        result: list[int] = counts.tolist()
        return result
