import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import apache_beam as beam
import pytest

from septet.pipelines.runners import RunnerError, StageFailed, make_runner
from septet.preprocess import files


class WriteTask(beam.DoFn):
    """Writes one file for each task, as the stages of a build do."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def process(self, task: str):
        files.write_bytes(files.join(self.folder, task), str(os.getpid()).encode())
        yield task


class Refuse(beam.DoFn):
    def process(self, task: str):
        if task == "7":
            raise ValueError("expected a table,\nfound a chair")
        yield task


class Die(beam.DoFn):
    def process(self, task: str):
        if task == "7":
            os.kill(os.getpid(), signal.SIGKILL)
        # The other worker would take 20 seconds more: its stage is lost, it must not be awaited.
        time.sleep(2)
        yield task


def tasks(pipeline: beam.Pipeline, n: int = 20) -> beam.PCollection[str]:
    return pipeline | beam.Create([str(i) for i in range(n)])


def write_tasks(folder: Path):
    def build(pipeline: beam.Pipeline) -> None:
        _ = tasks(pipeline) | beam.ParDo(WriteTask(str(folder)))

    return build


def pids(folder: Path) -> Counter[str]:
    return Counter(path.read_text() for path in folder.iterdir())


def test_one_worker_runs_in_this_process(tmp_path: Path) -> None:
    runner = make_runner("local")
    runner.check()
    runner.run_pipeline("write", write_tasks(tmp_path))
    assert pids(tmp_path) == {str(os.getpid()): 20}


def test_two_workers_get_half_of_the_tasks_each(tmp_path: Path) -> None:
    runner = make_runner("local", workers=2)
    runner.check()
    runner.run_pipeline("write", write_tasks(tmp_path))
    assert sorted(pids(tmp_path).values()) == [10, 10]
    assert str(os.getpid()) not in pids(tmp_path)


def test_workers_see_the_environment_of_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make_runner("local", workers=2)
    for value in ("first", "second"):
        monkeypatch.setenv("SEPTET_TEST_VALUE", value)

        def build(pipeline: beam.Pipeline) -> None:
            _ = (
                tasks(pipeline, 4)
                | beam.Map(lambda task: f"{task}-{os.environ['SEPTET_TEST_VALUE']}")
                | beam.ParDo(WriteTask(str(tmp_path)))
            )

        runner.run_pipeline("environment", build)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{i}-{value}" for i in range(4) for value in ("first", "second")}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_told_with_its_step(workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = tasks(pipeline) | "filter/captions" >> beam.ParDo(Refuse())

    with pytest.raises(StageFailed) as failure:
        make_runner("local", workers=workers).run_pipeline("filter", build)
    assert str(failure.value) == (
        "stage filter failed: ValueError: expected a table,\nfound a chair (in filter/captions)"
    )
    assert "Traceback" not in capfd.readouterr().err


def test_a_killed_worker_fails_the_stage_at_once() -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = tasks(pipeline) | beam.ParDo(Die())

    started = time.monotonic()
    with pytest.raises(StageFailed, match=r"worker process \d+ died \(SIGKILL: out of memory"):
        make_runner("local", workers=2).run_pipeline("die", build)
    assert time.monotonic() - started < 18


_WRITES_FOR_EVER = """
import os, sys, time
import apache_beam as beam
from septet.pipelines.runners import make_runner

class Write(beam.DoFn):
    def process(self, task):
        while True:
            with open(os.path.join(sys.argv[1], str(os.getpid())), "a") as out:
                out.write("x")
            time.sleep(0.02)

if __name__ == "__main__":
    make_runner("local", workers=2).run_pipeline(
        "write", lambda pipeline: pipeline | beam.Create(["a", "b"]) | beam.ParDo(Write())
    )
"""


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_workers_stop_writing_when_the_driver_ends(tmp_path: Path, how: signal.Signals) -> None:
    script, out = tmp_path / "driver.py", tmp_path / "out"
    out.mkdir()
    script.write_text(_WRITES_FOR_EVER.replace("sys.argv[1]", repr(str(out))))
    driver = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    while len([*out.iterdir()]) < 2:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(how)
    driver.wait(20)
    workers = [int(path.name) for path in out.iterdir()]
    end = time.monotonic() + 5
    while any(_runs(pid) for pid in workers):
        assert time.monotonic() < end, "a worker outlives the driver"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("workers", "options", "message"),
    [
        (0, [], "1 worker or more"),
        (1, ["--no_such_flag=1"], "knows no flag '--no_such_flag=1'"),
        (1, ["--direct_num_workers=3"], "set by Septet itself"),
        (1, ["--runner=FlinkRunner"], "set by Septet itself"),
    ],
)
def test_check_says_what_to_set(workers: int, options: list[str], message: str) -> None:
    with pytest.raises(RunnerError, match=message):
        make_runner("local", workers=workers, options=options).check()


def test_unknown_runner() -> None:
    with pytest.raises(RunnerError, match="no runner 'flink'; there are local"):
        make_runner("flink")
