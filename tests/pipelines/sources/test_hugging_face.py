"""Layouts of Hugging Face: images in columns of Parquet, folders of images with a list in them."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from septet.pipelines.sources import cuts
from septet.pipelines.sources.base import ImageLocation, InputError, Pair
from septet.pipelines.sources.lists import UrlList
from septet.preprocess.lists.parquet import Cell, ImageColumn, read_cells, read_rows
from septet.preprocess.shards.reader import Corpus
from septet.schemas.reasons import Rejected
from tests.corpora import digests, random_image, rows, run_build
from tests.object_store import object_store, upload
from tests.pipelines.hostile_sources import IMAGE
from tests.pipelines.sources.test_lists import found_in, settings_of


def write_images(
    path: Path, count: int = 12, group: int = 3, first: int = 0, **more: list[Any]
) -> None:
    """A Parquet file of images as `datasets` writes one."""
    images = [{"bytes": random_image(first + n, 64, 48), "path": f"{n}.jpg"} for n in range(count)]
    columns = {
        "image": pa.array(images, IMAGE),
        "text": [f"Image {first + n} of the set" for n in range(count)],
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group)


SETTINGS = {"image_col": "image", "caption_col": "text"}


def parquet_of(cells: pa.Array, group: int, **settings: Any) -> io.BytesIO:
    out = io.BytesIO()
    text = [f"t{n}" for n in range(len(cells))]
    pq.write_table(pa.table({"image": cells, "text": text}), out, row_group_size=group, **settings)
    return out


@pytest.mark.parametrize("group", [1, 4, 5, 100])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("kind", [IMAGE, pa.struct({"bytes": pa.large_binary()}), pa.binary()])
@pytest.mark.parametrize("told", [True, False])
def test_each_image_is_found_at_its_place(
    group: int, dictionary: bool, kind: pa.DataType, told: bool
) -> None:
    """Whether the footer tells which rows have bytes or not."""
    data = [b"%d" % n * 50 if n % 4 else None for n in range(20)]
    paths = [f"{n}.jpg" if n % 3 else None for n in range(20)]
    wrap = kind != pa.binary()
    has_path = kind == IMAGE
    values = [
        ({"bytes": one} | ({"path": path} if has_path else {}) if wrap else one)
        for one, path in zip(data, paths, strict=True)
    ]
    values[8] = None
    data[8] = None
    if has_path:
        paths[8] = None
    file = parquet_of(
        pa.array(values, kind), group, use_dictionary=dictionary, write_statistics=told
    )
    images = ImageColumn(file, "image")
    cells = []
    for start, stop in ((0, 7), (7, 20)):
        for row in read_rows(file, ["text", "image"], start, stop, images):
            assert row.values["text"] == f"t{len(cells)}" and row.number == len(cells) + 1
            cells.append(row.values["image"])
    assert [cell.path for cell in cells] == (paths if has_path else [None] * 20)
    assert [cell.chunk is not None for cell in cells] == [one is not None for one in data]
    wanted = [n for n in range(20) if data[n] is not None and n % 5]
    places = [(cells[n].chunk, cells[n].row) for n in wanted]
    assert places == sorted(places)
    assert [*read_cells(file, places)] == [(data[n], None) for n in wanted]


def test_bytes_are_not_read_to_find_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str]] = []
    plain = pq.ParquetFile.iter_batches

    def spy(self: Any, rows: int, groups: list[int], columns: list[str]) -> Any:
        read.append(columns)
        return plain(self, rows, groups, columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    for kind, wanted in ((IMAGE, ["image.path"]), (pa.binary(), [])):
        value = {"bytes": b"x", "path": "y"} if kind == IMAGE else b"x"
        file = parquet_of(pa.array([value] * 5, kind), 2)
        images = ImageColumn(file, "image")
        found = [row.values for row in read_rows(file, ["image"], images=images)]
        assert [one["image"].row for one in found] == [0, 1, 0, 1, 0]
        assert read == [wanted] * 3
        read.clear()


def test_places_that_are_none_are_told() -> None:
    file = parquet_of(pa.array([{"bytes": b"x", "path": "y"}, None], IMAGE), 2)
    (first, _) = (row.values["image"] for row in read_rows(file, ["image"], images=ImageColumn(file, "image")))  # fmt: skip
    assert isinstance(first, Cell) and first.chunk is not None
    places = [(first.chunk, 0), (first.chunk, 1), (first.chunk, 2), (first.chunk + 1, 0)]
    assert [*read_cells(file, places)] == [
        (b"x", None), (None, "the row has no bytes"), (None, "there is no such row"),
        (None, f"no column starts at byte {first.chunk + 1}"),
    ]  # fmt: skip


def test_a_damaged_group_costs_its_images() -> None:
    file = parquet_of(pa.array([{"bytes": bytes([n]) * 99, "path": "y"} for n in range(6)], IMAGE), 2)  # fmt: skip
    images = ImageColumn(file, "image")
    cells = [row.values["image"] for row in read_rows(file, ["image"], images=images)]
    data = bytearray(file.getvalue())
    data[cells[2].chunk : cells[2].chunk + 30] = b"\xff" * 30
    found = [*read_cells(io.BytesIO(bytes(data)), [(c.chunk, c.row) for c in cells])]
    assert [one for one, _ in found] == [
        bytes([n]) * 99 if n not in (2, 3) else None for n in range(6)
    ]
    assert all((error is None) == (one is not None) for one, error in found)


def test_columns_of_images_are_pairs_with_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuts, "SLICE_ROWS", 2)
    write_images(tmp_path / "a.parquet", url=[f"http://e.org/{n}.jpg" for n in range(12)])
    size = (tmp_path / "a.parquet").stat().st_size
    assert len(UrlList().describe(str(tmp_path / "a.parquet"), size).slices) >= 4
    found = found_in(tmp_path / "a.parquet", settings_of(**SETTINGS))
    places = [one for one in found if isinstance(one, ImageLocation)]
    pairs = [one for one in found if isinstance(one, Pair)]
    assert [one.caption for one in pairs] == [f"Image {n} of the set" for n in range(12)]
    assert [one.image_url for one in pairs] == [one.image_url for one in places]
    assert len({one.image_url for one in places}) == 12
    assert {one.form for one in places} == {"parquet"}
    assert [one.row for one in places] == [0, 1, 2] * 4
    named = found_in(tmp_path / "a.parquet", settings_of(**SETTINGS, url_col="url"))
    assert [one.image_url for one in named if isinstance(one, Pair)] == [
        f"http://e.org/{n}.jpg" for n in range(12)
    ]
    assert [one.row for one in named if isinstance(one, ImageLocation)] == [0, 1, 2] * 4


def test_a_row_without_bytes_has_its_path(tmp_path: Path) -> None:
    cells = [{"bytes": None, "path": "http://e.org/1.jpg"}, {"bytes": None, "path": "sub/2.jpg"},
             {"bytes": b"x", "path": "http://e.org/3.jpg"}, {"bytes": None, "path": None}]  # fmt: skip
    table = pa.table({"image": pa.array(cells, IMAGE), "text": ["a", "b", "c", "d"]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = found_in(tmp_path / "a.parquet", settings_of(**SETTINGS, image_root="pics"))
    urls = [one.image_url for one in found if isinstance(one, Pair)]
    assert urls[:2] == ["http://e.org/1.jpg", "pics/sub/2.jpg"] and str(urls[2]).startswith("a.parquet#")  # fmt: skip
    (lost,) = (one for one in found if isinstance(one, Rejected))
    assert (lost.reason, lost.value) == ("list_row", "no image")


def test_other_columns_hold_no_images(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a.jpg"], "text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"column 'image' is string: expected bytes, or structs"):
        found_in(tmp_path / "a.parquet", settings_of(**SETTINGS))
    (tmp_path / "a.jsonl").write_text('{"image": "a.jpg", "text": "a"}\n')
    with pytest.raises(InputError, match=r"a.jsonl holds no images: image_col is for Parquet"):
        found_in(tmp_path / "a.jsonl", settings_of(**SETTINGS))
    with pytest.raises(ValueError, match="two folders"):
        settings_of(image_root="x", images_beside=True)


RECIPE = (
    "name: hf\nsources: [{{kind: list, paths: ['{}/**/*.parquet'], image_col: image, "
    "caption_col: text}}]\nimage: {{image_size: 32}}\nwrite: {{samples_per_shard: 10}}\n"
)


def test_a_corpus_of_parquet_with_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SLICE_ROWS", 5)
    for number in range(2):
        write_images(tmp_path / f"in/train/{number}.parquet", 12, 4, number * 12)
    (tmp_path / "r.yaml").write_text(RECIPE.format("in"))
    corpus = tmp_path / "one"
    run_build(tmp_path / "r.yaml", corpus)
    found = {row["caption"]: row["sha256"] for row in rows(corpus, "shards")}
    assert len(found) == len({*found.values()}) == 24
    plain = tmp_path / "list.jsonl"
    (tmp_path / "img").mkdir()
    for n in range(24):
        (tmp_path / f"img/{n}.jpg").write_bytes(random_image(n, 64, 48))
    lines = [{"url": f"{n}.jpg", "caption": f"Image {n} of the set"} for n in range(24)]
    plain.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "l.yaml").write_text(
        "name: l\nsources: [{kind: list, paths: [list.jsonl], image_root: img}]\n"
    )
    run_build(tmp_path / "l.yaml", tmp_path / "listed")
    assert found == {row["caption"]: row["sha256"] for row in rows(tmp_path / "listed", "shards")}
    run_build(tmp_path / "r.yaml", tmp_path / "two", workers=2)
    assert digests(tmp_path / "two") == digests(corpus)
    with object_store() as bucket:
        upload(tmp_path / "in", f"{bucket}/in")
        (tmp_path / "s.yaml").write_text(RECIPE.format(f"{bucket}/in"))
        run_build(tmp_path / "s.yaml", tmp_path / "remote")
    remote = {row["caption"]: row["sha256"] for row in rows(tmp_path / "remote", "shards")}
    assert remote == found


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_folder_of_images_with_its_list(tmp_path: Path, name: str) -> None:
    for number, split in enumerate(("train", "test")):
        folder = tmp_path / f"in/{split}"
        (folder / "sub").mkdir(parents=True)
        files = ["1.jpg", "sub/1.jpg"]
        for n, file in enumerate(files):
            (folder / file).write_bytes(random_image(10 * number + n, 64, 48))
        table = [{"file_name": file, "text": f"The image {file} of {split}"} for file in files]
        table.append({"file_name": "../../r.yaml", "text": "A file that is no image of the set"})
        if name.endswith("jsonl"):
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in table))
        else:
            lines = ["file_name,text", *(",".join(row.values()) for row in table)]
            (folder / name).write_text("\n".join(lines))
    (tmp_path / "r.yaml").write_text(
        f"name: t\nsources: [{{kind: list, paths: ['in/**/{name}'], url_col: file_name, "
        "caption_col: text, images_beside: true}]\n"
    )
    corpus = tmp_path / "corpus"
    run_build(tmp_path / "r.yaml", corpus)
    assert {s["txt"].decode(): s["jpg"] for s in Corpus(str(corpus))} == {
        f"The image {file} of {split}": random_image(10 * number + n, 64, 48)
        for number, split in enumerate(("train", "test"))
        for n, file in enumerate(("1.jpg", "sub/1.jpg"))
    }
    assert Counter(row["reason"] for row in rows(corpus, "rejects")) == {"outside_root": 2}
    assert run_build(tmp_path / "r.yaml", corpus).nothing_to_do
    (tmp_path / "in/train/1.jpg").write_bytes(random_image(99, 64, 48))  # replaced: read again
    assert not run_build(tmp_path / "r.yaml", corpus).nothing_to_do
    assert random_image(99, 64, 48) in [sample["jpg"] for sample in Corpus(str(corpus))]
