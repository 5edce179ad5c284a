import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from septet.pipelines.sources import cuts
from septet.pipelines.sources.base import Facts, Found, ImageLocation, Input, InputError, Pair
from septet.pipelines.sources.lists import UrlList
from septet.pipelines.sources.values import as_text
from septet.pipelines.stages.source import read_slice
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import ListSource

URL = "http://e.org/1.jpg"


def settings_of(**changes: Any) -> ListSource:
    return ListSource.model_validate({"kind": "list", "paths": ["x"]} | changes)


def found_in(path: Path, settings: ListSource | None = None) -> list[Found]:
    """All that a list holds, read slice by slice; one that cannot be described, as a whole."""
    settings = settings or settings_of()
    size = path.stat().st_size
    try:
        facts = UrlList().describe(str(path), size)
        UrlList().check(settings, path.name, facts)
    except InputError:
        if settings.on_broken_input == "stop":
            raise
        facts = Facts([(0, size)])
    return [
        found
        for number, part in enumerate(facts.slices)
        for found in read_slice(
            UrlList(),
            settings,
            Input(path.name, 0, str(path), size, "", part, number, len(facts.slices), str(path.parent)),
            Counter(),
        )
    ]  # fmt: skip


def of_row(tmp_path: Path, row: dict[str, Any], **changes: Any) -> list[Found]:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return found_in(path, settings_of(**changes))


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a cat", ["a cat"]),
        (["a cat", "a dog", "a cat"], ["a cat", "a dog"]),
        (" a \ud800 cat ", ["a cat"]),
        (7, "caption_type"),
        (True, "caption_type"),
        (float("nan"), "caption_type"),
        ({"en": "a cat"}, "caption_type"),
        (["a cat", 7], "caption_type"),
        ([["a cat"]], "caption_type"),
        (None, "list_row"),
        ("", "list_row"),
        ([], "list_row"),
        ([None, ""], "list_row"),
    ],
)
def test_captions_of_every_type(tmp_path: Path, caption: Any, expected: Any) -> None:
    found = of_row(tmp_path, {"url": URL, "caption": caption})
    if isinstance(expected, str):
        assert [one.reason for one in found if isinstance(one, Rejected)] == [expected]
    else:
        assert [one.caption for one in found if isinstance(one, Pair)] == expected
        assert all(isinstance(one, Pair) and one.image_url == URL for one in found)


def test_a_value_that_is_no_text_is_shown_in_part() -> None:
    with pytest.raises(RejectedError) as refused:
        as_text([1] * 500)
    assert len(refused.value.value or "") == 200
    assert (refused.value.value or "").startswith("list: [1, 1, ")


def test_bytes_are_text_where_they_are_utf8(tmp_path: Path) -> None:
    rows = {"url": [URL.encode()] * 2, "caption": ["eine Tür".encode(), b"\xff\xfe"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    good, bad = found_in(tmp_path / "a.parquet")
    assert isinstance(good, Pair) and good.caption == "eine Tür" and good.image_url == URL
    assert isinstance(bad, Rejected) and bad.reason == "caption_type"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("1.jpg", "pics/1.jpg"),
        ("./1.jpg", "pics/1.jpg"),
        ("sub/../1.jpg", "pics/1.jpg"),
        ("a::b#c?.jpg", "pics/a::b#c?.jpg"),
        (" 1.jpg ", "pics/1.jpg"),
        ("..jpg", "pics/..jpg"),
        ("../1.jpg", "outside_root"),
        ("a/../../1.jpg", "outside_root"),
        ("/etc/passwd", "outside_root"),
        ("..", "outside_root"),
        ("s3://bucket/1.jpg", "outside_root"),
        ("a\0b.jpg", "list_row"),
        (".", "list_row"),
        (["1.jpg"], "list_row"),
        (5, "list_row"),
    ],
)
def test_paths_below_the_image_root(tmp_path: Path, path: Any, expected: str) -> None:
    found = of_row(tmp_path, {"url": path, "caption": "a cat"}, image_root="./pics/")
    if "/" in expected:
        location, pair = found
        name = expected.removeprefix("pics/")
        assert location == ImageLocation(expected, "pics", name)
        assert isinstance(pair, Pair) and pair.image_url == expected
    else:
        (lost,) = found
        assert isinstance(lost, Rejected) and lost.reason == expected and lost.caption == "a cat"


def test_an_absolute_path_that_lies_in_the_root_is_a_name(tmp_path: Path) -> None:
    row = {"url": f"{tmp_path}/pics/sub/1.jpg", "caption": "a cat"}
    location, _ = of_row(tmp_path, row, image_root="pics")
    assert location == ImageLocation("pics/sub/1.jpg", "pics", "sub/1.jpg")


def test_two_roots_never_share_an_image(tmp_path: Path) -> None:
    row = {"url": "0001.jpg", "caption": "a cat"}
    urls = {
        of_row(tmp_path, row, image_root=root)[1].image_url  # type: ignore[union-attr]
        for root in ("train", "validation", "../train", "/data/train")
    }
    assert urls == {
        "train/0001.jpg", "validation/0001.jpg", "../train/0001.jpg", "/data/train/0001.jpg"
    }  # fmt: skip


def test_texts_and_images_alone(tmp_path: Path) -> None:
    row = {"url": URL, "caption": "a cat"}
    (text,) = of_row(tmp_path, row, url_col=None)
    (image,) = of_row(tmp_path, row, caption_col=None)
    assert isinstance(text, Pair) and (text.image_url, text.caption) == (None, "a cat")
    assert isinstance(image, Pair) and (image.image_url, image.caption) == (URL, None)
    with pytest.raises(ValueError, match="needs url_col, caption_col or both"):
        settings_of(url_col=None, caption_col=None)


def test_an_address_that_is_none_is_a_reject_with_its_captions(tmp_path: Path) -> None:
    for url, reason in (("javascript:x", "bad_url"), ("foo", "url_scheme")):
        (lost,) = of_row(tmp_path, {"url": url, "caption": "a cat"})
        assert isinstance(lost, Rejected) and (lost.reason, lost.caption) == (reason, "a cat")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json"])
def test_what_cannot_be_cut_is_one_slice(tmp_path: Path, name: str) -> None:
    data = json.dumps([{"url": URL, "caption": "a cat"}]).encode()
    (tmp_path / name).write_bytes(gzip.compress(data[1:-1]) if name.endswith("gz") else data)
    size = (tmp_path / name).stat().st_size
    assert UrlList().describe(str(tmp_path / name), size).slices == [(0, size)]


def test_incomplete_rows(tmp_path: Path) -> None:
    for row, missing in (({"url": URL, "caption": ""}, "caption"), ({"url": "", "caption": "x"}, "url")):  # fmt: skip
        (lost,) = of_row(tmp_path, row)
        assert isinstance(lost, Rejected) and (lost.reason, lost.value) == (
            "list_row",
            f"no {missing}",
        )
        (kept,) = of_row(tmp_path, row, incomplete_rows="keep")
        assert isinstance(kept, Pair)
    (lost,) = of_row(tmp_path, {"url": None, "caption": ""}, incomplete_rows="keep")
    assert isinstance(lost, Rejected) and lost.reason == "no_image_or_text"


def strictly(text: str) -> Any:
    def refuse(sign: str) -> None:
        raise AssertionError(f"{sign} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_carried_columns_are_strict_json_in_pairs_and_rejects(tmp_path: Path) -> None:
    import datetime
    import decimal

    values = {
        "nan": (float("nan"), None), "inf": ([float("inf"), 1.5], [None, 1.5]),
        "bytes": (b"\0\xff", {"base64": "AP8="}), "dec": (decimal.Decimal("1.10"), "1.10"),
        "time": (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"), "text": ("é", "é"),
    }  # fmt: skip
    columns = {name: [value, value] for name, (value, _) in values.items()}
    table = pa.table({"url": [URL, "ftp://x/y"], "caption": ["a cat"] * 2, **columns})
    pq.write_table(table, tmp_path / "a.parquet")
    settings = settings_of(extra_cols=list(values), annotation_cols=["text"])
    expected = {name: plain for name, (_, plain) in values.items()}
    for found in found_in(tmp_path / "a.parquet", settings):
        assert not isinstance(found, ImageLocation)
        assert strictly(found.extra or "") == expected and found.annotations == '{"text":"é"}'


def test_annotations_that_are_all_empty_are_none(tmp_path: Path) -> None:
    row = {"url": URL, "caption": "a cat", "box": None, "n": None}
    (bare,) = of_row(tmp_path, row, annotation_cols=["box", "n"])
    (some,) = of_row(tmp_path, row | {"n": 0}, annotation_cols=["box", "n"])
    assert isinstance(bare, Pair) and bare.annotations is None
    assert isinstance(some, Pair) and some.annotations == '{"box":null,"n":0}'


def write_list(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(
                file, ["url", "caption"], delimiter="\t" if path.suffix == ".tsv" else ","
            )
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.csv", "a.tsv"])
@pytest.mark.parametrize("every", [1, 50, 333, 10**6])
def test_slices_together_are_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, every: int
) -> None:
    mark = "" if name.endswith(".tsv") else '\n"x", y\n'
    rows = [{"url": f"http://e.org/{i}", "caption": f"caption {i}{mark * (i % 3)}"} for i in range(40)]  # fmt: skip
    write_list(tmp_path / name, rows)
    monkeypatch.setattr(cuts, "SLICE_BYTES", every)
    for cut in (cuts.cut_lines, cuts.cut_csv):
        monkeypatch.setattr(cut, "__defaults__", (every,))
    monkeypatch.setattr(cuts, "_BLOCK", 64)
    facts = UrlList().describe(str(tmp_path / name), (tmp_path / name).stat().st_size)
    assert len(facts.slices) >= {1: 6, 50: 3, 333: 2, 10**6: 1}[every]
    assert len(facts.slices) == 1 or every < 10**6
    found = found_in(tmp_path / name)
    assert [(one.image_url, one.caption) for one in found if isinstance(one, Pair)] == [
        (row["url"], " ".join(row["caption"].split())) for row in rows
    ]
    assert len(found) == len(rows)


def test_the_place_of_a_bad_line_is_told_by_its_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = json.dumps({"url": URL, "caption": "a cat"}) + "\n"
    path = tmp_path / "a.jsonl"
    path.write_text("first\n" + good + "second\n" + good)
    monkeypatch.setattr(cuts.cut_lines, "__defaults__", (len(good),))
    lost = [str(one.value) for one in found_in(path) if isinstance(one, Rejected)]
    at = len("first\n" + good)
    assert lost[0].startswith("line 1: not JSON") and "counted from" not in lost[0]
    assert lost[1].startswith("line 1: not JSON")
    assert lost[1].endswith(f"; lines are counted from byte {at}")


def test_a_damaged_row_group_costs_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"url": f"http://e.org/{i}", "caption": f"A caption {i}"} for i in range(20)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=5)
    data = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(2).column(0)
    start = at.dictionary_page_offset or at.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(InputError, match="stopped after row 10: row group 2 cannot be read"):
        found_in(path)
    found = found_in(path, settings_of(on_broken_input="reject"))
    assert [one.image_url for one in found if isinstance(one, Pair)] == [
        f"http://e.org/{i}" for i in (*range(10), *range(15, 20))
    ]
    lost = [one for one in found if isinstance(one, Rejected)]
    assert [one.reason for one in lost] == ["input_broken"] * 5
    assert "row group 2" in str(lost[0].value)


def test_an_array_that_is_not_closed_gives_its_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"url": URL, "caption": f"a cat {i}"} for i in range(3)])[:-1])
    with pytest.raises(InputError, match="not closed behind row 3: the file is cut short"):
        found_in(path)
    *pairs, lost = found_in(path, settings_of(on_broken_input="reject"))
    assert [one.caption for one in pairs if isinstance(one, Pair)] == ["a cat 0", "a cat 1", "a cat 2"]  # fmt: skip
    assert isinstance(lost, Rejected) and lost.reason == "input_broken"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.doc", b"x", "lists are"),
        ("a.txt", b"x", "set caption_col: null"),
        ("a.parquet", b"nope", "Parquet"),
        ("a.csv", b"link,text\na,b\n", "no column 'url'; it has link, text"),
        ("a.jsonl", b'{"link": 1}\n', "no column 'url'; it has link"),
        ("b.csv", b"", "is empty"),
    ],
)
def test_unusable_lists_say_what_to_do(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        found_in(tmp_path / name)
