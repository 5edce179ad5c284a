"""Histograms have each value in the bin whose edges it lies between."""

import math
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from septet.pipelines.browse.comparing import open_tables
from septet.pipelines.browse.site import Site
from septet.pipelines.browse.spread import BINS, CELLS, Grid, of_rows
from septet.pipelines.browse.tables import Tables
from septet.pipelines.views.expressions import parse
from tests.pipelines.browse.test_foreign import write_table

_DB = duckdb.connect(config={"threads": 1})
FLOATS = st.floats(allow_nan=False) | st.floats(-10, 10)
WHOLE = st.integers(-(2**62), 2**62) | st.integers(-20, 2000)


def histogram(values: list[float | None], is_whole: bool, usual: float | None):
    """The histogram of some values, counted by DuckDB."""
    known = [value for value in values if value is not None]
    grid = Grid.over(min(known), max(known), usual, is_whole)
    _DB.register("t", pa.table({"x": pa.array(values, pa.int64() if is_whole else pa.float64())}))
    cells = of_rows(_DB.execute(f"SELECT {grid.cell('x')}, count(*) FROM t GROUP BY 1").fetchall())
    return grid, grid.bins(cells)


@given(st.lists(st.none() | FLOATS, max_size=30), FLOATS)
def test_each_number_is_in_one_bin(values: list[float | None], one: float) -> None:
    values.append(one)
    grid, found = histogram(values, False, None)
    known = [value for value in values if value is not None]
    assert sum(found.counts) == len(known), "what says nothing is in none"
    assert 1 <= len(found.counts) == len(found.edges) - 1 <= BINS
    assert found.edges == sorted(found.edges) and not any(map(math.isnan, found.edges))
    assert found.edges[-1] >= max(known)
    assert found.edges[0] <= min(known) or found.edges[0] == grid.low == -1e300


@given(st.lists(st.none() | WHOLE, max_size=30), WHOLE)
def test_whole_numbers_have_whole_edges(values: list[int | None], one: int) -> None:
    values.append(one)
    _, found = histogram(values, True, None)
    assert sum(found.counts) == sum(value is not None for value in values)
    assert all(edge == math.floor(edge) for edge in found.edges)
    small = [value for value in values if value is not None and abs(value) <= 2**20]
    for value in small if len(small) == sum(value is not None for value in values) else ():
        place = sum(edge <= value for edge in found.edges[1:-1])
        assert found.counts[place] > 0


@given(st.lists(FLOATS, min_size=1, max_size=30), FLOATS, FLOATS, st.booleans())
def test_what_a_condition_leaves_has_its_place_in_a_narrowed_grid(
    values: list[float], one: float, other: float, is_whole: bool
) -> None:
    if is_whole:
        values = [float(round(value)) for value in values if abs(value) < 2**50] or [0.0]
    low, high = sorted((one, other))
    grid = Grid.over(min(values), max(values), None, is_whole).narrowed(low, high)
    kept = [value for value in values if low <= value <= high]
    _DB.register("t", pa.table({"x": pa.array(kept, pa.float64())}))
    cells = of_rows(_DB.execute(f"SELECT {grid.cell('x')}, count(*) FROM t GROUP BY 1").fetchall())
    assert all(0 <= cell <= CELLS for cell in cells) and sum(cells.values()) == len(kept)
    if kept:
        found = grid.bins(cells)
        assert sum(found.counts) == len(kept) and found.edges[-1] >= max(kept)
        rounded = 1e-9 * grid.width
        assert found.edges[0] <= min(kept) + rounded or found.edges[0] == grid.low == -1e300


def test_what_is_rare_and_large_is_in_the_last_bin() -> None:
    values = [float(one) for one in range(1000)] + [1e9]
    _, found = histogram(values, False, 999.0)
    assert sum(found.counts) == 1001 and len(found.counts) > BINS / 2
    assert found.edges[-2] < 1000 < found.edges[-1] == 1e9
    assert max(found.counts) < 90


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Samples with seventy numbers, of which the first says nothing of each third one."""
    folder = tmp_path_factory.mktemp("many")
    rows = {"key": [f"{one:03d}" for one in range(300)]}
    rows |= {f"n{one}": [float(one + row) for row in range(300)] for one in range(70)}
    rows["n0"] = [None if row % 3 == 0 else row for row in range(300)]
    rows["nan"] = [math.nan if row % 2 else 1.0 for row in range(300)]
    return Tables(str(write_table(folder / "in", rows)), folder)


def test_samples_of_which_a_field_says_nothing_are_in_no_bar(many: Tables) -> None:
    found = many.spread([], ["n0", "nan"])
    assert found.samples == 300
    assert sum(found.numbers["n0"].counts) == 200 and sum(found.numbers["nan"].counts) == 150
    assert found.numbers["n0"].counts[-1] < 20


def test_any_number_of_fields_is_counted(many: Tables) -> None:
    names = [f"n{one}" for one in range(70)]
    found = many.spread(["key"], names, "n1 >= 101")
    assert found.samples == 200 and len(found.facets["key"]) == 20
    assert [sum(found.numbers[name].counts) for name in names[1:]] == [200] * 69


def test_a_narrow_condition_is_seen_finely(many: Tables) -> None:
    whole = many.spread([], ["n1"]).numbers["n1"]
    assert whole.edges[0] == 1.0 and whole.edges[-1] == 300.0
    few = many.spread([], ["n1"], "n1 >= 10 and n1 <= 20").numbers["n1"]
    assert 9.5 < few.edges[0] <= 10.0 and 20.0 <= few.edges[-1] < 20.5 and len(few.counts) > 20


@pytest.mark.parametrize("keep", ["n1 top 10%", "n0 top 50%", "n0 bottom 1%", "nan top 30%",
    "nan bottom 100%", "n5 top 0.01%", "not n0 top 50%"])  # fmt: skip
def test_shares_are_of_the_samples_that_have_a_value(many: Tables, keep: str) -> None:
    known = {"n0": [r for r in range(300) if r % 3], "nan": [r for r in range(300) if not r % 2]}
    condition = next(parse(keep).tests())
    rows = known.get(condition.field, list(range(300)))
    wanted = math.floor(len(rows) * condition.percent / 100 + 0.5)
    if condition.field == "nan":  # of equal values the first
        kept = rows[:wanted]
    else:
        kept = rows[len(rows) - wanted :] if condition.end == "top" else rows[:wanted]
    if keep.startswith("not"):
        kept = sorted({*range(300)} - {*kept})
    assert [one.row for one in many.page(keep, ["key"], limit=300)] == kept


def test_of_many_values_the_rest_is_told_and_found(tmp_path: Path) -> None:
    """Of more than a chart counts, alone and side by side."""
    names = [f"l{number:04d}" for number in range(1500)]
    folders = [
        write_table(tmp_path / name, {"key": [f"{n:05d}" for n in range(len(rows))], "language": rows})
        for name, rows in (("one", [*names, names[0], names[0]]), ("two", [*names, *names[-1:] * 30]))
    ]  # fmt: skip
    tables, both = open_tables(*map(str, folders), tmp_path)
    assert both is not None
    figures = both.figures(["language"], [])
    told = {one.names[0]: (one.first, one.second) for one in figures.facets["language"]}
    assert len(told) == 20 and told[names[-1]] == (1, 31) and told[names[0]] == (3, 1)
    assert figures.different == {"language": (1500, 1500)}
    site = TestClient(Site(tables, beside=both).app())
    page = site.get("/").text
    assert ">and 1,480 more</a>" in page
    assert "/second/values?field=language" in site.get("/compare").text
    found = site.get("/values?field=language&words=L000&keep=language+!%3D+l0003").text
    assert "9 different" in found and "language+%3D%3D+%22l0000%22" in found
    last = site.get("/values?field=language&page=25").text
    assert "page 25 of 25" in last and "l1499" in last and "l0001" not in last
    assert site.get("/values?field=language&page=99").status_code == 200
    for wrong in ("/values", "/values?field=members", "/values?field=language&page=x"):
        assert site.get(wrong).status_code == 400, wrong
