"""Builds whose inputs lie in odd places: what is read, and that no machine's path gets anywhere."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from septet.pipelines.build import BuildResult
from septet.pipelines.runners import StageFailed
from septet.pipelines.sources.base import InputError
from tests.corpora import digests, random_image, rows, run_build
from tests.warcs import html, image, write_warc


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def project(folder: Path) -> Path:
    """A recipe in `recipes/` over inputs beside it: an archive, and two folders with a list each
    whose images have the same names."""
    page = "".join(f"<img src=/{i}.jpg alt='The picture number {i}'>" for i in range(3))
    images = [image(f"http://e.test/{i}.jpg", random_image(i), "image/jpeg") for i in range(3)]
    folder.mkdir(parents=True)
    write_warc(folder / "a.warc.gz", [html("http://e.test/", page), *images])
    for seed, part in ((10, "train"), (20, "validation")):
        put(folder / part / "0001.jpg", random_image(seed))
        row = {"file_name": "0001.jpg", "text": f"The first picture of {part}"}
        put(folder / part / "metadata.jsonl", json.dumps(row).encode() + b"\n")
    recipe = folder / "recipes/r.yaml"
    columns = "url_col: file_name, caption_col: text"
    put(
        recipe,
        b"name: t\nsources:\n  - {kind: warc, paths: ['../*.warc.gz']}\n"
        + "".join(
            f"  - {{kind: list, paths: [../{part}/metadata.jsonl], image_root: ../{part}, {columns}}}\n"
            for part in ("train", "validation")
        ).encode(),
    )
    return recipe


def build(recipe: Path) -> BuildResult:
    return run_build(recipe, recipe.parent / "corpora/t")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = project(tmp_path_factory.mktemp("first") / "checkout")
    build(recipe)
    return recipe


def test_one_name_in_two_roots_is_two_images(built: Path) -> None:
    samples = {row["caption"]: row for row in rows(built.parent / "corpora/t", "shards/0000")}
    train, validation = (samples[f"The first picture of {p}"] for p in ("train", "validation"))
    assert (train["url"], validation["url"]) == ("../train/0001.jpg", "../validation/0001.jpg")
    assert train["sha256"] != validation["sha256"] and len(samples) == 5


def test_the_same_bytes_in_another_checkout_and_no_path_of_a_machine(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = shutil.ignore_patterns("corpora")
    shutil.copytree(built.parents[1], tmp_path / "elsewhere", ignore=ours)
    other = tmp_path / "elsewhere/recipes/r.yaml"
    monkeypatch.chdir(tmp_path / "elsewhere")
    build(Path("recipes/r.yaml"))
    assert digests(other.parent / "corpora/t") == digests(built.parent / "corpora/t")
    machine = [str(tmp_path).encode(), str(built.parents[1]).encode()]
    for path in (other.parent / "corpora/t").rglob("*"):
        if path.is_file():
            text = decompressed(path)
            assert not any(name in text for name in machine), path


def decompressed(path: Path) -> bytes:
    """A file's bytes, of Parquet its values."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return repr((table.to_pylist(), table.schema.metadata, pq.read_metadata(path).metadata)).encode()  # fmt: skip


def test_a_moved_project_builds_on(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built.parents[1], tmp_path / "disk1")
    before = digests(tmp_path / "disk1/recipes/corpora/t")
    (tmp_path / "disk1").rename(tmp_path / "disk2")
    recipe = tmp_path / "disk2/recipes/r.yaml"
    assert build(recipe).nothing_to_do
    text = recipe.read_text()
    recipe.write_text(text + "image: {image_size: 128}\n")
    assert build(recipe).manifest.samples == 5
    recipe.write_text(text)
    build(recipe)
    assert digests(tmp_path / "disk2/recipes/corpora/t") == before


@pytest.mark.parametrize("gone", ["a.warc.gz", "train/metadata.jsonl", "train"])
def test_input_that_is_gone_is_an_error_and_the_corpus_stays(
    built: Path, tmp_path: Path, gone: str
) -> None:
    shutil.copytree(built.parents[1], tmp_path / "p")
    recipe = tmp_path / "p/recipes/r.yaml"
    before = digests(recipe.parent / "corpora/t")
    (tmp_path / "p" / gone).rename(tmp_path / "away")
    recipe.write_text(recipe.read_text() + "image: {image_size: 128}\n")
    with pytest.raises((ValueError, StageFailed), match=r"\.\./"):
        build(recipe)
    assert digests(recipe.parent / "corpora/t") == before


def test_a_replaced_image_is_read_again(tmp_path: Path) -> None:
    recipe = project(tmp_path / "p")
    build(recipe)
    put(tmp_path / "p/train/0001.jpg", random_image(99))
    assert not build(recipe).nothing_to_do
    samples = {row["caption"]: row["sha256"] for row in rows(recipe.parent / "corpora/t", "shards/0000")}  # fmt: skip
    import hashlib

    assert samples["The first picture of train"] == hashlib.sha256(random_image(99)).hexdigest()


def test_a_hub_cache_of_links_and_two_names_of_a_file(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshots/rev"
    snapshot.mkdir(parents=True)
    for number in range(3):
        put(tmp_path / f"blobs/{number}", random_image(number))
        (snapshot / f"{number}.jpg").symlink_to(f"../../blobs/{number}")
    (snapshot / "again.jpg").symlink_to("0.jpg")
    names = ["0.jpg", "1.jpg", "2.jpg", "./1.jpg", "x/../2.jpg", "again.jpg"]
    lines = [json.dumps({"url": n, "caption": f"A picture called {n}"}) for n in names]
    put(tmp_path / "blobs/list", "\n".join(lines).encode())
    (snapshot / "pairs.jsonl").symlink_to("../../blobs/list")
    recipe = put(
        tmp_path / "r.yaml",
        b"name: t\nsources: [{kind: list, paths: [snapshots/*/pairs.jsonl], image_root: snapshots/rev}]\n",
    )
    build(recipe)
    samples = {row["caption"]: row["url"] for row in rows(tmp_path / "corpora/t", "shards/0000")}
    assert samples == {
        f"A picture called {n}": f"snapshots/rev/{os.path.normpath(n)}" for n in names
    }


def test_own_output_below_the_pattern_is_no_input(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    put(tmp_path / "pics/1.jpg", random_image(1))
    pq.write_table(pa.table({"url": ["1.jpg"], "caption": ["A house of stone"]}), tmp_path / "a.parquet")  # fmt: skip
    recipe = put(
        tmp_path / "r.yaml",
        b"name: t\nsources: [{kind: list, paths: ['**/*.parquet'], image_root: pics}]\n",
    )
    first = build(recipe)
    assert first.manifest.samples == 1 and first.stages[0].counts.rows_in == 1
    again = build(recipe)
    assert again.nothing_to_do and again.stages[0].counts.rows_in == 1


def test_a_broken_input_names_file_and_row_or_is_one_reject(tmp_path: Path) -> None:
    import gzip

    put(tmp_path / "pics/1.jpg", random_image(1))
    lines = [json.dumps({"url": "1.jpg", "caption": f"A house number {i} {os.urandom(20).hex()}"}) for i in range(2000)]  # fmt: skip
    put(tmp_path / "a.jsonl.gz", gzip.compress("\n".join(lines).encode())[:-9000])
    text = "name: t\nsources: [{kind: list, paths: [a.jsonl.gz], image_root: pics%s}]\n"
    recipe = put(tmp_path / "r.yaml", (text % "").encode())
    with pytest.raises(StageFailed, match=r"a\.jsonl\.gz: stopped after row \d{3,}.*too early"):
        build(recipe)
    recipe.write_text(text % ", on_broken_input: reject")
    result = build(recipe)
    assert result.manifest.samples > 100
    source = result.stages[0].counts
    assert source.rejected == {"input_broken": 1} and source.rows_in == source.rows_out + 1


def test_a_column_that_is_not_there_ends_the_build_before_it_starts(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", b"path,caption\n1.jpg,A house of stone\n")
    recipe = put(
        tmp_path / "r.yaml", b"name: t\nsources: [{kind: list, paths: [a.csv], url_col: pathh}]\n"
    )
    with pytest.raises(InputError, match=r"a\.csv has no column 'pathh'; it has path, caption"):
        build(recipe)
    assert not (tmp_path / "corpora/t/stages/candidates").exists()


def test_slices_decide_nothing_but_who_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from septet.pipelines.sources import cuts

    for number in range(6):
        put(tmp_path / f"pics/{number}.jpg", random_image(number))
    lines = [
        json.dumps({"url": f"{i % 6}.jpg", "caption": f"The picture number {i} of them all"})
        for i in range(40)
    ]
    put(tmp_path / "a.jsonl", "\n".join([*lines, "nope", *lines[:9]]).encode())
    recipe = put(
        tmp_path / "r.yaml",
        b"name: t\nsources: [{kind: list, paths: [a.jsonl], image_root: pics}]\n"
        b"write: {samples_per_shard: 9}\n",
    )
    whole = run_build(recipe, tmp_path / "whole")
    monkeypatch.setattr(cuts.cut_lines, "__defaults__", (500,))
    sliced = run_build(recipe, tmp_path / "sliced", workers=2)
    read, few = (
        len(list((tmp_path / name / "stages/candidates").rglob("*.parquet")))
        for name in ("sliced", "whole")
    )
    assert read > 5 > few
    assert whole.stages[0].counts == sliced.stages[0].counts
    one, other = digests(tmp_path / "whole"), digests(tmp_path / "sliced")
    assert {name: one[name] for name in one if not name.startswith("rejects/")} == {
        name: other[name] for name in other if not name.startswith("rejects/")
    }
    lost = {folder: rows(tmp_path / folder, "rejects") for folder in ("whole", "sliced")}
    assert len(lost["whole"]) == len(lost["sliced"]) == 10
    (bad,) = [row["value"] for row in lost["sliced"] if row["reason"] == "list_row"]
    told = re.match(r"line (\d+): not JSON: .*; lines are counted from byte (\d+)$", bad)
    assert told is not None and int(told[2]) > 0
    behind = (tmp_path / "a.jsonl").read_bytes()[int(told[2]) :]
    assert behind.split(b"\n")[int(told[1]) - 1] == b"nope"
