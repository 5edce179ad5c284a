"""`septet browse` over folders as people have them: of any name, and with what sidecars there are."""

import html
import io
import re
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from starlette.testclient import TestClient

import septet
from septet.pipelines.browse.site import Site
from septet.pipelines.browse.tables import Tables
from septet.pipelines.index import index_folder
from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import column_sidecar
from tests.corpora import random_image, run_annotation, run_build, write_site


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


def write_table(folder: Path, rows: dict[str, list]) -> Path:
    """An indexed folder of one tar with texts, of which a table says this."""
    folder.mkdir(parents=True)
    pq.write_table(pa.table(rows), folder / "0.parquet")
    with tarfile.open(folder / "0.tar", "w") as tar:
        for key in rows["key"]:
            tar.addfile(tarfile.TarInfo(f"{key}.txt"), io.BytesIO())
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
        assert answer.status_code == 200 and (">words<" in answer.text) == (row != 2)
        assert ("(no caption)" in answer.text) == (row == 2)
    for path in ("/", "/?keep=key+exists", "/samples?sort=key", "/keys?key=b", "/rejects"):
        assert site.get(path).status_code == 200, path


def test_columns_of_any_name_and_type(tmp_path: Path) -> None:
    rows = {
        "key": ["a", "b"], 'we "ird\'': [1, 2], "st": [{"a": 1}, None], "bin": [b"\0" * 5000, None],
        "list": [[1.5] * 5000, []], "caption": [None, "<b>"], "width": [float("inf"), 1.5],
        "language": [["de"], None], "a b.c d": [1.0, 2.0], "x.y": [float("-inf"), float("inf")],
    }  # fmt: skip
    tables = Tables(str(write_table(tmp_path / "in", rows)), tmp_path)
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


def test_texts_alone_of_a_folder_are_its_captions(tmp_path: Path) -> None:
    members = {"a.txt": "eine <Brücke>".encode(), "b.txt": b"x" * 2**20, "c.json": b"{}"}
    site = client(Tables(str(write_folder(tmp_path / "in", {"0.tar": members})), tmp_path))
    page = site.get("/samples").text
    assert "eine &lt;Brücke&gt;" in page and page.count("(no caption)") == 1
    assert len(page) < 20_000, "of a long text the beginning"
    assert "eine &lt;Brücke&gt;</blockquote>" in site.get("/samples/0/0").text
    assert "(no caption)" in site.get("/samples/0/2").text


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of several shards with a column and rejects."""
    folder = tmp_path_factory.mktemp("whole")
    run_build(write_site(folder / "in", pages=12, images=12), folder / "corpus")
    run_annotation(folder / "corpus", "image-quality")
    assert len(Corpus(str(folder / "corpus")).shards) > 3
    return folder / "corpus"


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "corpus"))


def _shown(corpus: Path, scratch: Path, path: str = "/") -> str:
    answer = client(Tables(str(corpus), scratch)).get(path)
    assert answer.status_code == 200
    return html.unescape(answer.text)


@pytest.mark.parametrize("shard", [0, 2])
def test_a_column_with_a_damaged_sidecar_is_shown_without_it(
    damaged: Path, tmp_path: Path, shard: int
) -> None:
    before = Tables(str(damaged), tmp_path / "before")
    every, lost = before.count(), before.corpus.counts[shard]
    shards = before.corpus.shards
    sidecars = [damaged / column_sidecar("image-quality", one.tar) for one in shards]
    path = sidecars[shard]
    path.write_bytes(path.read_bytes()[:-20])
    tables = Tables(str(damaged), tmp_path / "after")
    assert list(tables.faults) == [str(path.relative_to(damaged))]
    assert tables.count() == every
    assert tables.count("image-quality.sharpness missing") == lost
    page = _shown(damaged, tmp_path / "again")
    assert f"{path.name} cannot be read" in " ".join(re.sub("<[^>]*>", "", page).split())
    assert f"<b>{every}</b> of {every} samples" in page
    for one in sidecars:
        one.write_bytes(b"no Parquet")
    tables = Tables(str(damaged), tmp_path / "none")
    assert list(tables.faults) == ["columns/image-quality"] and tables.count() == every
    with pytest.raises(ValueError, match="its column image-quality cannot be read"):
        tables.count("image-quality.sharpness > 1")
    (view,) = septet.curate(str(damaged), "others", keep=["width > 0"])
    assert view.samples == every, "curate does not read a column that it is not asked for"
    (damaged / "columns/image-quality/column.json").write_bytes(b"{")
    assert list(Tables(str(damaged), tmp_path / "head").faults) == ["columns/image-quality"]


def test_a_sidecar_that_is_damaged_or_lies_leaves_its_shard_out(
    damaged: Path, tmp_path: Path
) -> None:
    before = Tables(str(damaged), tmp_path / "before")
    every, counts = before.count(), before.corpus.counts.tolist()
    sidecars = [damaged / shard.sidecar for shard in before.corpus.shards]
    table = pq.read_table(sidecars[1])
    pq.write_table(pa.concat_tables([table, table]), sidecars[1])
    sidecars[0].write_bytes(b"PAR1")
    sidecars[2].unlink()
    tables = Tables(str(damaged), tmp_path / "after")
    assert tables.count() == every - sum(counts[:3])
    assert len(tables.faults) == 3
    assert f"{2 * counts[1]} rows, the list of shards says {counts[1]}" in str(tables.faults)
    rows = tables.page("", ["key"], limit=10_000)
    assert {row.shard for row in rows} == set(range(3, len(counts)))
    for row in rows[:3]:
        assert tables.corpus.shard(row.shard).key(row.row) == row.facts["key"]
    assert "3 more" not in _shown(damaged, tmp_path / "again")
    site = client(tables)
    assert site.get("/samples").status_code == 200
    told = site.get("/samples/1/0")
    assert told.status_code == 400 and "the manifest says" in told.text


def test_rejects_of_a_damaged_file_leave_the_others(damaged: Path, tmp_path: Path) -> None:
    tables = Tables(str(damaged), tmp_path / "before")
    every = tables.dropped.reasons()
    folder = damaged / "rejects"
    names = sorted(folder.glob("*.parquet"))
    (folder / "a-cut.parquet").write_bytes(names[0].read_bytes()[:-5])
    pq.write_table(pa.table({"a": [1]}), folder / "b-other.parquet")
    pq.write_table(pa.table({"stage": ["x"], "reason": [[1]]}), folder / "c-lists.parquet")
    pq.write_table(pa.table({"stage": ["x"], "reason": ["old"]}), folder / "d-fewer.parquet")
    tables = Tables(str(damaged), tmp_path / "after")
    assert sorted(tables.dropped.reasons()) == sorted([*every, ("x", "old", 1)])
    assert list(tables.faults) == [
        f"rejects/{one}.parquet" for one in ("a-cut", "b-other", "c-lists")
    ]
    page = _shown(damaged, tmp_path / "again", "/rejects")
    assert "rejects/a-cut.parquet" in page and every[0][1] in page
    assert client(tables).get("/rejects/x/old").status_code == 200
