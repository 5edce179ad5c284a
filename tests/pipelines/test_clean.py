"""`septet clean`: what is listed and removed, and what stays."""

import json
import os
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import septet
from septet.pipelines.clean import KINDS, find_leftovers
from septet.pipelines.cli import app
from septet.pipelines.store.store import Store
from septet.pipelines.store.writer import StoreWriter
from septet.preprocess import files
from septet.preprocess.http.client import Fetched
from septet.preprocess.locks import FolderBusyError, locked
from septet.preprocess.shards.heads import read_head
from septet.schemas.recipe import Image, Recipe
from septet.schemas.versioned import ManifestError
from tests.corpora import digests, random_image, run_annotation, run_build
from tests.http_server import HostileServer
from tests.pipelines.test_fetch_store import write_list, write_recipe
from tests.pipelines.test_index import samples, write_tar

_WORDS = "tests.pipelines.annotate.columns_to_test:Words"
_STRANGERS = (
    "shards/notes.txt", "store/models/pytorch_model.bin", "store/models/000001/a.parquet",
    "store/0123456789abcdef/notes.json", "store/0123456789abcdef/000001/a.bin",
    "store/0123456789abcdef/1/0123456789abcdef-01234567-0000.bin", "shards/0000/a.septet-tmp",
    "mine/.a.12345678.septet-tmp", "columns/words/mine/0000007.tar",
)  # fmt: skip
"""Files with names that Septet does not give."""


def kinds(corpus: Path) -> dict[str, list[str]]:
    """What is found, by kind; what is said of its size is true."""
    found = find_leftovers(str(corpus))
    for one in found:
        assert one.bytes == sum((corpus / path).stat().st_size for path in one.paths)
    return {one.kind: sorted(one.paths) for one in found}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A corpus of six images, with a column; images of four others (and one that failed) and of
    other settings, a shard that is not listed, what killed writers left and files of others are in
    its folder."""
    with HostileServer({f"/{n}.jpg": random_image(n) for n in range(10)}) as server:
        corpus = tmp_path / "corpus"
        write_list(tmp_path / "b.jsonl", server, range(6, 11))  # there is no 10
        run_build(write_recipe(tmp_path, server, "image: {image_size: 40}"), corpus)
        run_build(write_recipe(tmp_path, server), corpus)
        write_list(tmp_path / "a.jsonl", server, range(6))
        (tmp_path / "b.jsonl").unlink()
        recipe = write_recipe(tmp_path, server)
        run_build(recipe, corpus)
        run_annotation(corpus, _WORDS, name="words")
        (store,) = {path.parents[3] for path in corpus.glob("store/*/000002/?/??/*.bin")}
        for name in (
            "shards/0000/0000007.tar", "columns/words/0000/0000007.parquet",
            "shards/0000/.0000000.tar.12345678.septet-tmp",
            f"{store.relative_to(corpus)}/000001/{'0' * 16}-12345678-0000.bin", *_STRANGERS,
        ):  # fmt: skip
            (corpus / name).parent.mkdir(parents=True, exist_ok=True)
            (corpus / name).write_bytes(b"left")
        folder = f"{store.relative_to(corpus)}/000001"
        with StoreWriter(str(corpus), folder, "f" * 16, {}, Image()) as writer:
            writer.put(Fetched(server.url("/20.jpg"), random_image(20)))
        before = digests(corpus)
        for site in corpus.glob("store/sites/*/*.json"):
            os.utime(site, (0, time.time() - 3 * 86400))
        yield corpus
        for name in ("shards/0000/0000007.tar", "columns/words/0000/0000007.parquet",
                     "shards/0000/.0000000.tar.12345678.septet-tmp"):  # fmt: skip
            before.pop(name)
        assert all((corpus / name).read_bytes() == b"left" for name in _STRANGERS)
        assert digests(corpus) == before, "the corpus itself stays as it is"
        hits = server.hits.total()
        assert run_build(recipe, corpus).nothing_to_do and server.hits.total() == hits


def test_what_nothing_needs_is_listed_and_then_removed(built: Path) -> None:
    found = kinds(built)
    assert list(found) == list(KINDS)
    (store,) = {path.parents[3] for path in built.glob("store/*/000002/?/??/*.bin")}
    assert all(not path.startswith(f"store/{store.name}") for path in found["settings"])
    assert any(path.endswith("settings.json") for path in found["settings"])
    images = found["images"]
    assert [Path(path).suffix for path in images] == [".bin", ".bin", ".parquet"], "one failed"
    blocks = (path.removesuffix("bin") for path in images if path.endswith(".bin"))
    (table,) = {block + "parquet" for block in blocks} - set(images)
    assert [Path(path).stem[:16] for path in images].count("f" * 16) == 2
    assert all(path.startswith(f"store/{store.name}/000001/") for path in images)
    assert found["shards"] == ["columns/words/0000/0000007.parquet", "shards/0000/0000007.tar"]
    assert len(found["unfinished"]) == 2
    listed = CliRunner().invoke(app, ["clean", str(built)], env={"COLUMNS": "80"})
    assert listed.exit_code == 0, listed.output
    assert [line.split()[0] for line in listed.stdout.splitlines()][:5] == list(KINDS)
    assert "(3.0 to 3.0 days old)" in listed.stdout
    assert "--remove" in listed.output and kinds(built) == found

    only = CliRunner().invoke(app, ["clean", str(built), "--remove", "--only", "shards"])
    assert only.exit_code == 0 and "removed 8 B" in only.output
    assert kinds(built) == {kind: paths for kind, paths in found.items() if kind != "shards"}
    removed = septet.clean(built, remove=True, console=Console(quiet=True))
    assert {one.kind for one in removed} == set(KINDS) - {"shards"}
    assert not any((built / path).exists() for paths in found.values() for path in paths)
    assert kinds(built) == {} and septet.clean(built) == []
    (failed,) = files.read_table(str(built / table)).to_pylist()
    assert failed["image_url"].endswith("/10.jpg") and failed["value"] == "404"
    recipe = Recipe.model_validate(read_head(str(built)).recipe)
    known = Store(str(built), recipe).known()
    assert len(known.rows(table, ["reason", "value", "original_bytes"])) == 1


def test_a_build_at_work_and_one_that_was_stopped_keep_their_files(built: Path) -> None:
    with locked(str(built)):
        assert "images" in kinds(built)
        with pytest.raises(FolderBusyError, match="a build or annotation is at work"):
            septet.clean(built, remove=True)
    begun = built / "stages/done/fetch-1234.generation"
    begun.write_text("3")
    assert list(kinds(built)) == ["shards", "unfinished", "sites"]
    begun.unlink()
    for path in (built / "stages/fetched").rglob("*.parquet"):
        path.unlink()
    assert list(kinds(built)) == ["settings", "shards", "unfinished", "sites"]
    septet.clean(built, remove=True, only=["shards", "unfinished", "sites"])
    (built / "stages").rename(built / "stages-away")
    run = find_leftovers(str(built))
    head = json.loads((built / "corpus.json").read_text())
    for change in (
        {"image": {"max_side": "of an earlier version"}},
        {"image": {"encode_quality": 51}},
    ):
        changed = {**head, "recipe": {**head["recipe"], **change}}
        (built / "corpus.json").write_text(json.dumps(changed))
        assert kinds(built) == {}, "nothing says which store is in use"
    (built / "corpus.json").write_text(json.dumps(head, indent=1) + "\n")
    (built / "stages-away").rename(built / "stages")
    assert [one.kind for one in run] == ["settings"]


def test_what_servers_said_a_moment_ago_stays(built: Path) -> None:
    (site,) = built.glob("store/sites/*/*.json")
    os.utime(site)
    (site.parent / "notes.json").write_bytes(b"of somebody")
    os.utime(site.parent / "notes.json", (0, 0))
    assert "sites" not in kinds(built)
    os.utime(site, (0, time.time() - 25 * 3600))
    assert kinds(built)["sites"] == [str(site.relative_to(built))]
    septet.clean(built, remove=True)
    assert [path.name for path in built.glob("store/sites/*/*")] == ["notes.json"]


def test_folders_that_are_links_are_looked_at(built: Path) -> None:
    found = kinds(built)
    for name in ("shards", "store", "columns"):
        (built / name).rename(built.parent / f"{name}-disk")
        (built / name).symlink_to(built.parent / f"{name}-disk")
    assert kinds(built) == found
    septet.clean(built, remove=True)
    assert kinds(built) == {}
    for name in ("shards", "store", "columns"):
        (built / name).unlink()
        (built.parent / f"{name}-disk").rename(built / name)


def test_a_folder_that_was_indexed_has_nothing_to_remove(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", samples(0, 1))
    septet.index(tmp_path)
    for name in ("store/models/pytorch_model.bin", f"store/{'0' * 16}/settings.json",
                 "shards/0000/0000007.tar", "columns/words/0000/0000007.parquet",
                 "shards/.a.12345678.septet-tmp"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"left")
    before = dict(files.walk(str(tmp_path)))
    assert septet.clean(tmp_path, remove=True) == []
    assert dict(files.walk(str(tmp_path))) == before


def test_what_cannot_be_cleaned_is_said(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"has no corpus\.json"):
        septet.clean(tmp_path)
    with pytest.raises(ValueError, match="no kind 'old' of leftovers; there are settings, images"):
        septet.clean(tmp_path, only=["old"])
    with pytest.raises(ManifestError, match=r"has no corpus\.json"):
        septet.clean(tmp_path / "none", remove=True)
    assert list(tmp_path.iterdir()) == []
