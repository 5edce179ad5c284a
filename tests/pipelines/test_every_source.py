"""Builds of all kinds of inputs at once: with any number of workers, and killed."""

from pathlib import Path

import pytest
from rich.console import Console

from septet.pipelines.check import check_corpus
from septet.preprocess.files import TEMPORARY_SUFFIX
from tests.corpora import digests, rows, run_build
from tests.every_source import SOURCES, kept_and_lost, write_every_source
from tests.kills import build_through_kills


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_every_source(tmp_path_factory.mktemp("every"))


@pytest.fixture(scope="module")
def built(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = tmp_path_factory.mktemp("built") / "corpus"
    run_build(recipe, corpus)
    return corpus


def test_each_source_gives_samples_and_each_row_is_kept_or_lost(built: Path) -> None:
    folders = {row["source"].partition("/")[0] for row in rows(built, "shards")}
    assert len(folders) == SOURCES - 1, "lists of two kinds lie in one folder"
    given, kept, lost = kept_and_lost(built)
    assert given == kept + lost == len(rows(built, "shards")) + len(rows(built, "rejects"))
    reasons = {row["reason"] for row in rows(built, "rejects")}
    assert {"hash_mismatch", "list_row", "not_image", "missing_file", "annotation"} <= reasons
    assert {"too_short", "wat_record", "warc_broken"} <= reasons
    assert check_corpus(str(built), True, Console(quiet=True)) == []


@pytest.mark.parametrize("workers", [2, 4])
def test_worker_counts_make_no_difference(
    recipe: Path, built: Path, tmp_path: Path, workers: int
) -> None:
    run_build(recipe, tmp_path / "corpus", workers=workers)
    assert digests(tmp_path / "corpus") == digests(built)


def test_killed_in_each_pass_and_resumed(recipe: Path, built: Path, tmp_path: Path) -> None:
    corpus, log = tmp_path / "corpus", tmp_path / "kills"
    codes = build_through_kills(recipe, corpus, log)
    assert codes[-1] == 0 and len(codes) > 10
    killed = log.read_text().splitlines()
    assert {"source: first", "fetch: first", "write: first"} <= {*killed}
    assert digests(corpus) == digests(built)
    assert not list(corpus.rglob(f"*{TEMPORARY_SUFFIX}"))
