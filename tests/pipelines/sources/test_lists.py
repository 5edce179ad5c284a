import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from septet.pipelines.sources.base import InputError
from septet.pipelines.sources.lists import UrlList, read_list
from septet.schemas.sources import ListSource

ROWS = [{"url": f"http://e.org/{i}", "caption": f'caption, "{i}"\nline'} for i in range(3)]


def read(path: Path, columns: list[str] | None = None) -> list[object]:
    wanted = columns or ["url", "caption"]
    facts = UrlList().describe(str(path), path.stat().st_size)
    settings = ListSource(kind="list", paths=["x"], url_col=wanted[0], caption_col=wanted[1])
    UrlList().check(settings, path.name, facts)
    return [
        row
        for part in facts.slices
        for batch in read_list(str(path), wanted, part)
        for row in batch
    ]


def test_every_kind_of_list(tmp_path: Path) -> None:
    import csv
    import json

    table = pa.Table.from_pylist([{**row, "other": 1} for row in ROWS])
    pq.write_table(table, tmp_path / "a.parquet")
    for name, sign in (("a.csv", ","), ("a.tsv", "\t")):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, ["url", "caption"], delimiter=sign)
            writer.writeheader()
            writer.writerows(ROWS)
    lines = "\n".join(json.dumps(row) for row in ROWS).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(lines))
    for path in tmp_path.iterdir():
        assert read(path) == ROWS, path


def test_bad_rows_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"url": "u", "caption": "c"}\nnope\n[1]\n\n{"url": "v"}\n')
    good, not_json, not_object, partial = read(path)
    assert good == {"url": "u", "caption": "c"} and partial == {"url": "v", "caption": None}
    assert str(not_json).startswith("not JSON") and "found list" in str(not_object)


def test_csv_rows_of_wrong_length_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("url,caption\nu,c\nx\nv,d\n")
    assert sorted(map(str, read(path))) == sorted(map(str, [
        {"url": "u", "caption": "c"}, {"url": "v", "caption": "d"}, "1 columns, expected 2",
    ]))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", "lists are"),
        ("a.parquet", b"nope", "not a Parquet file"),
        ("a.csv", b"link,text\na,b\n", "has no column 'url'; it has link, text"),
        ("b.csv", b"", "Empty CSV"),
    ],
)
def test_unreadable_lists_say_what_to_do(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)
