"""Rows of lists in every form: good ones as they are, bad ones one by one with what is wrong."""

import csv
import datetime
import gzip
import io
import itertools
import json
import tracemalloc
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from septet.preprocess.lists import lines, parquet
from septet.preprocess.lists.lines import ListError, Row
from septet.preprocess.lists.rows import Kind, column_names, is_whole, kind_of, read_rows

ROWS = [{"url": f"http://e.org/{i}", "caption": f'caption, "{i}" é\nline'} for i in range(3)]
COLUMNS = ["url", "caption"]
TURNED = {name: [row[name] for row in ROWS] for name in COLUMNS}


def read(data: bytes, kind: Kind, columns: list[str] | None = None) -> list[Row]:
    return list(read_rows(io.BytesIO(data), kind, columns or COLUMNS))


def parquet_of(table: pa.Table, rows: int = 2) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=rows)
    return out.getvalue()


def csv_of(rows: list[dict[str, str]], sign: str = ",") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=sign)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


LISTS: dict[str, tuple[Kind, bytes]] = {
    "a.parquet": ("parquet", parquet_of(pa.Table.from_pylist([{**r, "o": 1} for r in ROWS]))),
    "a.csv": ("csv", csv_of([{"other": "x", **row} for row in ROWS])),
    "a.jsonl": ("jsonl", "\n".join(json.dumps(row) for row in ROWS).encode()),
    "b.json": ("json", "\n".join(json.dumps(row) for row in ROWS).encode()),
    "c.json": ("json", json.dumps(ROWS).encode()),
    "columns.json": ("json", json.dumps({"n": [7] * 3, **TURNED}).encode()),
    "turned.json": ("json", json.dumps({**TURNED, "note": "x"}, indent=1).encode()),
    "d.json": ("json", json.dumps(ROWS, indent=2, ensure_ascii=False).encode()),
    "bom.csv": ("csv", b"\xef\xbb\xbf" + csv_of(ROWS)),
    "bom.json": ("json", b"\xef\xbb\xbf" + json.dumps(ROWS).encode()),
    "bom.jsonl": ("jsonl", b"\xef\xbb\xbf" + "\n".join(map(json.dumps, ROWS)).encode()),
}
PACKS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    "of members.gz": lambda data: gzip.compress(data[:40]) + gzip.compress(data[40:]) + b"\0" * 9,
}


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("name", LISTS)
def test_every_kind_of_list(name: str, pack: str) -> None:
    kind, data = LISTS[name]
    assert kind_of(f"x/{name}".upper()) == kind
    if kind == "parquet" and pack:
        return
    packed = PACKS[pack](data)
    found = read(packed, kind)
    assert [row.values for row in found] == ROWS and all(row.error is None for row in found)
    assert set(COLUMNS) <= set(column_names(io.BytesIO(packed), kind))
    whole = bool(pack) or name in ("c.json", "d.json", "bom.json", "columns.json", "turned.json")
    assert is_whole(io.BytesIO(packed), kind) == whole


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('{"url": ["a", "b"], "caption": ["c", "d"]}', 2),
        ('{"url": ["a", "b"], "caption": "c"}', 1),
        ('{"url": ["a"], "caption": "c"}\n{"url": ["b"], "caption": "d"}\n', 2),
        ('{"url": [], "caption": []}', 0),
    ],
)
def test_an_object_of_arrays_is_columns_unless_it_is_a_row(text: str, rows: int) -> None:
    assert len(read(text.encode(), "json")) == rows


@pytest.mark.parametrize(
    ("text", "told", "before"),
    [
        (
            '{"url": ["a", "b"], "caption": ["c"],\n"x": 1}',
            "column 'caption' ends before another",
            1,
        ),
        ('{"url": ["a", "b"],\n"caption": ["c"', "cannot be read behind row 1: it: no JSON", 1),
        ('{"url": ["a", "b"],\n"text": ["c"]}', "has no column 'caption'", 0),
    ],
)
def test_columns_that_do_not_go_together(text: str, told: str, before: int) -> None:
    rows = read_rows(io.BytesIO(text.encode()), "json", COLUMNS)
    assert [next(rows).values for _ in range(before)] == [{"url": "a", "caption": "c"}] * before
    with pytest.raises(ListError, match=told):
        next(rows)


def test_memory_does_not_grow_with_columns() -> None:
    data = json.dumps({name: ["x" * 100] * 200_000 for name in COLUMNS}).encode()
    tracemalloc.start()
    assert sum(1 for _ in read_rows(io.BytesIO(data), "json", COLUMNS)) == 200_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20 < len(data)


@pytest.mark.parametrize("pack", PACKS)
def test_lists_without_a_header(pack: str) -> None:
    text = "a,u1\n\nb,u2\n" * 2
    rows = [("u1", "a"), ("u2", "b")] * 2
    for kind, sign in (("csv", ","), ("tsv", "\t")):
        file = io.BytesIO(PACKS[pack](text.replace(",", sign).encode()))
        found = [*read_rows(file, kind, ["url", "caption"], names=["caption", "url"])]  # type: ignore[arg-type]
        assert [tuple(row.values.values()) for row in found] == rows
    file = io.BytesIO(PACKS[pack](b"\xef\xbb\xbfu1\r\n\r\nu\t2\ncaf\xe9\nu3"))
    assert column_names(file, "txt") == ["url"]
    found = [*read_rows(file, "txt", ["url"])]
    assert [row.values.get("url") for row in found] == ["u1", "u\t2", None, "u3"]
    assert found[2].error == "line 4: byte 0xe9 in column 'url' is not UTF-8"
    assert next(read_rows(file, "txt", ["x"], names=["x"])).values == {"x": "u1"}


def test_tsv_has_no_quotes() -> None:
    data = b'url\tcaption\nu1\t"begins with a quote\nu2\tsays "hi"\r\n\nu3\t"whole"\n'
    assert [row.values["caption"] for row in read(data, "tsv")] == [
        '"begins with a quote', 'says "hi"', '"whole"',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "bad", "good", "message"),
    [
        ('u1,"not closed\nu2,b\nu3,c\n', [2], ["b", "c"], "a quote that is not closed"),
        ('u1,"not closed\nu2,b\nu3,"c"\nu4,d\n', [2], ["b", "c", "d"], "a quote that is not closed"),
        ('u1,"not closed\nu2,"nor this\nu3,c\n', [2, 3], ["c"], "a quote that is not closed"),
        ('u1,"not closed', [2], [], "a quote that is not closed"),
        ('u1,"a "loud" word"\nu2,b\n', [2], ["b"], "expected after"),
        ("u1\nu2,b\n", [2], ["b"], "1 columns, expected 2"),
        ("u1,a,b\nu2,b\n", [2], ["b"], "3 columns, expected 2"),
        ("u1,caf\udce9\nu2,b\n", [2], ["b"], "byte 0xe9 in column 'caption' is not UTF-8"),
        ("\n\nu1,a\rb\nu2,b\n", [4], ["b"], "new-line character"),
        ('u1,"two\nlines"\nu2\n', [4], ["two\nlines"], "1 columns"),
    ],
)  # fmt: skip
def test_a_bad_row_of_csv_costs_itself(
    text: str, bad: list[int], good: list[str], message: str
) -> None:
    rows = read(b"url,caption\n" + text.encode("utf-8", "surrogateescape"), "csv")
    assert [row.number for row in rows if row.error] == bad
    assert [row.values["caption"] for row in rows if not row.error] == good
    for row in rows:
        assert row.error is None or (
            message in row.error and row.error.startswith(f"line {row.number}: ")
        )


def test_what_nobody_asks_for_does_not_matter() -> None:
    big = b"url,caption,n\n" + b"".join(b"u%d,c,%d\n" % (i, i) for i in range(30000))
    rows = read(big + b"z,last,wide\nz,bytes,\xff\n", "csv")
    assert len(rows) == 30002 and not any(row.error for row in rows)
    twice = read(b"n,url,n,caption\n1,u,2,c\n", "csv")
    assert [row.values for row in twice] == [{"url": "u", "caption": "c"}]


BAD_JSON = {
    "not JSON": (b"nope", "not JSON"),
    "another value": (b"[1]", "expected a JSON object, found list"),
    "deep": (b'{"url": ' + b"[" * 200_000, "nested too deeply"),
    "deep and closed": (b'{"url": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "nested too deeply"),
    "not UTF-8": (b'{"url": "\xe9"}', "byte 0xe9 is not UTF-8"),
    "cut": (b'{"url": "u", "capt', "not JSON"),
    "Python's": (b"{'url': 'u'}", "not JSON"),
    "a number without end": (b'{"url": ' + b"1" * 5000 + b"}", "not JSON"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_JSON.values(), ids=BAD_JSON)
def test_a_bad_line_of_json_costs_itself(bad: bytes, message: str) -> None:
    good = b'{"url": "u", "caption": "c"}'
    first, lost, last = read(good + b"\n\n" + bad + b"\n" + good, "jsonl")
    assert first.values == last.values == {"url": "u", "caption": "c"}
    assert lost.error is not None and lost.error.startswith("line 3: ") and message in lost.error


@pytest.mark.parametrize(
    "name", ["not JSON", "another value", "not UTF-8", "Python's", "a number without end"]
)
def test_a_bad_element_of_an_array_costs_itself(name: str) -> None:
    bad, message = BAD_JSON[name]
    good = b'{"url": "a, [b] {c}", "caption": "\\"c\\\\"}'
    first, lost, last = read(b"[" + b",\n".join([good, bad, good]) + b"]", "json")
    assert first.values == last.values == {"url": "a, [b] {c}", "caption": '"c\\'}
    assert lost.error is not None and lost.error.startswith("row 2: ") and message in lost.error


def test_arrays_of_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    from septet.preprocess.lists import json_rows

    rows = [{"url": "u" * (i % 7), "caption": {"a": ['"', "\\", i]}} for i in range(40)]
    data = json.dumps(rows).encode()
    for size in (1, 2, 3, 7, 100):
        monkeypatch.setattr(json_rows, "_READ_BYTES", size)
        assert [row.values for row in read(data, "json")] == rows
    assert read(b"[]", "json") == read(b" [ ] ", "json") == []
    assert [row.error is None for row in read(b'[{}, , "x"]', "json")] == [True, False, False]
    last = len(json.dumps(rows[-1]))
    for cut, whole in ((1, 40), (2, 39), (3, 39), (last + 3, 39), (last + 4, 38)):
        found = []
        with pytest.raises(ListError, match=f"not closed behind row {whole}: "):
            for row in read_rows(io.BytesIO(data[:-cut]), "json", COLUMNS):
                found.append(row.values)
        assert found == rows[:whole]


def test_a_row_of_an_array_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    from septet.preprocess.lists import json_rows

    monkeypatch.setattr(json_rows, "MAX_ROW_BYTES", 1000)
    monkeypatch.setattr(json_rows, "_READ_BYTES", 100)
    with pytest.raises(ListError, match="row 2 has more than 1000 characters"):
        read(b'[{"url": "u"}, {"url": "' + b"x" * 5000 + b'"}]', "json")


def test_names_are_those_of_the_first_rows() -> None:
    for kind, data in (
        ("jsonl", b'{"url": 1, "caption": 2}'), ("json", b'[{"url": 1}, {"caption": 2}]'),
        ("csv", b"url,caption"), ("tsv", b"url\tcaption\r\n1\t2"),
    ):  # fmt: skip
        assert column_names(io.BytesIO(data), kind) == ["url", "caption"]  # type: ignore[arg-type]
    many = b"".join(b'{"c%d": 1}\n' % i for i in range(1002))
    assert column_names(io.BytesIO(many), "jsonl") == [f"c{i}" for i in range(1000)]


def test_numbers_that_are_none_are_floats() -> None:
    (row,) = read(b'{"url": "u", "caption": NaN}', "jsonl")
    assert isinstance(row.values["caption"], float)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("csv", b"", r"is empty \(0 bytes\)"),
        ("csv", b"\n\n", "has no header"),
        ("csv", b"url,caption\ra,b\r", "carriage returns"),
        ("csv", "url,caption\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("jsonl", "{}\n".encode("utf-16"), "is UTF-16"),
        ("csv", b"link,text\na,b\n", "has no column 'url'; it has link, text"),
        ("tsv", b"url\turl\tcaption\n", "has 2 columns 'url': rename one"),
        ("parquet", b"nope", "no whole Parquet file"),
        ("parquet", LISTS["a.parquet"][1][:-9], "no whole Parquet file"),
        ("json", b'{\n"url": 1\n}', "one JSON object over many lines"),
    ],
)
def test_lists_that_cannot_be_read_say_what_to_do(kind: Kind, data: bytes, message: str) -> None:
    with pytest.raises(ListError, match=message):
        column_names(io.BytesIO(data), kind)
        read(data, kind)


def test_other_files_are_no_lists() -> None:
    with pytest.raises(ListError, match=r"lists are \.parquet"):
        kind_of("x.doc.gz")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_compressed_list_that_is_cut_gives_its_rows_and_says_where(
    kind: Kind, pack: Callable[[bytes], bytes]
) -> None:
    rows = [{"url": f"http://e.org/{i * i}", "caption": str(i**9)} for i in range(9000)]
    data = {
        "csv": csv_of(rows),
        "jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "json": json.dumps(rows).encode(),
    }[kind]
    cut = pack(data)[:-50]
    found: list[Row] = []
    with pytest.raises(ListError, match=r"behind (line|row) \d+: .*ends too early, at byte"):
        for row in read_rows(io.BytesIO(cut), kind, COLUMNS):
            found.append(row)
    assert len(found) > 100 and [row.values for row in found] == rows[: len(found)]
    harmed = bytearray(pack(data))
    harmed[len(harmed) // 2 : len(harmed) // 2 + 9] = b"\xff" * 9
    with pytest.raises(ListError, match=r"damaged near byte|ends too early|more follows"):
        read(bytes(harmed), kind)


def test_parts_of_text_give_each_row_once() -> None:
    for kind in ("csv", "tsv", "jsonl"):
        rows = [{"url": str(i), "caption": "c"} for i in range(50)]
        data = (
            "\n".join(map(json.dumps, rows)).encode() if kind == "jsonl"
            else csv_of(rows, "," if kind == "csv" else "\t")
        )  # fmt: skip
        ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
        cuts = [0, ends[3], ends[20], ends[21], len(data)]
        found = [
            row.values
            for start, stop in itertools.pairwise(cuts)
            for row in read_rows(io.BytesIO(data), kind, COLUMNS, start, stop)  # type: ignore[arg-type]
        ]
        assert found == rows


def test_parquet_values_come_as_they_are_typed() -> None:
    late = datetime.datetime(2024, 1, 2, 3, 4, 5, 6)
    bad_text = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    cells = {
        "list": (pa.array([["a", "b"]]), ["a", "b"]),
        "bytes": (pa.array([b"a"]), b"a"),
        "number": (pa.array([1.5]), 1.5),
        "null": (pa.array([None], pa.string()), None),
        "time": (pa.array([late]), late),
        "finer time": (pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")), "2023-11-14 22:13:20.000000001"),
        "words": (pa.array(["a"]).dictionary_encode(), "a"),
        "large": (pa.array(["a"], pa.large_string()), "a"),
        "not UTF-8": (bad_text, b"\xff\xfe"),
        "far date": (pa.array([400_000_000], pa.date32()), None),
    }  # fmt: skip
    data = parquet_of(pa.table({name: array for name, (array, _) in cells.items()}))
    (row,) = read(data, "parquet", list(cells))
    assert isinstance(row.values.pop("far date"), str)
    assert row.values == {name: value for name, (_, value) in cells.items() if name != "far date"}


@pytest.mark.parametrize("group", [1, 4, 7, 100])
def test_rows_of_parquet_are_read_by_number(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_BATCH_ROWS", 3)
    table = pa.table({"url": [f"u{i}" for i in range(20)], "caption": ["c"] * 20})
    data = parquet_of(table, group)
    for start in range(21):
        for stop in range(start, 21):
            rows = read_rows(io.BytesIO(data), "parquet", COLUMNS, start, stop)
            assert [(row.number, row.values["url"]) for row in rows] == [
                (i + 1, f"u{i}") for i in range(start, stop)
            ]


def test_parquet_is_read_in_batches_and_no_further_than_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [f"{i:08d}" for i in range(100)], "b": range(100)}), out)
    group = pq.ParquetFile(out).metadata.row_group(0)
    assert parquet._batch_rows(group, ["a"]) == 8192
    size = group.column(0).total_uncompressed_size
    monkeypatch.setattr(parquet, "_BATCH_BYTES", size // 10)
    assert parquet._batch_rows(group, ["a"]) == 100 * (size // 10) // size
    assert parquet._batch_rows(group, ["b"]) > parquet._batch_rows(group, ["a", "b"]) > 1
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 1)
    assert parquet._batch_rows(group, ["a"]) == 1
    monkeypatch.setattr(parquet, "_batch_rows", lambda group, columns: 10)
    batches: list[int] = []
    values = parquet._values

    def counted(array: pa.Array) -> list[object]:
        batches.append(len(array))
        return values(array)

    monkeypatch.setattr(parquet, "_values", counted)
    rows = list(parquet.read_rows(out, ["a"], 15, 30))
    assert [row.values["a"] for row in rows] == [f"{i:08d}" for i in range(15, 30)]
    assert [row.number for row in rows] == list(range(16, 31))
    assert batches == [0, 5, 10]


def test_a_damaged_row_group_costs_its_rows() -> None:
    table = pa.table({"url": [f"{i * i}" for i in range(20)], "caption": ["c"] * 20})
    data = bytearray(parquet_of(table, 5))
    at = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(2).column(0)
    start = at.dictionary_page_offset or at.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    found = read(bytes(data), "parquet")
    assert [row.number for row in found] == [*range(1, 21)]
    lost = [row for row in found if row.lost]
    assert [row.number for row in lost] == [*range(11, 16)]
    assert all("row group 2 cannot be read behind row 10" in str(row.error) for row in lost)
    assert [row.values["url"] for row in found if not row.lost] == [
        f"{i * i}" for i in (*range(10), *range(15, 20))
    ]
    part = read_rows(io.BytesIO(bytes(data)), "parquet", COLUMNS, 12, 17)
    assert [(row.number, row.lost) for row in part] == [
        (13, True), (14, True), (15, True), (16, False), (17, False),
    ]  # fmt: skip


def test_rows_too_long_are_lost_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 1000)
    for kind, long, good in (
        ("csv", b"u," + b"x" * 5000, b"u,c"),
        ("csv", b'u,"' + b"x\n" * 2000, b"u,c"),
        ("tsv", b"u\t" + b"x" * 5000, b"u\tc"),
        ("jsonl", b'{"url": "' + b"x" * 5000 + b'"}', b'{"url": "u", "caption": "c"}'),
    ):
        head = {"csv": b"url,caption\n", "tsv": b"url\tcaption\n"}.get(kind, b"")
        rows = read(head + long + b"\n" + good + b"\n", kind)  # type: ignore[arg-type]
        assert rows[-1].values == {"url": "u", "caption": "c"}
        assert (rows[0].error is not None and "1000 bytes" in rows[0].error) or "not closed" in str(
            rows[0].error
        )
    exactly = b"url,caption\nu," + b"x" * 997 + b"\n" + b"u," + b"x" * 998 + b"\n"
    assert [row.error is None for row in read(exactly, "csv")] == [True, False]


def test_memory_does_not_grow_with_the_list() -> None:
    def peak(rows: int) -> int:
        body = b"".join(b'{"url": "u%d", "caption": "%s"}\n' % (i, b"c" * 100) for i in range(rows))
        packed = io.BytesIO(gzip.compress(body, 1))
        del body
        tracemalloc.start()
        assert sum(1 for _ in read_rows(packed, "jsonl", COLUMNS)) == rows
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(60_000) < 1.2 * peak(6_000) + 100_000
