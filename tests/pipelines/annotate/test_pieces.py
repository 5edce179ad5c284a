"""Shards of columns that are made piece by piece: by several workers, and over several runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from septet.pipelines.annotate import work
from septet.pipelines.annotate.work import AnnotateWork
from septet.pipelines.runners import StageFailed
from septet.preprocess.columns.base import NoValue, Value
from tests.corpora import digests, run_annotation, run_build
from tests.pipelines.annotate.columns_to_test import HERE

WORDS = f"{HERE}:Words"
SETTINGS = {"refuse": "number 7", "batch_size": 40}
ROWS = 400


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of one shard, texts alone, which is three pieces."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "texts.txt").write_text("".join(f"A text with the number {n}\n" for n in range(ROWS)))
    recipe = folder / "recipe.yaml"
    recipe.write_text("name: pieces\nsources: [{kind: text, paths: [texts.txt], document: line}]\n")
    assert run_build(recipe, folder / "corpus").manifest.samples == ROWS
    return folder / "corpus"


@pytest.fixture
def corpus(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "corpus")
    return tmp_path / "corpus"


def test_a_shard_is_work_for_several_workers(corpus: Path, tmp_path: Path) -> None:
    manifest = run_annotation(corpus, WORDS, SETTINGS, name="words")
    assert 0 < manifest.counts["error"] < 200
    whole = digests(corpus)
    shutil.rmtree(corpus / "columns")
    loads = tmp_path / "loads"
    settings = {**SETTINGS, "loads": str(loads), "seconds": 0.02}
    run_annotation(corpus, WORDS, settings, name="words", workers=2)
    assert digests(corpus) == whole
    processes = loads.read_text().splitlines()
    assert len(processes) == len(set(processes)) == 2
    assert not (corpus / "columns/words/pieces").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_took_long_is_kept_where_a_run_fails(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    whole = digests_of_a_whole_run(corpus)
    made: list[int] = []
    broken = True

    def making(self: AnnotateWork, number: int, piece: int) -> Iterator[Value | NoValue]:
        made.append(piece)
        if broken and piece == 2:
            raise RuntimeError("the machine is on fire")
        return plain(self, number, piece)

    plain = AnnotateWork._made
    monkeypatch.setattr(AnnotateWork, "_made", making)
    monkeypatch.setattr(work, "_WORTH_KEEPING", -1)
    if workers > 1:  # pieces are tasks of their own, here in one process
        monkeypatch.setattr("septet.pipelines.annotate.annotate._SHARDS_A_WORKER", 2)
        monkeypatch.setattr("septet.pipelines.runners.local.LocalRunner.tasks_at_once", 2)
    with pytest.raises(StageFailed, match="the machine is on fire"):
        run_annotation(corpus, WORDS, SETTINGS, name="words")
    assert made == [0, 1, 2]
    kept = sorted((corpus / "columns/words/pieces").iterdir())
    assert [path.name[:12] for path in kept] == ["0000000-0000", "0000000-0001"]
    kept[1].write_bytes(kept[1].read_bytes()[:-9])
    made.clear()
    broken = False
    run_annotation(corpus, WORDS, SETTINGS, name="words")
    assert sorted(made) == [1, 2], "a damaged piece is made again"
    assert digests(corpus) == whole
    assert not (corpus / "columns/words/pieces").exists()


def digests_of_a_whole_run(corpus: Path) -> dict[str, str]:
    run_annotation(corpus, WORDS, SETTINGS, name="words")
    whole = digests(corpus)
    shutil.rmtree(corpus / "columns")
    return whole
