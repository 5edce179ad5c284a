import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.pipelines.sources import cuts

CELLS = st.text(alphabet='ab,"\n\r é', max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=30), st.integers(1, 60), st.integers(1, 9))
def test_csv_read_slice_by_slice_is_the_csv(
    rows: list[tuple[str, str]], every: int, block: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    data = text.getvalue().encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "_BLOCK", block)
        parts = cuts.cut_quoted_lines(io.BytesIO(data), len(data), every)
    assert b"".join(data[a:b] for a, b in parts) == data and parts[0][0] == 0
    assert all(b - a >= every for a, b in parts[:-1])
    read = [
        tuple(row)
        for a, b in parts
        for row in csv.reader(io.StringIO(data[a:b].decode(), newline=""))
    ]
    assert read == [tuple(row) for row in csv.reader(io.StringIO(text.getvalue(), newline=""))]


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


def test_a_row_group_of_many_bytes_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    table = pa.table({"a": [i.to_bytes(2, "big") * 300 for i in range(40)]})
    pq.write_table(table, out, row_group_size=40, compression="none", use_dictionary=False)
    monkeypatch.setattr(cuts, "SLICE_BYTES", 8000)
    assert cuts.cut_rows(pq.ParquetFile(out).metadata) == [(0, 13), (13, 26), (26, 40)]
