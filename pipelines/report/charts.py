"""The geometry of the report's charts, which the template draws as inline SVG."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from septet.pipelines.report.figures import Histogram, Stage
from septet.pipelines.report.measures import MEASURES
from septet.pipelines.report.readable import number, share, size

WIDTH, HEIGHT, BASE = 480, 150, 124
"""View box of a histogram, and where its bars stand, in SVG units."""

FUNNEL_WIDTH, FUNNEL_HEIGHT = 1000, 180

_CUTS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "caption_chars": (("filter", "min_chars", "least"), ("filter", "max_chars", "most")),
    "caption_words": (("filter", "min_words", "least"), ("filter", "max_words", "most")),
    "original_short_side": (("curate", "min_side", "least"),),
    "aspect_ratio": (("curate", "max_aspect_ratio", "ratio"),),
    "original_bytes": (("curate", "min_bytes", "least"), ("fetch", "max_bytes", "most")),
}
"""The settings of a recipe that bound a measure: section, key, and which side it bounds."""


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: its place, the values that it spans, and how many samples are in it and
    up to its end."""

    x: float
    y: float
    width: float
    height: float
    span: str
    count: int
    share: str
    reached: str


@dataclass(frozen=True)
class Mark:
    """A label at a place of the horizontal axis."""

    x: float
    text: str


@dataclass(frozen=True)
class HistogramChart:
    """A histogram ready to be drawn."""

    name: str
    title: str
    unit: str
    summary: list[tuple[str, str]]
    bars: list[Bar]
    ticks: list[Mark]
    cuts: list[Mark]
    """Thresholds of the recipe that lie in the span shown."""
    cut_text: str
    missing: int
    edges: list[str]
    """Labels of the shown bins' edges, one more than bars."""
    total: int
    first: int
    """The histogram's first bin that is shown."""


def histogram_chart(
    name: str, histogram: Histogram, recipe: Mapping[str, Any] | None
) -> HistogramChart:
    """The chart of a measure; empty bins at both ends are left out."""
    edges, counts = histogram.edges, histogram.counts
    filled = [i for i, count in enumerate(counts) if count]
    first, last = max(filled[0] - 1, 0), min(filled[-1] + 1, len(counts) - 1)
    step = WIDTH / (last - first + 1)
    most = max(counts)
    reached = sum(counts[:first])
    bars = []
    for i in range(first, last + 1):
        reached += counts[i]
        height = (BASE - 12) * counts[i] / most
        bars.append(
            Bar(
                x=round((i - first) * step + 0.8, 2),
                y=round(BASE - height, 2),
                width=round(step - 1.6, 2),
                height=round(height, 2),
                span=_span(histogram, i),
                count=counts[i],
                share=share(counts[i], histogram.count),
                reached=share(reached, histogram.count),
            )
        )
    labels = [value_text(histogram.unit, edges[i]) for i in range(first, last + 1)]
    every = -(-len(labels) // 9)
    ticks = [Mark(round(i * step, 2), labels[i]) for i in range(0, len(labels), every)]
    cuts, texts = [], []
    for value, text in _cuts(name, recipe):
        texts.append(f"{text} {value_text(histogram.unit, value)}")
        x = _place(edges, first, last, value, step)
        if x is not None:
            cuts.append(Mark(round(x, 2), texts[-1]))
    quantiles = histogram.quantiles
    shown = {
        "median": histogram.median,
        "mean": histogram.mean,
        "5 %": quantiles["p5"],
        "95 %": quantiles["p95"],
        "most": histogram.max,
    }
    return HistogramChart(
        name=name,
        title=MEASURES[name].title,
        unit=histogram.unit,
        summary=[(key, value_text(histogram.unit, value)) for key, value in shown.items()],
        bars=bars,
        ticks=ticks,
        cuts=cuts,
        cut_text=", ".join(texts),
        missing=histogram.missing,
        edges=[*labels, value_text(histogram.unit, edges[last + 1]) if last + 1 < len(edges)
               else "any"],
        total=histogram.count,
        first=first,
    )  # fmt: skip


def value_text(unit: str, value: float) -> str:
    """A value of a measure as text, without its unit; bytes with theirs."""
    if unit == "bytes":
        return size(value)
    return f"{value:.2f}".rstrip("0").rstrip(".") if unit == "width : height" else number(value)


def _span(histogram: Histogram, i: int) -> str:
    low = value_text(histogram.unit, histogram.edges[i])
    if i + 1 == len(histogram.edges):
        return f"{low} and more"
    if histogram.unit in ("bytes", "width : height"):
        return f"{low} to {value_text(histogram.unit, histogram.edges[i + 1])}"
    high = value_text(histogram.unit, histogram.edges[i + 1] - 1)
    return low if low == high else f"{low} to {high}"


def _cuts(name: str, recipe: Mapping[str, Any] | None) -> Iterator[tuple[float, str]]:
    for section, key, side in _CUTS.get(name, ()):
        value = ((recipe or {}).get(section) or {}).get(key)
        if not isinstance(value, (int, float)) or value <= 0:
            continue
        if side == "ratio":
            yield round(1 / value, 3), "at least"
            yield value, "at most"
        else:
            yield value, f"at {side}"


def _place(edges: list[float], first: int, last: int, value: float, step: float) -> float | None:
    """The place of a value on the axis; None where it is outside."""
    for i in range(first, min(last + 1, len(edges) - 1)):
        if edges[i] <= value <= edges[i + 1]:
            within = (value - edges[i]) / (edges[i + 1] - edges[i])
            x = (i - first + within) * step
            return x if 0 < x < WIDTH else None
    return None


@dataclass(frozen=True)
class Segment:
    """One stage of the funnel chart: what came in as a block, what is left as a path over it."""

    x: float
    y: float
    width: float
    height: float
    kept: str


def funnel_chart(stages: list[Stage]) -> list[Segment]:
    """The chart of the funnel, left to right; heights are proportional to rows."""
    most = max((max(stage.rows_in, stage.rows_out) for stage in stages), default=0)
    if not most:
        return []
    width, middle = FUNNEL_WIDTH / len(stages), FUNNEL_HEIGHT / 2
    segments = []
    for i, stage in enumerate(stages):
        left, right, bend = i * width, (i + 1) * width, (i + 0.5) * width
        before = max(FUNNEL_HEIGHT * stage.rows_in / most, 1) / 2
        after = max(FUNNEL_HEIGHT * stage.rows_out / most, 1) / 2
        top, top_after = middle - before, middle - after
        low, low_after = middle + before, middle + after
        kept = (
            f"M{left:.1f},{top:.1f}C{bend:.1f},{top:.1f} {bend:.1f},{top_after:.1f} "
            f"{right:.1f},{top_after:.1f}V{low_after:.1f}C{bend:.1f},{low_after:.1f} "
            f"{bend:.1f},{low:.1f} {left:.1f},{low:.1f}Z"
        )
        segments.append(
            Segment(round(left, 1), round(top, 1), round(width, 1), round(2 * before, 1), kept)
        )
    return segments
