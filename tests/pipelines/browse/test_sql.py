"""Conditions asked of DuckDB mean what they mean to `septet curate`."""

import math
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.pipelines.browse.sql import Column, as_sql
from septet.pipelines.views.curate import numbers_of
from septet.pipelines.views.expressions import ExpressionError, Share, parse

SCHEMA = pa.schema(
    [("width", pa.int32()), ("bytes", pa.int64()), ("score", pa.float32()), ("blur", pa.float64()),
     ("language", pa.string()), ("reencoded", pa.bool_()), ("clip.similarity", pa.float32())]
)  # fmt: skip
ROWS = st.fixed_dictionaries(
    {
        "width": st.none() | st.sampled_from([0, 1, 2, 512, -7, 2**31 - 1]),
        "bytes": st.none() | st.sampled_from([0, 1, 2**53, 2**53 + 1, -1]),
        "score": st.none() | st.sampled_from([0.0, 0.1, 0.5, 1.0, math.nan, math.inf, -0.0]),
        "blur": st.none() | st.sampled_from([0.0, 0.1, 1e300, math.nan, -math.inf]),
        "language": st.none() | st.sampled_from(["de", "fr", "", "it's", 'a "b"', "中文", "\0"]),
        "reencoded": st.none() | st.booleans(),
        "clip.similarity": st.none() | st.sampled_from([0.25, 0.3, math.nan]),
    }
)
CONDITIONS = [
    "width >= 2", "width > 1.5", "width == 1.5", "width != 1", "width = 512", "width in 1, 1.5, 512",
    "width not in 1, 2", "bytes == 9007199254740993", "bytes > 9007199254740992", "score == 0.1",
    "score >= 0.1", "score < 0.5", "score in 0.1, 0.5", "score exists", "score missing", "score > 1",
    "score == 0", "blur == 0.1", "blur in 0.1, 1e300", "blur < 0", "blur missing", "language == de",
    "language != de", "language in de, 'fr'", "language not in de", "language == \"it's\"",
    "language == 'a \"b\"'", "language == 中文", "language == ''", "language < e", "language >= de",
    "language contains d", "language contains IT", "language not contains R", "language contains 中",
    "not language contains ''", "language contains 5", "language missing", "reencoded == true", "reencoded != true", "reencoded in false, true",
    "not reencoded == true", "clip.similarity >= 0.3", "clip.similarity == 0.25",
    "width > 0 and score > 0.2", "width > 0 or score > 0.2", "not (width > 0 and language == de)",
    "not width missing and (language == fr or not blur > 0)",
    "width top 30%", "score bottom 50%", "blur top 100%", "width top 1% or language == de",
    "not score top 50%", "bytes top 40% and width exists",
]  # fmt: skip


_DB = duckdb.connect(config={"threads": 1})


def by_duckdb(text: str, table: pa.Table) -> list[bool]:
    """Which rows meet a condition."""
    columns = {field.name: Column("t", field.name, field.type) for field in table.schema}
    db = _DB
    db.register("t", table.append_column("place", pa.array(range(len(table)), pa.int64())))

    def chosen(share: Share) -> str:
        known = f"CAST({columns[share.field].known} AS DOUBLE)"
        order = "DESC" if share.end == "top" else "ASC"
        return (
            f"(t.place IN (SELECT place FROM (SELECT place, {known} AS value, count(value) OVER () "
            f"AS given, row_number() OVER (ORDER BY value {order} NULLS LAST, place) AS n FROM t) "
            f"WHERE value IS NOT NULL AND n <= floor(given * {share.percent} / 100 + 0.5)))"
        )

    sql, values = as_sql(parse(text), columns, chosen)
    met = {place for (place,) in db.execute(f"SELECT place FROM t WHERE {sql}", values).fetchall()}
    return [place in met for place in range(len(table))]


def by_arrow(text: str, table: pa.Table) -> list[bool]:
    condition = parse(text)
    values: dict[str, Any] = {name: table[name].combine_chunks() for name in table.column_names}
    for test in condition.tests():
        if isinstance(test, Share):
            numbers = numbers_of(test.field, values[test.field])
            mask = test.choose(numbers, np.zeros(len(table), np.int64))
            values[repr(test)] = pa.array(mask)
    return pc.fill_null(condition.mask(values), False).to_pylist()


@given(st.lists(ROWS, max_size=12), st.lists(st.sampled_from(CONDITIONS), min_size=4, max_size=4))
def test_each_condition_keeps_the_same_samples(
    rows: list[dict[str, Any]], conditions: list[str]
) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    for text in conditions:
        assert by_duckdb(text, table) == by_arrow(text, table), text


def test_all_conditions_on_a_table_with_everything() -> None:
    rows = [
        {"width": 512, "bytes": 2**53 + 1, "score": 0.1, "blur": 0.1, "language": "de",
         "reencoded": True, "clip.similarity": 0.25},
        {"width": 1, "bytes": 2**53, "score": math.nan, "blur": -math.inf, "language": "it's"},
        {"width": 0, "score": 0.5, "blur": math.nan, "language": "", "reencoded": False},
        {"width": -7, "score": 1.0, "language": 'a "b"', "clip.similarity": 0.3},
        {"language": "中文"}, {"width": 2, "language": "fr", "blur": 1e300}, {},
    ]  # fmt: skip
    table = pa.Table.from_pylist(
        [{name: row.get(name) for name in SCHEMA.names} for row in rows], SCHEMA
    )
    for text in CONDITIONS:
        assert by_duckdb(text, table) == by_arrow(text, table), text


@given(st.text(max_size=8), st.text(st.characters(exclude_characters="\"'"), max_size=3))
def test_a_text_is_found_in_capitals_and_small_letters_of_any_script(text: str, part: str) -> None:
    for whole in (text, text + part.upper(), part.lower() + text, "ΣΑΣ ẞ İ ǅ " + part.swapcase()):
        table = pa.Table.from_pylist([{"language": whole}], SCHEMA)
        for mark in "\"'":
            condition = f"language contains {mark}{part}{mark}"
            assert by_duckdb(condition, table) == by_arrow(condition, table), (whole, part)


@pytest.mark.parametrize(
    "text",
    ["width contains 5", "reencoded contains true", "width == de", "language > 5", "reencoded == 1", "language top 5%", "width in 1, de",
     "score == 'x'", "reencoded >= yes"],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused_by_both(text: str) -> None:
    table = pa.Table.from_pylist([{}], SCHEMA)
    with pytest.raises(ExpressionError):
        by_duckdb(text, table)
    with pytest.raises(ExpressionError):
        by_arrow(text, table)
