"""What is printed of made-up figures, word for word; spaces and lines between are the console's."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from septet.pipelines.report.compare import Change, Comparison
from septet.pipelines.report.figure_table import FigureTable
from septet.pipelines.report.figures import (
    Category,
    ColumnFigures,
    Count,
    FailureClass,
    Histogram,
    Members,
    Reason,
    Stage,
    Statistics,
)
from septet.pipelines.report.frequent import Frequent
from septet.pipelines.report.terminal import (
    bar,
    print_columns,
    print_comparison,
    print_statistics,
    sparkline,
)

NOTHING = Category.of(Frequent(), 0)
FORMATS = Category(
    count=100, missing=7, distinct=12, others=0,
    values=[Count(value=f"f{i}", count=n, share=n / 100)
            for i, n in enumerate((40, 20, 10, 8, 6, 5, 4, 3, 2, 1, 1))],
)  # fmt: skip
WIDTHS = Histogram(
    unit="pixels", count=12, missing=0, min=30, max=700, mean=101.25,
    quantiles={"p1": 30, "p5": 31, "p25": 40, "p50": 64, "p75": 70, "p95": 640, "p99": 700},
    edges=[0, 32, 64, 96], counts=[0, 3, 8, 1],
)  # fmt: skip
LARGE = Statistics(
    name="demo", samples=1200, shards=2, bytes=3 * 2**20,
    members=[Members(ext="jpg", count=1200, bytes=2**20)],
    funnel=[
        Stage(stage="source", **{"in": 4000, "out": 4000}),
        Stage(stage="filter", **{"in": 4000, "out": 1000}, counts={"too_old": 5}),
    ],
    rejects=[
        Reason(stage="filter", reason="too_short", count=2000),
        Reason(stage="filter", reason="too_long", count=500),
        Reason(stage="fetch", reason="http_status", count=500),
    ],
    duplicates=[],
    fetch_failures=[FailureClass(failure="gone", count=500, reasons={"http_status": 500})],
    failed_domains=Category(
        count=500, missing=0, distinct=1, others=0,
        values=[Count(value="a.example", count=500, share=1.0)],
    ),
    categories={"language": Category(count=3, missing=0, distinct=2, others=0, values=[
        Count(value="en", count=2, share=0.666667), Count(value="de", count=1, share=0.333333),
    ]), "format": FORMATS},
    measures={"width": WIDTHS}, notes=["one note"],
)  # fmt: skip
SMALL = Statistics(
    name="empty", samples=0, shards=1, bytes=0, members=[], funnel=[], rejects=[], duplicates=[],
    fetch_failures=[], failed_domains=NOTHING, categories={}, measures={}, notes=[],
)  # fmt: skip


def drawn(print_: Callable[[Console], None]) -> list[str]:
    """Lines as they are."""
    out = io.StringIO()
    print_(Console(file=out, width=400, no_color=True))
    return out.getvalue().splitlines()


def printed(print_: Callable[[Console], None]) -> list[str]:
    """Lines with words, of one space between each two."""
    lines = [" ".join(line.replace("─", " ").split()) for line in drawn(print_)]
    return [line for line in lines if line]


def test_statistics_are_printed_as_tables() -> None:
    assert printed(lambda console: print_statistics(LARGE, console)) == [
        "demo",
        "1,200 samples 2 shards 3 MiB in tars 30.0 % of pairs kept 2 languages",
        "! one note",
        "Funnel",
        "stage in out kept",
        f"source 4,000 4,000 100.0 % {'█' * 28}",
        f"filter 4,000 1,000 25.0 % {'█' * 28}",
        "too old 5",
        "Rejects",
        "stage reason rows share left",
        f"filter too short 2,000 66.7 % 2,000 {'█' * 16}",
        f"too long 500 16.7 % 1,500 {'█' * 4}",
        f"fetch http status 500 16.7 % {'█' * 4}",
        "Why fetching failed",
        "class images reasons",
        "gone 500 http status (500)",
        "Lengths and sizes",
        "least 5 % median 95 % most mean",
        "Stored width 30 31 64 640 700 101.2 ▃█▁",
        "Languages Formats Domains where fetching failed",
        "samples share samples share samples share",
        f"en 2 66.7 % {'█' * 10} f0 40 40.0 % {'█' * 10} a.example 500 100.0 % {'█' * 10}",
        f"de 1 33.3 % {'█' * 5} f1 20 20.0 % {'█' * 5}",
        "f2 10 10.0 % ██▌",
        "f3 8 8.0 % ██",
        "f4 6 6.0 % █▌",
        "f5 5 5.0 % █▎",
        "f6 4 4.0 % █",
        "f7 3 3.0 % ▊",
        "f8 2 2.0 % ▌",
        "f9 1 1.0 % ▎",
        "2 more 1 1.0 %",
        "no value 7",
        "Members of the tars",
        "extension members bytes",
        "jpg 1,200 1 MiB",
    ]
    assert printed(lambda console: print_statistics(SMALL, console)) == [
        "empty",
        "0 samples 1 shard 0 B in tars",
    ]


def test_columns_are_printed_where_there_are_any() -> None:
    lines = drawn(lambda console: print_statistics(LARGE, console))
    places = {words: line.index(words) for words in ("too short", "too long", "http status")
              for line in lines if words in line and "%" in line}  # fmt: skip
    assert places.keys() == {"too short", "too long", "http status"}
    assert len({*places.values()}) == 1
    column = ColumnFigures(name="boxes", kind="boxes", samples=8, values=6, bytes=2048,
                           without={"too_small": 2}, stale=True)  # fmt: skip
    assert printed(lambda console: print_columns([column], console)) == [
        "Columns",
        "name values share bytes without",
        "boxes (stale: of another build) 6 75.0 % 2 KiB too small 2",
    ]
    assert printed(lambda console: print_columns([], console)) == []


def test_a_comparison_names_each_group_once() -> None:
    changes = [
        Change(group="total", name="samples", before=100, after=150),
        Change(group="total", name="bytes", before=2048, after=1024),
        Change(group="rejects", name="filter: too_short", before=0, after=3),
    ]
    found = Comparison(before="a", after="b", changes=changes, same=9)
    assert printed(lambda console: print_comparison(found, console)) == [
        "a → b",
        "group figure before now change ratio",
        "total samples 100 150 +50 +50.0 %",
        "bytes 2 KiB 1 KiB −1 KiB -50.0 %",
        "rejects filter: too_short 0 3 +3",
        "9 figures are equal.",
    ]
    same = Comparison(before="a", after="b", changes=[], same=9)
    assert printed(lambda console: print_comparison(same, console))[1:] == [
        "All 9 figures are equal."
    ]


def test_texts_stand_left_and_figures_right() -> None:
    changes = [
        Change(group="total", name="bytes", before=9, after=12345),
        Change(group="rejects", name="filter: too_short", before=100, after=3),
    ]
    found = Comparison(before="a", after="b", changes=changes, same=9)
    _, head, _, first, second, *_ = drawn(lambda console: print_comparison(found, console))
    assert head.startswith("group") and first.startswith("total") and second.startswith("rejects")
    assert head.index("figure") == first.index("bytes") == second.index("filter")
    assert head.index("before") + 6 == first.index("9 B") + 3 == second.index("100") + 3
    assert head.index("now") + 3 == first.index("12.1 KiB") + 8
    column = ColumnFigures(name="boxes", kind="boxes", samples=8, values=6, bytes=2048, without={})
    other = column.model_copy(update={"name": "a", "values": 12345, "without": {"b": 1}})
    rows = drawn(lambda console: print_columns([column, other], console))[-2:]
    assert rows[0].startswith("boxes") and rows[1].startswith("a ")
    assert rows[0].index(" 6 ") + 2 == rows[1].index("12,345") + 6
    assert rows[1].rstrip().endswith("b 1")


@pytest.mark.parametrize(("width", "lines"), [
    (40, ["n" * 30, "  aaaa 1111   bb 22"]),
    (19, ["n" * 19, "n" * 11, "  aaaa 1111   bb 22"]),
    (18, ["n" * 18, "n" * 12, "  aaaa 1111", "  bb 22"]),
])  # fmt: skip
def test_figures_break_where_a_line_is_full(width: int, lines: list[str]) -> None:
    table = FigureTable("", ("", "aaaa", "bb"))
    table.add_row("n" * 30, "1111", "22")
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == lines


def test_bars_and_sparklines_round_up_what_is_not_nothing() -> None:
    assert [bar(part, 100, 2).plain for part in (0, 0.1, 25, 50, 95, 100, 200)] == [
        "  ", "▏ ", "▌ ", "█ ", "█▉", "██", "██",
    ]  # fmt: skip
    assert bar(1, 0, 2).plain == "▏ "
    assert sparkline([0, 1, 0, 4, 8, 0]).plain == "▁ ▄█"
    assert sparkline([1, 1000]).plain == "▁█"
    assert sparkline([0, 0]).plain == ""
