import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess import json_members
from septet.preprocess.json_members import JsonError, members
from septet.preprocess.text.json_depth import NestingError


def read(path: Path) -> Any:
    """The file's value, put together of its members."""
    found: Any = {}
    for name, value in members(str(path)):
        whole = list(value) if isinstance(value, Iterator) else value
        found = whole if name is None else {**found, name: whole}
    return found


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 1]), st.booleans(), st.integers(1, 9))
def test_reads_what_json_reads(
    tmp_path_factory: pytest.TempPathFactory, value: Any, indent: int | None, ascii: bool, step: int
) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=ascii), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_members, "_READ_BYTES", step)  # every place is the end of a read
        assert read(path) == value


def test_what_is_not_taken_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "two.json"
    path.write_text('\ufeff{"a": [1, 2, [3]], "b": {"c": []}, "d": [], "a": [4]}', "utf-8")
    names = []
    for name, value in members(str(path)):
        names.append((name, next(value, None) if isinstance(value, Iterator) else value))
    assert names == [("a", 1), ("b", {"c": []}), ("d", None), ("a", 4)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value at character 0"), ("{", "expected a name at character 1"),
        ("[1, 2", r"expected ',', found '' at character 5"), ("[1 2]", "found '2' at character 3"),
        ("[1,]", "Expecting value at character 3"), ('{"a" 1}', "expected ':', found '1'"),
        ('{"a": [1, {"b": }]}', "Expecting value at character 16"), ("[] []", "more follows"),
        ('["' + "x" * 50, "Unterminated string"), ("[" * 100_000, "not closed"),
        ('{"a": ' + "[" * 100_000, "not closed"), ("{1: 2}", "a name"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(JsonError, match=rf"odd\.json: no JSON \(.*{told}"):
        read(path)
    with pytest.raises((ValueError, RecursionError)):
        json.loads(text)  # nor do others read it


@pytest.mark.parametrize("depth", [100, 101, 1000, 100_000])
@pytest.mark.parametrize("step", [7, 2**20])
def test_what_nests_too_deeply_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int, step: int
) -> None:
    monkeypatch.setattr(json_members, "_READ_BYTES", step)
    deep = '[{"]}": "\\"}]", "a": [' * (depth // 3) + "[" * (depth % 3)
    deep += "]" * (depth % 3) + "]}]" * (depth // 3)
    path = tmp_path / "deep.json"
    path.write_text(f'[1, {deep}, {{"b": [2]}}]')
    first, middle, last = read(path)
    assert (first, last) == (1, {"b": [2]})
    assert isinstance(middle, NestingError) == (depth > 100)
    path.write_text(f'{{"a": {{"b": {deep}}}, "c": 3}}')
    found = read(path)
    assert found["c"] == 3 and isinstance(found["a"], NestingError) == (depth > 99)


def test_an_integer_of_too_many_digits_is_infinite(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text(f"[7, {'1' * 5000}, -{'1' * 5000}, {'1' * 4000}, 2]")
    assert read(path) == [7, math.inf, -math.inf, int("1" * 4000), 2]


def test_neither_other_encodings_nor_endless_members_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes('["ä"]'.encode("latin-1"))
    with pytest.raises(JsonError, match="not UTF-8"):
        read(path)
    monkeypatch.setattr(json_members, "MOST_CHARACTERS", 1000)
    monkeypatch.setattr(json_members, "_READ_BYTES", 100)
    path.write_text(json.dumps(["x" * 900] * 3))
    assert read(path) == ["x" * 900] * 3
    path.write_text(json.dumps(["x", "x" * 10_000]))
    with pytest.raises(JsonError, match="more than 1000 characters"):
        read(path)
