"""`septet browse` over folders as people have them: of any name, and with what sidecars there are."""

import html
import io
import re
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from starlette.testclient import TestClient

from septet.pipelines.browse.site import Site
from septet.pipelines.browse.tables import Tables
from septet.pipelines.index import index_folder
from tests.corpora import random_image


def write_folder(folder: Path, shards: dict[str, dict[str, bytes]]) -> Path:
    """An indexed folder of tars with these members."""
    folder.mkdir(parents=True)
    for name, members in shards.items():
        with tarfile.open(folder / name, "w") as tar:
            for member, data in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    index_folder(str(folder), None, Console(quiet=True))
    return folder


def client(tables: Tables) -> TestClient:
    return TestClient(Site(tables).app())


@pytest.mark.parametrize("name", ["a[1]*", "a?", "**", "it's \\[ü", "[!a]", "width=5"])
def test_a_path_is_no_pattern(tmp_path: Path, name: str) -> None:
    image = random_image(1, 64, 48)
    names = ["'\".tar", "*.tar", "a 1 b.tar", "a [1] b.tar", "[ab].tar", "a.tar", "ü#%20.tar"]
    write_folder(tmp_path / "a1x", {"*.tar": {"other.jpg": image}})
    folder = write_folder(
        tmp_path / name, {one: {f"{n}.jpg": image} for n, one in enumerate(names)}
    )
    (tmp_path / "scratch").mkdir()
    tables = Tables(str(folder), tmp_path / "scratch")
    rows = tables.page("", ["key"])
    assert sorted(row.facts["key"] for row in rows) == sorted(map(str, range(len(names))))
    for row in rows:
        assert tables.corpus.shard(row.shard).key(row.row) == row.facts["key"]
    assert "width" not in tables.columns and tables.count() == len(names)
    with pytest.raises(ValueError, match="has no field"):
        tables.count("width == 5")


def test_a_folder_that_says_nothing_of_its_samples(tmp_path: Path) -> None:
    image = random_image(2, 64, 48)
    members = {"a.jpg": image, "a.txt": b"words", "b.txt": b"words", "c.png": b"damaged"}
    site = client(Tables(str(write_folder(tmp_path / "in", {"0.tar": members})), tmp_path))
    page = site.get("/samples").text
    assert page.count("<img") == 2 and page.count("text alone") == 1
    assert "/thumbnails/0/0" in page and "/thumbnails/0/2" in page
    for row in range(3):
        answer = site.get(f"/samples/0/{row}")
        assert answer.status_code == 200 and "(no caption)" in answer.text
    for path in ("/", "/?keep=key+exists", "/samples?sort=key", "/keys?key=b", "/rejects"):
        assert site.get(path).status_code == 200, path


def test_columns_of_any_name_and_type(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = {
        "key": ["a", "b"], 'we "ird\'': [1, 2], "st": [{"a": 1}, None], "bin": [b"\0" * 5000, None],
        "list": [[1.5] * 5000, []], "caption": [None, "<b>"], "width": [float("inf"), 1.5],
        "language": [["de"], None], "a b.c d": [1.0, 2.0], "x.y": [float("-inf"), float("inf")],
    }  # fmt: skip
    pq.write_table(pa.table(rows), folder / "0.parquet")
    with tarfile.open(folder / "0.tar", "w") as tar:
        for name in ("a.txt", "b.txt"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    index_folder(str(folder), None, Console(quiet=True))
    tables = Tables(str(folder), tmp_path)
    site = client(tables)
    page = site.get("/")
    assert page.status_code == 200
    bars = [html.unescape(one) for one in re.findall(r'href="(/\?keep=[^"]*)"', page.text)]
    told = [site.get(one).text for one in bars if "." in one or "width" in one]
    assert len(told) == 4, "of what can be said, each number has its bar"
    assert all("<b>1</b> of 2 samples" in one for one in told)
    for name in tables.columns:
        for order in ("", "falling"):
            answer = site.get("/samples", params={"sort": name, "order": order})
            assert answer.status_code == 200 and len(answer.content) < 10_000, name
    assert "&lt;b&gt;" in site.get("/samples").text
