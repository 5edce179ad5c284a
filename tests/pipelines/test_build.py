import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from septet.pipelines.check import check_corpus
from septet.pipelines.report.figures import Statistics
from septet.pipelines.report.statistics import corpus_statistics
from septet.preprocess.files import TEMPORARY_SUFFIX
from septet.preprocess.locks import FolderBusyError, locked
from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import STATISTICS
from tests.corpora import digests, rows, run_build, write_site
from tests.dataflow.conftest import may_hide
from tests.kills import FORKS, build_through_kills


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def built(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = tmp_path_factory.mktemp("built") / "corpus"
    run_build(recipe, corpus)
    return corpus


def test_every_pair_is_a_sample_or_a_reject(built: Path) -> None:
    funnel = json.loads((built / "stats/funnel.json").read_text())["stages"]
    assert [stage["stage"] for stage in funnel] == [
        "source", "filter", "dedup", "fetch", "curate", "write",
    ]  # fmt: skip
    rejects = rows(built, "rejects")
    for stage, following in zip(funnel, [*funnel[1:], None], strict=True):
        assert stage["in"] == stage["out"] + sum(stage["rejected"].values()), stage
        assert following is None or following["in"] == stage["out"]
        mine = [row["reason"] for row in rejects if row["stage"] == stage["stage"]]
        assert {reason: mine.count(reason) for reason in mine} == stage["rejected"]
    assert funnel[-1]["out"] == len(Corpus(str(built)))
    # 24 pages x 3 figures x 2 captions, and 2 icons with an alt a page
    assert funnel[0]["in"] == 24 * (3 * 2 + 2)


def stage_files(corpus: Path) -> set[str]:
    return {str(p.relative_to(corpus)) for p in (corpus / "stages").rglob("*") if p.is_file()}


def test_samples_are_true(built: Path) -> None:
    corpus = Corpus(str(built))
    table = rows(built, "shards")
    assert [corpus.key(i) for i in range(len(corpus))] == [row["key"] for row in table]
    assert sorted(row["key"] for row in table) == [row["key"] for row in table]
    for index, row in enumerate(table):
        sample = corpus[index]
        told = json.loads(sample["json"])
        assert sample["txt"].decode() == row["caption"] == told["caption"]
        assert row["url"].startswith("http://site.test/img/")
        assert (told["width"], told["key"]) == (row["width"], row["key"])
        assert min(row["width"], row["height"]) == 256


def test_figures_that_workers_counted_are_those_of_the_sidecars(built: Path) -> None:
    stored = Statistics.from_json((built / STATISTICS).read_bytes())
    assert stored == corpus_statistics(str(built)) and stored.notes == []


def test_what_is_repeated_on_every_page_is_rejected(built: Path) -> None:
    reasons = {(row["caption"], row["reason"]) for row in rows(built, "rejects")}
    assert ("Back to the first page", "pair_repeated") in reasons
    assert ("logo", "too_short") in reasons


def test_worker_counts_make_no_difference(recipe: Path, built: Path, tmp_path: Path) -> None:
    run_build(recipe, tmp_path / "two", workers=2)
    assert digests(tmp_path / "two") == digests(built)


def test_a_second_run_does_nothing(recipe: Path, built: Path) -> None:
    def times() -> dict[Path, int]:
        """Of all files but the notes of inputs, which are not taken of files that are too new."""
        found = (path for path in built.rglob("*") if path.is_file())
        return {path: path.stat().st_mtime_ns for path in found if path.name != "known.parquet"}

    before = times()
    assert run_build(recipe, built).nothing_to_do
    assert times() == before


def test_a_changed_threshold_redoes_what_follows_and_nothing_else(
    recipe: Path, built: Path, tmp_path: Path
) -> None:
    corpus, other = tmp_path / "corpus", recipe.parent / "other.yaml"
    first = run_build(recipe, corpus)
    other.write_text(recipe.read_text() + "curate: {max_aspect_ratio: 1.1}\n")
    again = run_build(other, corpus)
    assert [s.name for s in again.stages if s.skipped] == ["source", "filter", "dedup", "fetch"]
    assert 0 < again.manifest.samples < first.manifest.samples
    fresh = tmp_path / "fresh"
    run_build(other, fresh)
    assert digests(fresh) == digests(corpus)
    run_build(recipe, corpus)  # and back
    assert Corpus(str(corpus)).manifest == first.manifest
    assert stage_files(corpus) == stage_files(built)


def test_an_interrupted_change_does_not_leave_the_old_corpus_half_replaced(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from septet.pipelines.stages.write import WriteTask

    corpus, other = tmp_path / "corpus", recipe.parent / "third.yaml"
    run_build(recipe, corpus)
    whole = digests(corpus)
    other.write_text(recipe.read_text() + "curate: {identical_images: keep_one}\n")

    def fail(self: WriteTask, number: int) -> None:
        raise RuntimeError("disk gone")

    with monkeypatch.context() as patch:
        patch.setattr(WriteTask, "run", fail)
        with pytest.raises(RuntimeError, match="disk gone"):
            run_build(other, corpus)
    assert not (corpus / "corpus.json").exists()
    run_build(recipe, corpus)
    assert digests(corpus) == whole


@pytest.mark.skipif(not may_hide(), reason="mounts need a user namespace")
def test_a_full_disk_is_told_and_leaves_whole_files_alone(
    recipe: Path, built: Path, tmp_path: Path
) -> None:
    """With more space the build goes on to the same corpus."""
    hidden = ["unshare", "--user", "--map-root-user", "--mount"]
    command = [sys.executable, "-m", "tests.pipelines.full_disk", recipe, tmp_path / "corpus"]
    done = subprocess.run([*hidden, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    *full, whole = found["told"]
    named = re.compile(rf"StageFailed: .*No space left on device: '{tmp_path}/corpus/.*' \(in ")
    assert len({error.split()[2] for error in full}) > 2  # in stages of all kinds
    assert all(named.match(error) for error in full), full
    assert whole == "built" and not found["left"]
    assert found["digests"] == digests(built)


def test_two_builds_at_once_are_refused(tmp_path: Path) -> None:
    recipe = write_site(tmp_path / "in")
    corpus = tmp_path / "corpus"
    with (
        locked(str(corpus), alone=True, busy="here"),
        pytest.raises(FolderBusyError, match="another build or annotation"),
    ):
        run_build(recipe, corpus)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(1, 16), (2, 4)])
def test_killed_at_any_moment_and_resumed(
    recipe: Path, built: Path, tmp_path: Path, workers: int, kills: int
) -> None:
    rng = random.Random(workers)
    FORKS.start(os.getpid).join()  # once the server has imported what a build needs
    begin = time.monotonic()
    FORKS.start(run_build, recipe, tmp_path / "timed", workers).join()
    whole_build = time.monotonic() - begin
    assert digests(tmp_path / "timed") == digests(built)

    killed = rounds = 0
    while killed < kills:
        corpus = tmp_path / f"round-{rounds}"
        rounds += 1
        while True:  # killed again and again on the way to one corpus
            child = FORKS.start(run_build, recipe, corpus, workers)
            # Until there have been enough kills; a slow machine might else never finish a stage.
            child.join(rng.uniform(0.05, 0.4) * whole_build if killed < kills else None)
            if not child.is_alive():
                break
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
            killed += 1
        assert child.exitcode == 0
        assert digests(corpus) == digests(built)
        assert not list(corpus.rglob(f"*{TEMPORARY_SUFFIX}"))


def test_killed_in_the_first_and_last_moment_of_each_pass(tmp_path: Path) -> None:
    recipe = write_site(tmp_path / "site", parts=2, pages=4, images=3)
    run_build(recipe, tmp_path / "whole")
    corpus, log = tmp_path / "corpus", tmp_path / "kills"
    codes = build_through_kills(recipe, corpus, log)
    assert codes[-1] == 0
    passes = [
        "source", "filter: sites", "filter", "dedup: survey", "dedup: plan", "fetch: missing",
        "fetch", "fetch: located", "curate", "write", "report",
    ]  # fmt: skip
    moments = [f"{name}: {moment}" for name in passes for moment in ("first", "last")]
    killed = log.read_text().splitlines()
    assert killed == [moment for moment in moments if moment in killed]
    assert {f"{name}: first" for name in passes} <= {*killed}
    # A pass may be over before the kill of its first moment comes; then it has no last one.
    assert len(killed) > 1.5 * len(passes)
    assert len(codes) - 1 >= len(passes)
    assert digests(corpus) == digests(tmp_path / "whole")
    assert not list(corpus.rglob(f"*{TEMPORARY_SUFFIX}"))


@pytest.mark.parametrize("name", ["a::b [1] 100% #1=@?*", "~x"])
def test_any_local_name_of_folders(tmp_path: Path, name: str) -> None:
    recipe = write_site(tmp_path / name / "in", parts=1, pages=6, images=8)
    corpus = tmp_path / name / "corpus"
    run_build(recipe, corpus)
    assert check_corpus(str(corpus), True, Console(quiet=True)) == []
    assert len(Corpus(str(corpus))) == corpus_statistics(str(corpus)).samples > 0
