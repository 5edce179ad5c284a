"""Lists that are damaged at random: nothing is raised, and each row is kept or lost."""

import gzip
import io
import json
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from septet.pipelines.sources import cuts
from septet.pipelines.sources.base import Found
from septet.pipelines.sources.lists import UrlList
from septet.schemas.reasons import Rejected
from septet.schemas.sources import ListSource
from tests.fuzz.inputs import damaged, pairs_of, read_all

TEXT = st.text(max_size=12) | st.sampled_from(
    ['a "quoted" word', "two\nlines", "a,b", "tab\tin", "é日", "\ud800", "\0", " ", "x" * 300]
)
URLS = st.integers(0, 99).map("http://e.org/{}.jpg".format) | TEXT
ROWS = st.lists(st.tuples(URLS, TEXT), max_size=8)
VALUES = TEXT | st.none() | st.integers() | st.floats() | st.lists(TEXT, max_size=2)


def delimited(rows: list[tuple[str, str]], sign: str, header: bool) -> bytes:
    lines = [f"url{sign}caption"] if header else []
    for row in rows:
        lines.append(sign.join('"{}"'.format(c.replace('"', '""')) if sign == "," else c for c in row))  # fmt: skip
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def parquet(rows: list[tuple[str, str]]) -> bytes:
    out = io.BytesIO()
    cells = [tuple(cell.encode("utf-8", "replace").decode() for cell in row) for row in rows]
    schema = pa.schema({"url": pa.string(), "caption": pa.string()})
    table = pa.Table.from_pylist([dict(zip(("url", "caption"), c, strict=True)) for c in cells], schema)  # fmt: skip
    pq.write_table(table, out, row_group_size=3)
    return out.getvalue()


JSON_LINES = st.lists(
    st.dictionaries(st.sampled_from(["url", "caption", "x"]), VALUES), max_size=8
).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
LISTS = {
    "csv": ROWS.map(lambda rows: delimited(rows, ",", True)),
    "bare.csv": ROWS.map(lambda rows: delimited(rows, ",", False)),
    "tsv": ROWS.map(lambda rows: delimited(rows, "\t", True)),
    "bare.tsv": ROWS.map(lambda rows: delimited(rows, "\t", False)),
    "txt": ROWS.map(lambda rows: "\n".join(row[0] for row in rows).encode("utf-8", "replace")),
    "jsonl": JSON_LINES,
    "json": JSON_LINES.map(lambda data: b"[" + data.replace(b"\n", b",") + b"]"),
    "parquet": ROWS.map(parquet),
}


def settings_for(name: str) -> ListSource:
    return ListSource(
        kind="list",
        paths=["x"],
        on_broken_input="reject",
        columns=["url", "caption"] if name.startswith("bare") else None,
        caption_col=None if name == "txt" else "caption",
    )


def is_broken(found: Found) -> bool:
    return isinstance(found, Rejected) and found.reason == "input_broken"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lists")


@pytest.mark.parametrize("name", LISTS)
@given(data=st.data())
def test_rows_of_damaged_lists_are_kept_or_lost(folder: Path, name: str, data: st.DataObject) -> None:  # fmt: skip
    """And they are the same whether the list is cut into slices or not."""
    path, settings = folder / f"a.{name}", settings_for(name)
    path.write_bytes(data.draw(damaged(LISTS[name])))
    found, counts, _ = read_all(UrlList(), settings, path)
    assert len(found) >= counts["rows"]
    if name in ("bare.tsv", "txt") and not any(map(is_broken, found)):
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert counts["rows"] == sum(bool(line.rstrip(b"\r")) for line in lines)
    with (
        mock.patch.object(cuts.cut_lines, "__defaults__", (20,)),
        mock.patch.object(cuts.cut_csv, "__defaults__", (20,)),
        mock.patch.object(cuts, "SLICE_ROWS", 2),
    ):
        again, recounted, _ = read_all(UrlList(), settings, path)
    assert pairs_of(again) == pairs_of(found)
    assert recounted["rows"] == counts["rows"]


@pytest.mark.parametrize("name", ["bare.csv", "jsonl", "txt"])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
@given(data=st.data())
def test_rows_of_damaged_packed_lists(folder: Path, name: str, pack, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    path = folder / f"a.{name}.gz"
    path.write_bytes(data.draw(damaged(LISTS[name].map(pack))))
    found, counts, slices = read_all(UrlList(), settings_for(name), path)
    assert len(found) >= counts["rows"] and slices >= 1
