"""What thresholds on numbers measured of the rows kept and dropped, and how many rows they would
keep elsewhere."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from septet.pipelines.report.charts import BASE, WIDTH, Mark
from septet.pipelines.report.figures import Stage
from septet.pipelines.report.readable import number, share, size
from septet.schemas.cuts import CUTS, EDGES, Cut, is_least


@dataclass(frozen=True)
class CutFigures:
    """The values that a setting bounded. Bins are those of `septet.schemas.cuts.EDGES`."""

    setting: str
    reason: str
    unit: str
    cut: float
    edges: tuple[float, ...]
    kept: list[int]
    dropped: list[int]

    @property
    def is_least(self) -> bool:
        """Whether the setting is the least value that is kept."""
        return is_least(self.setting)

    @property
    def words(self) -> tuple[str, str]:
        """What becomes of a row within the cut, and of one beyond it."""
        cuts = (cuts[self.setting] for cuts in CUTS.values() if self.setting in cuts)
        return next(cuts, Cut(self.reason, self.unit)).words

    @property
    def total(self) -> int:
        """The number of values: the rows that no rule before had dropped."""
        return sum(self.kept) + sum(self.dropped)

    def kept_at(self, place: int) -> int:
        """The number of values that would be kept if the cut were an edge, given by its place."""
        bins = slice(place + 1, None) if self.is_least else slice(0, place + 1)
        return sum(self.kept[bins]) + sum(self.dropped[bins])

    def filled(self) -> range:
        """The bins from the first to the last that any value is in; none where there is none."""
        found = [i for i, both in enumerate(zip(self.kept, self.dropped, strict=True)) if any(both)]
        return range(found[0], found[-1] + 1) if found else range(0)

    def around(self, most: int) -> list[tuple[float, int]]:
        """At most so many edges, those about the cut at which other rows would be kept, each with
        how many."""
        bins = self.filled()
        if not bins:
            return []
        # Beyond the last value, and from there on, a cut keeps all or nothing.
        telling = range(max(bins.start - 1, 0), min(bins.stop, len(self.edges)))
        middle = bisect_left(self.edges, self.cut)
        start = max(min(middle - most // 2, telling.stop - most), telling.start)
        places = range(start, min(start + most, telling.stop))
        return [(self.edges[place], self.kept_at(place)) for place in places]


def cuts_of(stage: Stage, recipe: Mapping[str, Any] | None) -> list[CutFigures]:
    """The figures of a stage's settings that bound a number and were set.

    Args:
        stage: A stage of the funnel.
        recipe: The recipe of the build.
    """
    settings = (recipe or {}).get(stage.stage) or {}
    found = []
    for setting, cut in CUTS.get(stage.stage, {}).items():
        kept, dropped = stage.values.get(setting, ([], []))
        edges, value = EDGES[cut.unit], settings.get(setting)
        if len(kept) != len(edges) + 1 or not isinstance(value, (int, float)):
            continue  # another version's edges, or a setting that was not set
        one = CutFigures(setting, cut.reason, cut.unit, value, edges, list(kept), list(dropped))
        found += [one] if one.total else []
    return found


def in_unit(unit: str, value: float) -> str:
    """A value as text, without its unit; bytes with theirs."""
    if unit == "bytes":
        return size(value)
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else number(value)


_OF = {"share": "a share of", "probability": "a probability of", "long : short side": "a ratio of"}


def cut_text(found: CutFigures) -> str:
    """What a setting keeps, in words: `at least 5 characters`."""
    side = "at least" if found.is_least else "at most"
    if found.unit in _OF:
        name = _OF[found.unit]
        return f"{side} {name} {in_unit(found.unit, found.cut)}"
    unit = "" if found.unit == "bytes" else f" {found.unit}"
    unit = unit.removesuffix("s") if found.cut == 1 else unit
    return f"{side} {in_unit(found.unit, found.cut)}{unit}"


@dataclass(frozen=True)
class CutBar:
    """A bin as a bar: what was kept from the axis up, and what was dropped above that."""

    x: float
    width: float
    top: float
    kept_height: float
    dropped_height: float
    text: str


@dataclass(frozen=True)
class OtherCut:
    """A cut that might be, the rows that it would keep, and whether it is the recipe's."""

    text: str
    kept: int
    share: str
    is_cut: bool


@dataclass(frozen=True)
class CutChart:
    """The figures of a setting ready to be drawn: bars, the cut, and the share that is kept as a
    curve over all cuts."""

    setting: str
    text: str
    total: int
    dropped: int
    bars: list[CutBar]
    ticks: list[Mark]
    cut_x: float | None
    """None where the cut lies outside the values."""
    curve: str
    """The path of the curve; its top is all that were measured."""
    rows: list[OtherCut]
    """Cuts about the recipe's."""
    words: tuple[str, str] = ("kept", "dropped")
    """What becomes of a row within the cut, and of one beyond it."""


_SHOWN = 13


def cut_chart(found: CutFigures) -> CutChart:
    """The chart of a setting's figures."""
    bins = found.filled()
    at = bisect_left(found.edges, found.cut)
    # The bins on both sides of the cut are shown where any near it is filled.
    if bins.start - 3 <= at <= bins.stop + 3:
        bins = range(min(bins.start, at), max(bins.stop, min(at + 2, len(found.kept))))
    if bins.start == 0 and not found.kept[0] + found.dropped[0]:
        bins = range(1, bins.stop)  # nothing is below the first edge
    step = WIDTH / len(bins)
    most = max(a + b for a, b in zip(found.kept, found.dropped, strict=True))
    height = BASE - 12

    def x_of(place: int) -> float:
        """Where an edge is drawn."""
        return round((place + 1 - bins.start) * step, 2)

    bars = []
    for i in bins:
        kept, both = found.kept[i], found.kept[i] + found.dropped[i]
        whole, low = height * both / most, height * kept / most
        bars.append(
            CutBar(
                x=round((i - bins.start) * step + 0.8, 2),
                width=round(max(step - 1.6, 1), 2),
                top=round(BASE - whole, 2),
                kept_height=round(low, 2),
                dropped_height=round(whole - low, 2),
                text=f"{_span(found, i)}: {number(kept)} {found.words[0]}, "
                f"{number(both - kept)} {found.words[1]}",
            )
        )
    edges = [place for place in range(bins.start - 1, bins.stop) if 0 <= place < len(found.edges)]
    every = -(-len(edges) // 9)
    points = [
        f"{x_of(place):g},{BASE - height * found.kept_at(place) / found.total:.1f}"
        for place in edges
    ]
    return CutChart(
        setting=found.setting,
        text=cut_text(found),
        total=found.total,
        dropped=sum(found.dropped),
        bars=bars,
        ticks=[Mark(x_of(p), in_unit(found.unit, found.edges[p])) for p in edges[::every]],
        cut_x=_place(found, edges, x_of),
        curve="M" + "L".join(points),
        rows=[
            OtherCut(in_unit(found.unit, edge), kept, share(kept, found.total), edge == found.cut)
            for edge, kept in found.around(_SHOWN)
        ],
        words=found.words,
    )


def _place(found: CutFigures, edges: list[int], x_of: Any) -> float | None:
    """Where the cut is drawn: on its edge, or between two."""
    for place in edges:
        if found.edges[place] == found.cut:
            return float(x_of(place))
        if place + 1 in edges and found.edges[place] < found.cut < found.edges[place + 1]:
            low, high = found.edges[place], found.edges[place + 1]
            left, right = x_of(place), x_of(place + 1)
            return round(left + (right - left) * (found.cut - low) / (high - low), 2)
    return None


def _span(found: CutFigures, i: int) -> str:
    """The values of a bin, in words."""
    edges, unit = found.edges, found.unit
    if i == 0:
        return f"{in_unit(unit, edges[0])} and less"
    if i == len(edges):
        return f"more than {in_unit(unit, edges[-1])}"
    low, high = edges[i - 1], edges[i]
    if isinstance(low, int) and isinstance(high, int) and unit != "bytes":
        low, high = (low, high - 1) if found.is_least else (low + 1, high)
    return in_unit(unit, low) if low == high else f"{in_unit(unit, low)} to {in_unit(unit, high)}"
