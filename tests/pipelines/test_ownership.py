"""What a build may write into, and what it takes away."""

import os
from pathlib import Path

import pytest
from rich.console import Console

from septet.pipelines.index import index_folder
from septet.pipelines.ownership import ForeignFolderError
from tests.corpora import digests, run_build, write_site


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("site"), parts=1, pages=4, images=6)


@pytest.mark.parametrize("foreign", ["shards/mine-00000.tar", "stats/thesis.txt", "notes.md"])
def test_a_folder_of_somebody_else_is_refused_and_left(
    recipe: Path, tmp_path: Path, foreign: str
) -> None:
    path = tmp_path / "project" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("years of work")
    with pytest.raises(ForeignFolderError, match="give the corpus a new or empty folder"):
        run_build(recipe, tmp_path / "project")
    assert path.read_text() == "years of work"
    assert [p for p in (tmp_path / "project").rglob("*") if p.is_file()] == [path]


def test_a_folder_whose_name_is_no_text_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"corpus\\udcff': the name is not UTF-8"):
        run_build(recipe, tmp_path / os.fsdecode(b"corpus\xff"))
    assert [*tmp_path.iterdir()] == []


def test_an_indexed_folder_is_refused(recipe: Path, tmp_path: Path) -> None:
    run_build(recipe, tmp_path / "corpus")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    tar = next((tmp_path / "corpus").rglob("*.tar"))
    (foreign / "00000.tar").write_bytes(tar.read_bytes())
    index_folder(str(foreign), None, Console(quiet=True))
    with pytest.raises(ForeignFolderError):
        run_build(recipe, foreign)
    assert (foreign / "00000.tar").exists()


def test_what_is_beside_a_corpus_stays(recipe: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    run_build(recipe, corpus)
    mine = [corpus / "shards/mine.tar", corpus / "stats/mine.txt", corpus / "rejects/mine.txt",
            corpus / "notes.md"]  # fmt: skip
    for path in mine:
        path.write_text("mine")
    (recipe.parent / "other.yaml").write_text(recipe.read_text().replace("shard: 12", "shard: 5"))
    before = set(corpus.rglob("*.tar"))
    run_build(recipe.parent / "other.yaml", corpus)
    assert set(corpus.rglob("*.tar")) != before
    run_build(recipe, corpus)
    assert set(corpus.rglob("*.tar")) == before
    assert [path.read_text() for path in mine] == ["mine"] * 4


def test_shards_may_be_a_link_to_another_disk(recipe: Path, tmp_path: Path) -> None:
    corpus, plain = tmp_path / "corpus", tmp_path / "plain"
    (tmp_path / "disk").mkdir()
    corpus.mkdir()
    (corpus / "shards").symlink_to(tmp_path / "disk")
    (recipe.parent / "third.yaml").write_text(recipe.read_text().replace("shard: 12", "shard: 6"))
    for name in ("recipe.yaml", "third.yaml"):
        run_build(recipe.parent / name, corpus)
    assert (corpus / "shards").is_symlink()
    assert list((tmp_path / "disk").rglob("*.tar"))
    run_build(recipe.parent / "third.yaml", plain)
    files = {path for path in digests(plain) if not path.startswith("shards/")}
    assert {path: digests(corpus)[path] for path in files} == {
        path: digests(plain)[path] for path in files
    }
    assert os.listdir(tmp_path / "disk") == os.listdir(plain / "shards")  # noqa: PTH208
