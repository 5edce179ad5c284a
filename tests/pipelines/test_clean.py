"""`septet clean`: what is listed and removed, and what stays."""

from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import septet
from septet.pipelines.clean import KINDS, find_leftovers
from septet.pipelines.cli import app
from septet.preprocess import files
from septet.preprocess.locks import FolderBusyError, locked
from septet.schemas.versioned import ManifestError
from tests.corpora import digests, picture, run_annotation, run_build
from tests.http_server import HostileServer
from tests.pipelines.test_fetch_store import write_list, write_recipe

_WORDS = "tests.pipelines.annotate.columns_to_test:Words"


def kinds(corpus: Path) -> dict[str, list[str]]:
    """What is found, by kind; what is said of its size is true."""
    found = find_leftovers(str(corpus))
    for one in found:
        assert one.bytes == sum((corpus / path).stat().st_size for path in one.paths)
    return {one.kind: sorted(one.paths) for one in found}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A corpus of six images, with a column; images of four others and of other settings, a shard
    that is not listed and what killed writers left are in its folder."""
    with HostileServer({f"/{n}.jpg": picture(n) for n in range(10)}) as server:
        corpus = tmp_path / "corpus"
        write_list(tmp_path / "b.jsonl", server, range(6, 10))
        run_build(write_recipe(tmp_path, server, "image: {image_size: 40}"), corpus)
        run_build(write_recipe(tmp_path, server), corpus)
        write_list(tmp_path / "a.jsonl", server, range(6))
        (tmp_path / "b.jsonl").unlink()
        recipe = write_recipe(tmp_path, server)
        run_build(recipe, corpus)
        run_annotation(corpus, _WORDS, name="words")
        (store,) = {path.parents[1] for path in corpus.glob("store/*/000002/*.bin")}
        for name in (
            "shards/0000/0000007.tar", "columns/words/0000/0000007.parquet",
            "shards/0000/.0000000.tar.1234.septet-tmp", "shards/notes.txt",
            f"{store.relative_to(corpus)}/000001/9.9-0000-0000.bin",
        ):  # fmt: skip
            (corpus / name).write_bytes(b"left")
        before = digests(corpus)
        yield corpus
        for name in ("shards/0000/0000007.tar", "columns/words/0000/0000007.parquet",
                     "shards/0000/.0000000.tar.1234.septet-tmp"):  # fmt: skip
            before.pop(name)
        assert digests(corpus) == before, "the corpus itself stays as it is"
        hits = server.hits.total()
        assert run_build(recipe, corpus).nothing_to_do and server.hits.total() == hits


def test_what_nothing_needs_is_listed_and_then_removed(built: Path) -> None:
    found = kinds(built)
    assert list(found) == list(KINDS)
    used = {path.parent for path in built.glob("store/*/000002/*.bin")}
    (store,) = {folder.parent for folder in used}
    assert all(not path.startswith(f"store/{store.name}") for path in found["settings"])
    assert any(path.endswith("settings.json") for path in found["settings"])
    images = found["images"]
    assert [Path(path).suffix for path in images] == [".bin", ".parquet"]
    assert all(path.startswith(f"store/{store.name}/000001/") for path in images)
    assert found["shards"] == ["columns/words/0000/0000007.parquet", "shards/0000/0000007.tar"]
    assert len(found["unfinished"]) == 2
    listed = CliRunner().invoke(app, ["clean", str(built)], env={"COLUMNS": "80"})
    assert listed.exit_code == 0, listed.output
    assert [line.split()[0] for line in listed.stdout.splitlines()][:4] == list(KINDS)
    assert "--remove" in listed.output and kinds(built) == found

    only = CliRunner().invoke(app, ["clean", str(built), "--remove", "--only", "shards"])
    assert only.exit_code == 0 and "removed 8 B" in only.output
    assert kinds(built) == {kind: paths for kind, paths in found.items() if kind != "shards"}
    removed = septet.clean(built, remove=True, console=Console(quiet=True))
    assert {one.kind for one in removed} == set(KINDS) - {"shards"}
    assert not any((built / path).exists() for paths in found.values() for path in paths)
    assert kinds(built) == {} and septet.clean(built) == []
    assert (built / "shards/notes.txt").exists()


def test_a_build_at_work_and_one_that_was_stopped_keep_their_files(built: Path) -> None:
    with locked(str(built)):
        assert "images" in kinds(built)
        with pytest.raises(FolderBusyError, match="a build or annotation is at work"):
            septet.clean(built, remove=True)
    begun = built / "stages/done/fetch-1234.generation"
    begun.write_text("3")
    assert list(kinds(built)) == ["shards", "unfinished"]
    begun.unlink()
    for path in (built / "stages/fetched").iterdir():
        path.unlink()
    assert list(kinds(built)) == ["settings", "shards", "unfinished"]
    septet.clean(built, remove=True, only=["shards", "unfinished"])
    (built / "stages").rename(built / "stages-away")
    run = find_leftovers(str(built))
    (built / "stages-away").rename(built / "stages")
    assert [one.kind for one in run] == ["settings"]


def test_what_cannot_be_cleaned_is_said(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"has no corpus\.json"):
        septet.clean(tmp_path)
    with pytest.raises(ValueError, match="no kind 'old' of leftovers; there are settings, images"):
        septet.clean(tmp_path, only=["old"])
    assert list(files.walk(str(tmp_path))) == []
