import numpy as np
import pyarrow as pa
import pytest

from septet.pipelines.views.expressions import ExpressionError, Share, parse

TABLE = {
    "width": pa.array([100, 200, 300, None]),
    "score": pa.array([0.5, 0.25, None, 1.0]),
    "similarity": pa.array([0.5, float("nan"), 0.25, None], pa.float32()),
    "language": pa.array(["de", "en", None, "fr"]),
    "reencoded": pa.array([True, False, True, None]),
    "caption": pa.array(["a dog", "2", "and so on", None]),
}


@pytest.mark.parametrize("text,expected", [
    ("width >= 200", [0, 1, 1, 0]),
    ("width>=200 and score exists", [0, 1, 0, 0]),
    ("width < 150 or language == fr", [1, 0, 0, 1]),
    ("not width < 150", [0, 1, 1, 0]),
    ("language in de, fr", [1, 0, 0, 1]),
    ("language not in de, fr", [0, 1, 0, 0]),
    ("language missing", [0, 0, 1, 0]),
    ("width in 100, 300.0", [1, 0, 1, 0]),
    ("width in 100.7, 1e300, -1, 200", [0, 1, 0, 0]),
    ("similarity exists", [1, 0, 1, 0]),
    ("similarity != 0.5", [0, 0, 1, 0]),
    ("similarity missing or similarity in 0.5", [1, 1, 0, 1]),
    ("score != 0.25", [1, 0, 0, 1]),
    ("reencoded == true", [1, 0, 1, 0]),
    ('caption == "a dog" or caption = \'2\'', [1, 1, 0, 0]),
    ("caption == 'and so on'", [0, 0, 1, 0]),
    ("(width > 150 or score > 0.4) and not (language == en)", [1, 0, 0, 1]),
    ("width > 150 or score > 0.4 and language == en", [0, 1, 1, 0]),  # `and` binds more closely
])  # fmt: skip
def test_a_condition_keeps_what_it_says(text, expected):
    mask = parse(text).mask(TABLE).fill_null(False).to_pylist()
    assert mask == [bool(one) for one in expected]


@pytest.mark.parametrize("text,message", [
    ("", "expected the name of a field, found the end"),
    ("width", "expected a comparison"),
    ("width >=", "expected a value, found the end"),
    ("width >= 200 language == de", "expected 'and', 'or' or the end, found 'language == de'"),
    ("(width >= 200", r"expected '\)'"),
    ("width top 30", "expected a share above 0%"),
    ("width top 130%", "expected a share above 0%"),
    ("width top 0%", "expected a share above 0%"),
    ("width not 30", "expected 'in' or 'contains', found '30'"),
    ("width == 'open", "expected a quote that is closed"),
    ("__import__('os')", "expected a comparison"),
    ("not " * 300 + "width > 1", "of 303 words"),
    ("(" * 150 + "width", "expected a comparison"),
])  # fmt: skip
def test_what_is_no_condition_is_told_with_its_place(text, message):
    with pytest.raises(ExpressionError, match=message):
        parse(text)


@pytest.mark.parametrize("text,message", [
    ("width == wide", "width is a number"),
    ("language > 3", "language is a text: write the value in quotes"),
    ("language in 07, true", "language is a text: write the value in quotes"),
    ("reencoded == 1", "reencoded is true or false"),
])  # fmt: skip
def test_a_value_of_another_kind_is_refused(text, message):
    with pytest.raises(ExpressionError, match=message):
        parse(text).mask(TABLE)


def test_a_share_is_of_those_that_have_a_value_and_exact_where_many_are_equal():
    nan = float("nan")
    values = np.array([3.0, nan, 1.0, 2.0, 2.0, 2.0, 9.0, 8.0, nan, 7.0])
    none = np.zeros(10, np.int64)
    top = Share("x", "top", 50).choose(values, none)
    assert np.flatnonzero(top).tolist() == [0, 6, 7, 9]
    assert np.flatnonzero(Share("x", "top", 62.5).choose(values, none)).tolist() == [0, 3, 6, 7, 9]
    assert np.flatnonzero(Share("x", "bottom", 25).choose(values, none)).tolist() == [2, 3]
    groups = np.array([0] * 5 + [-1] * 5)
    assert np.flatnonzero(Share("x", "top", 25).choose(values, groups)).tolist() == [0, 6]
    draw = np.random.default_rng(5)
    many, of = draw.normal(size=5000).round(1), draw.integers(0, 7, 5000)
    kept = Share("x", "top", 30).choose(many, of)
    for group in range(7):
        mine = many[of == group]
        assert kept[of == group].sum() == int(0.3 * len(mine) + 0.5)
        assert mine[kept[of == group]].min() >= mine[~kept[of == group]].max()
