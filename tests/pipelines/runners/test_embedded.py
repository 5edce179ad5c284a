"""Beam's embedded runner: the Beam pipelines of graphs, flags and messages."""

from pathlib import Path

import pytest

from septet.pipelines.runners import RunnerError, StageFailed, make_runner
from septet.pipelines.stages.graphs import map_tasks, shuffle_tasks
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


@pytest.mark.slow
def test_a_build_is_the_same_on_local_workers_and_on_beam(tmp_path: Path) -> None:
    recipe = write_site(tmp_path / "in", parts=2, pages=12, images=12)
    run_build(recipe, tmp_path / "one", workers=1)
    wanted = digests(tmp_path / "one")
    for workers in (2, 4):
        run_build(recipe, tmp_path / str(workers), workers=workers)
        assert digests(tmp_path / str(workers)) == wanted
    runner = make_runner("embedded", corpus=str(tmp_path / "beam"))
    run_build(recipe, tmp_path / "beam", runner=runner)
    assert digests(tmp_path / "beam") == wanted
