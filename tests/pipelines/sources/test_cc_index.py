from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from septet.pipelines.inputs import find_inputs
from septet.pipelines.sources.base import InputError, Pair
from septet.preprocess.warc.records import Record, read_records
from septet.schemas.reasons import Rejected
from septet.schemas.recipe_file import parse_recipe
from tests.corpora import digests, run_build, site
from tests.preprocess.warc.test_ranges import served
from tests.read_sources import read_sources
from tests.warcs import html, write_warc

LANGUAGES = ["eng", "deu,eng", "fra", "rus", "zho", None]
COLUMNS = {
    "url": pa.string(), "url_host_name": pa.string(), "url_host_registered_domain": pa.string(),
    "fetch_status": pa.int16(), "content_mime_detected": pa.string(),
    "content_languages": pa.string(), "warc_filename": pa.string(),
    "warc_record_offset": pa.int32(), "warc_record_length": pa.int32(),
}  # fmt: skip


def caption(number: int) -> str:
    return f"The image of the page with the number {number}"


def crawl(folder: Path, pages: int = 24, images: str = "/{0}.jpg") -> list[dict[str, Any]]:
    """Archives of pages of four hosts and two domains, and the rows of their index."""
    rows = []
    (folder / "crawl").mkdir(parents=True)
    for part in range(2):
        numbers = range(part, pages, 2)
        responses = [
            html(
                f"http://{'abcd'[n % 4]}.{'xy'[n % 4 // 2]}.test/{n}",
                f"<img src={images.format(n, n % 4)} alt='{caption(n)}'>",
            )
            for n in numbers
        ]
        path = write_warc(folder / f"crawl/{part}.warc.gz", responses)
        with path.open("rb") as file:
            places = [one for one in read_records(file) if isinstance(one, Record)]
        for n, (url, _, _), place in zip(numbers, responses, places, strict=True):
            host = url.split("/")[2]
            rows.append(dict(zip(COLUMNS, (
                url, host, host.split(".", 1)[1], 200, "text/html", LANGUAGES[n % 6],
                f"crawl/{part}.warc.gz", place.offset, place.length,
            ), strict=True)))  # fmt: skip
    return sorted(rows, key=lambda row: row["url_host_name"])


def write(folder: Path, rows: list[dict[str, Any]], group: int = 6, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    table = pa.Table.from_pylist(rows, pa.schema(list(COLUMNS.items())))
    pq.write_table(table, folder / "index.parquet", row_group_size=group)
    source = {"kind": "cc-index", "paths": ["index.parquet"], "archives": ".", **settings}
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"name": "chosen", "sources": [source]}))
    return recipe


def numbers(found: list[Any]) -> set[int]:
    assert all(isinstance(one, Pair) for one in found), found
    return {int(one.page_url.rsplit("/", 1)[1]) for one in found}


CHOICES = {
    "all": ({}, lambda n: True),
    "a host": ({"hosts": ["A.x.test"]}, lambda n: n % 4 == 0),
    "a domain": ({"domains": ["y.test"]}, lambda n: n % 4 >= 2),
    "a host or a domain": (
        {"hosts": ["a.x.test", "gone.test"], "domains": ["y.test"]},
        lambda n: n % 4 != 1,
    ),
    "languages": ({"languages": ["de", "zh"]}, lambda n: n % 6 in (1, 4)),
    "a host and a language": (
        {"hosts": ["b.x.test"], "languages": ["de"]},
        lambda n: n % 4 == 1 and n % 6 == 1,
    ),
    "another media type": ({"mime_types": ["text/plain"]}, lambda n: False),
}


@pytest.mark.parametrize("name", CHOICES)
def test_pages_are_chosen(tmp_path: Path, name: str) -> None:
    settings, chosen = CHOICES[name]
    found, counts = read_sources(write(tmp_path, crawl(tmp_path), **settings))
    wanted = {n for n in range(24) if chosen(n)}
    assert numbers(found) == wanted
    assert (counts["rows"], counts["rows_chosen"], counts["pages"]) == (
        24,
        len(wanted),
        len(wanted),
    )
    assert {one.caption for one in found} == {caption(n) for n in wanted}


def test_rows_of_other_answers_are_passed_over(tmp_path: Path) -> None:
    rows = crawl(tmp_path)
    rows[3]["fetch_status"], rows[4]["content_mime_detected"] = 404, "application/pdf"
    found, counts = read_sources(write(tmp_path, rows))
    assert len(found) == counts["rows_chosen"] == 22


def test_row_groups_without_a_chosen_host_are_not_read(tmp_path: Path) -> None:
    recipe = write(tmp_path, crawl(tmp_path), hosts=["c.y.test"])
    path = tmp_path / "index.parquet"
    group = pq.ParquetFile(path).metadata.row_group(0)
    first = group.column(0).dictionary_page_offset or group.column(0).data_page_offset
    data = bytearray(path.read_bytes())
    size = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
    data[first : first + size] = b"\xff" * size
    path.write_bytes(data)
    assert numbers(read_sources(recipe)[0]) == set(range(2, 24, 4))


def test_records_that_cannot_be_read_cost_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COLUMNS, "warc_record_offset", pa.int64())
    rows = crawl(tmp_path)
    harm = {
        0: ({"warc_filename": "../secret.warc.gz"}, "outside_root"),
        1: ({"warc_filename": "/etc/passwd"}, "outside_root"),
        2: ({"warc_filename": None}, "list_row"),
        3: ({"warc_record_offset": -1}, "list_row"),
        4: ({"warc_record_length": 0}, "list_row"),
        5: ({"warc_record_length": 9 * 2**20}, "too_large"),
        6: ({"warc_record_offset": rows[6]["warc_record_offset"] + 3}, "warc_broken"),
        7: ({"warc_record_length": rows[7]["warc_record_length"] - 20}, "warc_truncated"),
        8: ({"warc_record_offset": 2**30}, "warc_truncated"),
        9: ({"warc_filename": "crawl/gone.warc.gz"}, "input_broken"),
        10: ({"warc_filename": "crawl"}, "input_broken"),
        11: ({"warc_record_offset": 2**63 - 2}, "list_row"),
        12: ({"warc_filename": "http://169.254.169.254/latest"}, "outside_root"),
        13: ({"warc_filename": "crawl/0.warc.gz::file"}, "outside_root"),
    }
    for number, (change, _) in harm.items():
        rows[number] |= change
    recipe = write(tmp_path, rows, on_broken_input="reject")
    found, _ = read_sources(recipe)
    lost = {one.page_url: one.reason for one in found if isinstance(one, Rejected)}
    assert lost == {rows[number]["url"]: reason for number, (_, reason) in harm.items()}
    assert len([one for one in found if isinstance(one, Pair)]) == 24 - len(harm)
    with pytest.raises(InputError, match=r"gone\.warc\.gz is not there"):
        read_sources(write(tmp_path, rows))


def test_a_host_among_domains_is_told(tmp_path: Path) -> None:
    recipe = write(tmp_path, crawl(tmp_path), domains=["example.org", "www.example.co.uk"])
    with pytest.raises(InputError, match=r"'www\.example\.co\.uk' lies below .* example\.co\.uk"):
        read_sources(recipe)


def test_an_index_that_is_none(tmp_path: Path) -> None:
    recipe = write(tmp_path, crawl(tmp_path), languages=["en"])
    (tmp_path / "index.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match=r"index\.parquet: is no Parquet file"):
        read_sources(recipe)
    pq.write_table(pa.table({"url": ["x"]}), tmp_path / "index.parquet")
    with pytest.raises(InputError, match="has no column 'warc_filename'"):
        read_sources(recipe)


def test_archives_on_a_server(tmp_path: Path) -> None:
    rows = [row for row in crawl(tmp_path) if row["warc_filename"] == "crawl/0.warc.gz"]
    with served((tmp_path / "crawl/0.warc.gz").read_bytes()) as (url, asked):
        found, _ = read_sources(write(tmp_path, rows, archives=url + "/"))
    assert len(found) == len(asked) == 12
    assert {f"bytes={r['warc_record_offset']}-{r['warc_record_offset'] + r['warc_record_length'] - 1}"
            for r in rows} == set(asked)  # fmt: skip


def test_slices_are_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write(tmp_path, crawl(tmp_path), domains=["x.test"])
    whole = read_sources(recipe)
    monkeypatch.setattr("septet.pipelines.sources.cuts.SLICE_ROWS", 2)
    assert len(find_inputs(parse_recipe(recipe.read_text()), str(tmp_path))) == 12
    assert read_sources(recipe) == whole


def test_the_same_samples_as_from_the_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the same bytes with any number of workers."""
    monkeypatch.setattr("septet.pipelines.sources.cuts.SLICE_ROWS", 2)
    recipe = write(tmp_path, crawl(tmp_path))
    images = [one for one in site(1, 30) if one[0].endswith(".jpg")]
    moved = [
        (f"http://{'abcd'[n % 4]}.{'xy'[n % 4 // 2]}.test/{n}.jpg", *images[n][1:])
        for n in range(24)
    ]
    write_warc(tmp_path / "images.warc.gz", moved)
    text = yaml.safe_load(recipe.read_text())
    text["sources"].append({"kind": "warc", "paths": ["images.warc.gz"]})
    recipe.write_text(yaml.safe_dump(text))
    for workers in (1, 2, 4):
        result = run_build(recipe, tmp_path / f"corpus-{workers}", workers)
        assert result.manifest.samples == 24
    assert digests(tmp_path / "corpus-1") == digests(tmp_path / "corpus-2")
    assert digests(tmp_path / "corpus-1") == digests(tmp_path / "corpus-4")
