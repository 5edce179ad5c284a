"""Geometry of the page's charts, by hand-made figures."""

import pytest

from septet.pipelines.report import charts, page
from septet.pipelines.report.charts import Bar, Mark, funnel_chart, histogram_chart
from septet.pipelines.report.figures import Category, Count, Histogram, Stage


def histogram(**other: object) -> Histogram:
    return Histogram.model_validate({
        "unit": "characters", "count": 10, "missing": 1, "min": 7, "max": 22, "mean": 12.5,
        "quantiles": {"p1": 7, "p5": 7, "p25": 8, "p50": 12, "p75": 14, "p95": 22, "p99": 22},
        "edges": [0, 5, 10, 15, 20, 25, 30], "counts": [0, 0, 4, 5, 1, 0, 0],
    } | other)  # fmt: skip


def test_a_histogram_shows_one_empty_bin_at_each_end() -> None:
    recipe = {"filter": {"min_chars": 12, "max_chars": 1000}}
    chart = histogram_chart("caption_chars", histogram(), recipe)
    # Five bins of 96 units each; the highest bar ends 12 units below the top.
    assert chart.bars == [
        Bar(0.8, 124.0, 94.4, 0.0, "5 to 9", 0, "0.0 %", "0.0 %"),
        Bar(96.8, 34.4, 94.4, 89.6, "10 to 14", 4, "40.0 %", "40.0 %"),
        Bar(192.8, 12.0, 94.4, 112.0, "15 to 19", 5, "50.0 %", "90.0 %"),
        Bar(288.8, 101.6, 94.4, 22.4, "20 to 24", 1, "10.0 %", "100.0 %"),
        Bar(384.8, 124.0, 94.4, 0.0, "25 to 29", 0, "0.0 %", "100.0 %"),
    ]
    assert chart.ticks == [Mark(96.0 * i, str(5 * i + 5)) for i in range(5)]
    assert chart.cuts == [Mark(134.4, "at least 12")]  # 1,000 is outside
    assert chart.cut_text == "at least 12, at most 1,000"
    assert chart.edges == ["5", "10", "15", "20", "25", "30"]
    assert (chart.title, chart.missing, chart.total) == ("Caption length in characters", 1, 10)
    assert chart.summary == [
        ("median", "12"), ("mean", "12.5"), ("5 %", "7"), ("95 %", "22"), ("most", "22"),
    ]  # fmt: skip


def test_bins_at_both_ends_of_a_histogram_are_shown_too() -> None:
    chart = histogram_chart("caption_chars", histogram(counts=[3, 0, 0, 0, 0, 0, 7]), None)
    assert [(bar.span, bar.count, bar.reached) for bar in chart.bars][:: len(chart.bars) - 1] == [
        ("0 to 4", 3, "30.0 %"), ("30 and more", 7, "100.0 %"),
    ]  # fmt: skip
    assert len(chart.bars) == 7 and chart.edges[-1] == "any"
    assert (chart.cuts, chart.cut_text) == ([], "")


def test_an_axis_has_at_most_nine_texts() -> None:
    many = histogram(edges=list(range(20)), counts=[1] * 19 + [0])
    ticks = histogram_chart("caption_chars", many, None).ticks
    assert [tick.text for tick in ticks] == ["0", "3", "6", "9", "12", "15", "18"]
    assert [tick.x for tick in ticks] == [72.0 * i for i in range(7)]


@pytest.mark.parametrize(("unit", "edges", "span"), [
    ("bytes", [0, 512, 1024], "512 B to 1 KiB"),
    ("width : height", [0, 0.25, 1.5], "0.25 to 1.5"),
    ("words", [0, 1, 2], "1"),
    ("words", [0, 1, 4], "1 to 3"),
])  # fmt: skip
def test_a_bin_says_what_it_spans(unit: str, edges: list[float], span: str) -> None:
    chart = histogram_chart("width", histogram(unit=unit, edges=edges, counts=[0, 1, 0]), None)
    assert chart.bars[1].span == span


def test_a_recipe_cuts_ratios_at_both_sides() -> None:
    ratios = histogram(unit="width : height", edges=[0, 0.2, 0.4, 1, 2, 4, 5], counts=[1] * 7)
    chart = histogram_chart("aspect_ratio", ratios, {"curate": {"max_aspect_ratio": 3}})
    assert chart.cut_text == "at least 0.33, at most 3"
    assert [cut.x for cut in chart.cuts] == [pytest.approx(x, abs=0.01) for x in (114.17, 308.57)]


def test_the_funnel_narrows_by_rows() -> None:
    stages = [Stage(stage="source", **{"in": 400, "out": 400}),
              Stage(stage="filter", **{"in": 400, "out": 100})]  # fmt: skip
    first, second = funnel_chart(stages)
    assert (first.x, first.y, first.width, first.height) == (0, 0, 500, charts.FUNNEL_HEIGHT)
    assert (second.x, second.y, second.width, second.height) == (500, 0, 500, 180)
    assert second.kept == (
        "M500.0,0.0C750.0,0.0 750.0,67.5 1000.0,67.5V112.5"
        "C750.0,112.5 750.0,180.0 500.0,180.0Z"
    )  # fmt: skip
    nothing = Stage(stage="source", **{"in": 0, "out": 0})
    assert funnel_chart([]) == funnel_chart([nothing]) == []


def test_bars_of_a_category_tell_what_they_leave_out() -> None:
    values = [Count(value=f"v{i}", count=30 - i, share=0.0) for i in range(22)]
    found = Category(count=600, missing=1234, distinct=25, values=values, others=171)
    bars = page._bars("format", found)
    assert [(row.name, row.count) for row in bars.rows] == [(f"v{i}", 30 - i) for i in range(20)]
    assert (bars.rows[0].share, bars.rows[0].width) == ("5.0 %", 100.0)
    assert (bars.rows[15].share, bars.rows[15].width) == ("2.5 %", 50.0)
    assert bars.more == "5 more with 190 in all; 1,234 without a value"
    few = found.model_copy(update={"values": values[:2], "distinct": 2, "missing": 0})
    assert page._bars("format", few).more == ""
    nothing = found.model_copy(update={"values": [], "distinct": 0, "missing": 0})
    assert page._bars("format", nothing).rows == []
