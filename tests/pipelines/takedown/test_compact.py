"""After a compaction nothing in the folder holds what was removed, and all else is as it was."""

import hashlib
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import septet
from septet.pipelines.annotate.check import check_columns
from septet.pipelines.check import check_corpus
from septet.pipelines.clean import find_leftovers
from septet.preprocess import files
from septet.preprocess.columns.reader import ColumnShardReader, is_stale, read_manifest
from septet.preprocess.shards.reader import Corpus
from tests.corpora import rows, run_annotation, run_build
from tests.pipelines.takedown.corpora import (
    WORDS,
    built,
    by_webdataset,
    records,
    same_image,
    taken_down,
)

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("takedown"))


@pytest.fixture
def corpus(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original.parent, tmp_path / "site")
    return tmp_path / "site/corpus"


def tars(corpus: Path) -> dict[str, str]:
    """Digests of all tars and sidecars of shards and columns."""
    return {
        str(path.relative_to(corpus)): hashlib.sha256(path.read_bytes()).hexdigest()
        for room in ("shards", "columns")
        for path in (corpus / room).rglob("*")
        if path.is_file() and path.name not in ("column.json", "shards.parquet")
    }


def values(corpus: Path) -> dict[str, bytes]:
    """The column's value of each sample."""
    opened, found = Corpus(str(corpus)), {}
    for number in range(len(opened.shards)):
        with ColumnShardReader(opened, "words", number) as reader:
            found |= {reader.key(r): reader.value(r) for r in opened.rows(number).tolist()}
    return found


def remove_one(corpus: Path, place: int = 17) -> set[str]:
    """Removes a sample with all of its image; returns the keys."""
    before = records(corpus)
    key = sorted(before)[place]
    (corpus.parent / "keys.txt").write_text(key)
    taken_down(corpus, ids=corpus.parent / "keys.txt")
    return same_image(before, key)


def require_whole(corpus: Path, samples: dict[str, dict], words: dict[str, bytes]) -> None:
    assert records(corpus) == samples
    assert values(corpus) == words
    opened = Corpus(str(corpus))
    assert not is_stale(opened, read_manifest(str(corpus), "words"))
    assert check_corpus(str(corpus), True, QUIET) == []
    assert check_columns(str(corpus), QUIET) == []


def test_what_was_removed_is_nowhere_and_the_rest_is_as_it_was(corpus: Path) -> None:
    before, words, files_before = records(corpus), values(corpus), tars(corpus)
    bytes_before = {key: sample["jpg"] for key, sample in images(corpus).items()}
    gone = remove_one(corpus)
    (removed,) = {bytes_before[key] for key in gone}
    assert gone <= by_webdataset(corpus) == set(before)
    _, done = septet.remove(corpus, compact=True, who="me", note="asked for")
    assert done is not None and done.samples == len(gone) and done.bytes > 0

    samples = {key: one for key, one in before.items() if key not in gone}
    require_whole(corpus, samples, {k: v for k, v in words.items() if k not in gone})
    assert by_webdataset(corpus) == by_webdataset(corpus, "columns/words") == set(samples)
    after = tars(corpus)
    kept = {name: digest for name, digest in files_before.items() if name in after}
    assert kept == {name: after[name] for name in kept}
    assert len(files_before) - len(kept) == len(set(after) - set(kept)) == 4 * done.shards
    assert 0 < done.shards < len(Corpus(str(corpus)).shards)
    assert not any(removed in path.read_bytes() for path in (corpus / "shards").rglob("*.tar"))
    said = [row for row in rows(corpus, "shards") if row.get("key") in gone]
    assert len(said) == len(gone)
    assert {name for row in said for name, v in row.items() if v not in (None, [])} == {
        "key", "language",
    }  # fmt: skip
    assert find_leftovers(str(corpus), ["shards", "unfinished"]) == []
    head = (corpus / "corpus.json").read_bytes()
    assert septet.remove(corpus, compact=True)[1] == type(done)(0, 0, 0, 0)
    assert (corpus / "corpus.json").read_bytes() == head

    # A second one takes the place of the first's files.
    more = remove_one(corpus, 3)
    septet.remove(corpus, compact=True)
    samples = {key: one for key, one in samples.items() if key not in more}
    require_whole(corpus, samples, {k: v for k, v in words.items() if k in samples})
    assert by_webdataset(corpus) == by_webdataset(corpus, "columns/words") == set(samples)
    # Another column can be made, and a build makes shards of samples that are there alone.
    run_annotation(corpus, WORDS, name="later")
    assert check_columns(str(corpus), QUIET) == []
    run_build(corpus.parent / "recipe.yaml", corpus)
    assert records(corpus) == samples
    assert sum(
        len(Corpus(str(corpus)).rows(n)) for n in range(len(Corpus(str(corpus)).shards))
    ) == (Corpus(str(corpus)).manifest.samples)


def test_the_fetch_store_does_not_keep_removed_images(corpus: Path) -> None:
    before = {key: sample["jpg"] for key, sample in images(corpus).items()}
    gone = remove_one(corpus)
    (removed,) = {before[key] for key in gone}
    others = {data for key, data in before.items() if key not in gone}

    def stored() -> bytes:
        return b"".join(path.read_bytes() for path in sorted(corpus.glob("store/*/*/*/*/*.bin")))

    assert removed in stored()
    _, done = septet.remove(corpus, compact=True)
    assert done is not None and done.stored >= 1
    assert removed not in stored() and all(data in stored() for data in others)
    run_build(corpus.parent / "recipe.yaml", corpus)
    assert removed not in {sample["jpg"] for sample in images(corpus).values()}


def images(corpus: Path) -> dict[str, dict[str, bytes]]:
    opened = Corpus(str(corpus))
    return {opened.key(i): opened[i] for i in range(len(opened)) if "jpg" in opened[i]}


def killed_at(corpus: Path, moment: int) -> int:
    """Compacts in a process that kills itself before the `moment`-th change to the folder; returns
    its status."""
    child = multiprocessing.get_context("fork").Process(target=_compact, args=(corpus, moment))
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def _compact(corpus: Path, moment: int) -> None:
    left = [moment]

    def counting(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **options)

        return changed

    Path.replace = counting(Path.replace)  # type: ignore[method-assign]
    files.remove = counting(files.remove)
    septet.remove(corpus, compact=True)


@pytest.mark.slow  # a whole corpus is copied, compacted and checked for each moment
def test_a_compaction_killed_at_any_moment_leaves_a_corpus_and_is_finished(
    corpus: Path, tmp_path: Path
) -> None:
    before, words = records(corpus), values(corpus)
    gone = remove_one(corpus)
    samples = {key: one for key, one in before.items() if key not in gone}
    kept = {key: words[key] for key in samples}
    whole = shutil.copytree(corpus, tmp_path / "whole")
    septet.remove(whole, compact=True)
    moments = 0
    for moment in range(1, 200, 2):
        again = Path(shutil.copytree(corpus, tmp_path / f"{moment}"))
        if killed_at(again, moment) == 0:
            break
        moments += 1
        assert records(again) == samples and values(again) == kept, moment
        assert not is_stale(Corpus(str(again)), read_manifest(str(again), "words")), moment
        septet.remove(again, compact=True)
        require_whole(again, samples, kept)
        assert tars(again) == tars(whole), moment
        shutil.rmtree(again)
    assert 6 < moments < 80
