"""Beam's embedded runner: the Beam pipelines of graphs, flags and messages."""

import json
from pathlib import Path

import pytest

from septet.pipelines.build import BuildResult
from septet.pipelines.runners import RunnerError, StageFailed, make_runner
from septet.pipelines.runners.usage import Note, read_notes
from septet.pipelines.stages.graphs import map_tasks, shuffle_tasks
from septet.preprocess import files
from tests.corpora import digests, run_build, write_site
from tests.pipelines.runners.test_local import (
    TASKS,
    Refuse,
    SplitNumbers,
    Tens,
    WriteGroup,
    WriteTask,
)


def test_a_graph_of_tasks(tmp_path: Path) -> None:
    (tmp_path / "3").write_text("as it was")
    runner = make_runner("embedded")
    runner.check()
    runner.run("write", map_tasks(WriteTask(str(tmp_path)), TASKS))
    assert len([*tmp_path.iterdir()]) == 20
    assert (tmp_path / "3").read_text() == "as it was"


def test_a_graph_with_shuffles(tmp_path: Path) -> None:
    steps = [SplitNumbers(35), Tens()]
    graph = shuffle_tasks(steps, range(3), WriteGroup(str(tmp_path)), range(5))
    make_runner("embedded").run("two", graph)
    for group in range(5):
        wanted = [number for number in range(3000) if number % 35 // 10 == group]
        assert (tmp_path / str(group)).read_text() == repr(wanted)


def test_a_failure_is_told_with_its_step(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StageFailed) as failure:
        make_runner("embedded").run("filter", map_tasks(Refuse(""), TASKS))
    assert str(failure.value) == (
        "stage filter failed: ValueError: expected a table,\nfound a chair (in filter/captions)"
    )
    assert "Traceback" not in capfd.readouterr().err


def test_metrics_hold_the_figures(tmp_path: Path) -> None:
    from septet.pipelines.runners.beam import BeamRunner, pipeline_of

    runner = make_runner("embedded")
    assert isinstance(runner, BeamRunner)
    graph = map_tasks(WriteTask(str(tmp_path)), TASKS)
    result = runner.run_pipeline("write", pipeline_of(graph))
    found = {m.key.metric.name: m.committed for m in result.metrics().query()["counters"]}
    assert found == {"in": 60, "out": 40, "rejected_short": 20}


@pytest.mark.parametrize(
    ("workers", "options", "message"),
    [
        (2, [], "has one worker, not 2"),
        (1, ["--no_such_flag=1"], "knows no flag '--no_such_flag=1'"),
        (1, ["--direct_num_workers=3"], "set by Septet itself"),
        (1, ["--runner=FlinkRunner"], "set by Septet itself"),
    ],
)
def test_check_says_what_to_set(workers: int, options: list[str], message: str) -> None:
    with pytest.raises(RunnerError, match=message):
        make_runner("embedded", workers, options).check()


def test_an_attempt_that_did_not_end_is_a_retry(tmp_path: Path) -> None:
    for ends in (True, False, True):
        note = Note(str(tmp_path))
        note.begin()
        note.shuffled(b"12345")
        files.write_bytes(str(tmp_path / "out" / str(ends)), bytes(1000))
        if ends:
            note.end()
    files.remove(str(tmp_path / "out"))
    used = read_notes(str(tmp_path))
    assert (used.retries, used.bytes_written, used.bytes_shuffled) == (1, 2000, 10)


def bytes_used(result: BuildResult) -> list[tuple[str, int, int]]:
    """By stage; the fetch's files hold times of day."""
    return [
        (one.name, one.used.bytes_written * (one.name != "fetch"), one.used.bytes_shuffled)
        for one in result.stages
    ]


@pytest.mark.slow
def test_a_build_is_the_same_on_local_workers_and_on_beam(tmp_path: Path) -> None:
    """What its tasks used is known of each: bytes alike, and all else of every stage."""
    recipe = write_site(tmp_path / "in", parts=2, pages=12, images=12)
    alone = run_build(recipe, tmp_path / "one", workers=1)
    results = [run_build(recipe, tmp_path / str(n), workers=n) for n in (2, 4)]
    runner = make_runner("embedded", corpus=str(tmp_path / "beam"))
    results.append(run_build(recipe, tmp_path / "beam", runner=runner))
    for result in results:
        assert digests(Path(result.corpus)) == digests(tmp_path / "one")
        assert bytes_used(result) == bytes_used(alone)
        told = json.loads((Path(result.corpus) / "stats/build.json").read_text())["stages"]
        assert all(one["bytes_written"] > 0 and one["peak_rss"] > 2**20 for one in told)
        assert all(one["cpu_seconds"] > 0 and one["retries"] == 0 for one in told)
        assert not [*Path(result.corpus).rglob("usage")]
