import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.pipelines.sources import cuts
from septet.preprocess.lists.rows import read_rows

CELLS = st.text(alphabet='ab,"\n\r é', max_size=8)
HEADER = b"url,caption\n"


def written(rows: list[tuple[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


LINES = st.one_of(
    st.tuples(CELLS, CELLS).map(lambda row: written([row])),  # as they should be
    st.text(alphabet='ab,"\n', max_size=9).map(lambda text: text.encode() + b"\n"),  # any
    st.sampled_from([b'u,5" and 6"\n', b'u,"open\n', b'u,"a\nb",c\n', b"u,a\n", b'u",a\n', b'u,"a" b\n']),
)  # fmt: skip


def rows_of(data: bytes, parts: list[tuple[int, int]]) -> list[tuple[dict, bool]]:
    """The rows of all parts, and whether each is lost."""
    return [
        (row.values, row.error is None)
        for a, b in parts
        for row in read_rows(io.BytesIO(data), "csv", ["url", "caption"], a, b)
    ]


@given(st.lists(LINES, max_size=20), st.integers(1, 60))
def test_csv_read_slice_by_slice_is_the_csv(lines: list[bytes], every: int) -> None:
    data = HEADER + b"".join(lines)
    parts = cuts.cut_csv(io.BytesIO(data), len(data), every)
    assert b"".join(data[a:b] for a, b in parts) == data and parts[0][0] == 0
    assert all(b - a >= every for a, b in parts[:-1])
    assert rows_of(data, parts) == rows_of(data, [(0, len(data))])


@pytest.mark.parametrize(
    "rows",
    [b'u,"a, ""b"""\nu,""\n', b'u,"two\nlines"\n', b'u,5" and\n"u",6"\n', b'u,"a" b\n', b'u,"open\nu,a\n'],
)  # fmt: skip
def test_csv_is_cut_whatever_its_quotes(rows: bytes) -> None:
    data = HEADER + b"u,a\n" * 9 + rows + b'u,"b\nc"\n' + b"u,d\n" * 30
    parts = cuts.cut_csv(io.BytesIO(data), len(data), 20)
    read = rows_of(data, parts)
    assert len(parts) >= 7 and read == rows_of(data, [(0, len(data))])
    assert [row["caption"] for row, good in read if good][-31:] == ["b\nc", *["d"] * 30]


@given(st.binary(max_size=200), st.integers(1, 60))
def test_lines_are_never_cut(data: bytes, every: int) -> None:
    parts = cuts.cut_lines(io.BytesIO(data), len(data), every)
    assert b"".join(data[a:b] for a, b in parts) == data
    assert all(data[:b].endswith(b"\n") and b - a >= every for a, b in parts[:-1])
    if every == 1:  # then every line is a slice
        assert len(parts) == max(1, data.count(b"\n") + (not data.endswith(b"\n")))


@pytest.mark.parametrize(
    ("groups", "rows", "expected"),
    [
        (1, 0, [0]),
        (1, 10, [0]),
        (7, 10, [0]),
        (7, 30_000, [0, 60_000, 120_000, 180_000]),
        (3, 75_000, [0, 75_000, 150_000]),
        (3, 49_999, [0, 99_998]),
        (3, 50_000, [0, 50_000, 100_000]),
        (2, 150_000, [0, 50_000, 100_000, 150_000, 200_000, 250_000]),
        (1, 1_600_000, [*range(0, 1_600_000, 100_000)]),
    ],
)
def test_rows_of_parquet_are_cut_within_and_between_row_groups(
    groups: int, rows: int, expected: list[int]
) -> None:
    out = io.BytesIO()
    table = pa.table({"a": pa.nulls(groups * rows, pa.int8())})
    pq.write_table(table, out, row_group_size=max(1, rows))
    parts = cuts.cut_rows(pq.ParquetFile(out).metadata)
    assert parts == list(zip(expected, [*expected[1:], groups * rows], strict=True))


def test_slices_are_as_large_as_those_of_corpora_that_exist() -> None:
    """Tasks are named by their slices: other sizes mean that all is read anew."""
    assert (cuts.SLICE_BYTES, cuts.SLICE_ROWS) == (8 * 2**20, 50_000)


def test_a_row_group_of_many_bytes_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    table = pa.table({"a": [i.to_bytes(2, "big") * 300 for i in range(40)]})
    pq.write_table(table, out, row_group_size=40, compression="none", use_dictionary=False)
    monkeypatch.setattr(cuts, "SLICE_BYTES", 8000)
    assert cuts.cut_rows(pq.ParquetFile(out).metadata) == [(0, 13), (13, 26), (26, 40)]


@pytest.mark.parametrize(("more", "expected"), [(0, [(0, 9), (9, 18)]), (1, [(0, 18)])])
def test_row_groups_are_cut_apart_once_they_have_the_bytes_of_a_slice(
    more: int, expected: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [b"x" * 99] * 18}), out, row_group_size=9)
    footer = pq.ParquetFile(out).metadata
    stored = footer.row_group(0).column(0).total_compressed_size
    monkeypatch.setattr(cuts, "SLICE_BYTES", stored + more)
    assert cuts.cut_rows(footer) == expected
