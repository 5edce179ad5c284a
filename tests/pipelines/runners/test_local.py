import importlib.util
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from septet.pipelines.runners import (
    RunnerError,
    StageFailed,
    cores,
    local,
    make_runner,
    processes,
)
from septet.pipelines.runners.base import Job
from septet.pipelines.runners.local import LocalRunner
from septet.pipelines.stages.counts import UNDER_WAY, Counts
from septet.pipelines.stages.graphs import map_tasks, shuffle_tasks
from septet.preprocess import files
from septet.preprocess.scratch import scratch_folder


@dataclass
class WriteTask:
    """Writes one file for each task, as the stages of a build do."""

    folder: str
    stage = "filter/captions"

    def setup(self) -> None:
        pass

    def path(self, task: str) -> str:
        return files.join(self.folder, task)

    def text(self, task: str) -> str:
        return str(os.getpid())

    def run(self, task: str) -> Counts:
        files.write_bytes(self.path(task), self.text(task).encode())
        return Counts(3, 2, Counter(short=1))


class WriteEnvironment(WriteTask):
    def text(self, task: str) -> str:
        return f"{os.environ['SEPTET_TEST_VALUE']} {Path.cwd()}"


class WriteImports(WriteTask):
    def text(self, task: str) -> str:
        return " ".join(name for name in local._PRELOAD if name in sys.modules)


class Refuse(WriteTask):
    def run(self, task: str) -> None:
        if task == "7":
            raise ValueError("expected a table,\nfound a chair")


class End(WriteTask):
    def run(self, task: str) -> None:
        if task == "7":
            sys.exit(0)


class Die(WriteTask):
    def run(self, task: str) -> None:
        if task == "7":
            os.kill(os.getpid(), signal.SIGKILL)
        # The other worker would take minutes more: its stage is lost, it must not be awaited.
        time.sleep(0.1 if int(task) < 7 else 60)


class Slow(WriteTask):
    def run(self, task: str) -> None:
        time.sleep(0.2)
        super().run(task)


class Long(WriteTask):
    def run(self, task: str) -> Counts:
        counts = Counts()
        UNDER_WAY.append(counts)
        for _ in range(25):
            counts.rows_in += 1
            time.sleep(0.1)
        return super().run(task)


class WriteForEver(WriteTask):
    def run(self, task: str) -> None:
        while True:
            with Path(self.folder, str(os.getpid())).open("a") as out:
                out.write("x")
            time.sleep(0.02)


TASKS = [str(i) for i in range(20)]


@pytest.fixture(params=["forked", "spawned"])
def runner(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalRunner]:
    monkeypatch.setattr(processes, "may_fork", lambda: request.param == "forked")
    with make_runner("local", workers=2) as runner:
        assert isinstance(runner, LocalRunner)
        runner.check()
        yield runner


def pids(folder: Path) -> Counter[str]:
    return Counter(path.read_text() for path in folder.iterdir())


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    make_runner("local", 1).run("write", map_tasks(WriteTask(str(tmp_path)), TASKS))
    assert pids(tmp_path) == {str(os.getpid()): 20}


def test_a_single_task_starts_no_process(tmp_path: Path, runner: LocalRunner) -> None:
    runner.run("write", map_tasks(WriteTask(str(tmp_path)), TASKS[:1]))
    assert pids(tmp_path) == {str(os.getpid()): 1}
    assert runner._processes is not None and runner._processes.workers == []


def test_workers_are_started_once_and_share_the_tasks(tmp_path: Path, runner: LocalRunner) -> None:
    runner.run("write", map_tasks(Slow(str(tmp_path / "a")), TASKS))
    runner.run("write", map_tasks(Slow(str(tmp_path / "b")), TASKS))
    first, second = pids(tmp_path / "a"), pids(tmp_path / "b")
    assert first.keys() == second.keys() and len(first) == 2
    assert str(os.getpid()) not in first
    assert min(*first.values(), *second.values()) >= 6


def test_a_task_that_is_complete_is_not_run_again(tmp_path: Path, runner: LocalRunner) -> None:
    (tmp_path / "3").write_text("as it was")
    runner.run("write", map_tasks(WriteTask(str(tmp_path)), TASKS))
    assert (tmp_path / "3").read_text() == "as it was" and len(pids(tmp_path)) == 3


def test_workers_see_the_environment_of_each_run(
    tmp_path: Path, runner: LocalRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("first", "second"):
        (tmp_path / value).mkdir()
        monkeypatch.setenv("SEPTET_TEST_VALUE", value)
        monkeypatch.chdir(tmp_path / value)
        out = tmp_path / f"out-{value}"
        runner.run("environment", map_tasks(WriteEnvironment(str(out)), TASKS[:4]))
        assert pids(out) == {f"{value} {tmp_path / value}": 4}


def test_workers_are_born_with_what_tasks_import(tmp_path: Path, runner: LocalRunner) -> None:
    runner.run("imports", map_tasks(WriteImports(str(tmp_path)), TASKS[:4]))
    there = [name for name in local._PRELOAD if importlib.util.find_spec(name)]
    assert len(there) >= 5
    assert pids(tmp_path) == {" ".join(there): 4}
    assert set(there) <= sys.modules.keys(), "this process runs single tasks itself"


@pytest.mark.parametrize("workers", [1, 2])
def test_figures_are_told_while_tasks_run(tmp_path: Path, workers: int) -> None:
    told: list[tuple[int, Counts]] = []
    graph = map_tasks(WriteTask(str(tmp_path)), TASKS)
    with make_runner("local", workers) as runner:
        runner.run("write", graph, lambda tasks, counts: told.append((tasks, counts)))
    assert [tasks for tasks, _ in told] == [*range(1, 21)]
    assert told[-1][1] == Counts(60, 40, Counter(short=20))


def test_figures_of_a_long_task_are_told_before_its_end(
    tmp_path: Path, runner: LocalRunner
) -> None:
    told: list[tuple[int, int]] = []
    graph = map_tasks(Long(str(tmp_path)), TASKS[:2])
    runner.run("write", graph, lambda tasks, counts: told.append((tasks, counts.rows_in)))
    assert any(tasks == 0 and 0 < rows <= 50 for tasks, rows in told), told


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_told_with_its_step(workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StageFailed) as failure, make_runner("local", workers) as runner:
        runner.run("filter", map_tasks(Refuse(""), TASKS))
    assert str(failure.value) == (
        "stage filter failed: ValueError: expected a table,\nfound a chair (in filter/captions)"
    )
    assert "found a chair" in str(failure.value.__cause__)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_code_that_ends_its_process_fails_the_stage(workers: int) -> None:
    with pytest.raises(StageFailed) as failure, make_runner("local", workers) as runner:
        runner.run("filter", map_tasks(End(""), TASKS))
    assert str(failure.value) == "stage filter failed: SystemExit: 0 (in filter/captions)"


def test_a_killed_worker_fails_the_stage_at_once(tmp_path: Path, runner: LocalRunner) -> None:
    started = time.monotonic()
    message = r"worker process \d+ died at task 7 \(SIGKILL: out of memory.* \(in filter/captions\)"
    with pytest.raises(StageFailed, match=message):
        runner.run("die", map_tasks(Die(str(tmp_path)), TASKS))
    assert time.monotonic() - started < 18
    # And the same runner goes on, with new workers.
    runner.run("write", map_tasks(WriteTask(str(tmp_path)), TASKS))
    assert sum(pids(tmp_path).values()) == 20


@pytest.mark.parametrize(
    ("runner", "after"),
    [
        *(("forked", after) for after in (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2)),
        ("spawned", 0.01),  # the process that forks the workers was started in another way
    ],
    indirect=["runner"],
)
def test_a_worker_killed_right_after_its_fork_is_noticed(
    tmp_path: Path, runner: LocalRunner, after: float
) -> None:
    def kill() -> None:
        while runner._processes is None or not runner._processes.workers:
            time.sleep(0.0001)
        time.sleep(after)
        runner._processes.workers[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(StageFailed, match=r"died.*SIGKILL"):
        runner.run("write", map_tasks(Slow(str(tmp_path)), TASKS))
    killer.join()


@dataclass
class SplitNumbers:
    """Sends each number of a task to the group of its remainder."""

    groups: int
    stage = "split"

    def setup(self) -> None:
        pass

    def split(self, task: int) -> Iterator[tuple[int, bytes]]:
        for number in range(task * 1000, task * 1000 + 1000):
            yield number % self.groups, pickle.dumps(number)


class Tens:
    """Sends what a group got on to the group of its tens."""

    stage = "tens"

    def setup(self) -> None:
        pass

    def regroup(self, group: int, parts: list[bytes]) -> Iterator[tuple[int, bytes]]:
        for part in parts:
            yield group // 10, part


@dataclass
class WriteGroup(WriteTask):
    def run(self, group: int, parts: list[bytes]) -> Counts:  # type: ignore[override]
        assert parts == sorted(parts)
        numbers = sorted(pickle.loads(part) for part in parts)
        files.write_bytes(self.path(str(group)), repr(numbers).encode())
        return Counts(len(numbers), len(numbers))

    def path(self, task: object) -> str:
        return files.join(self.folder, str(task))


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("run_bytes", [1, 5000, 10**9])
def test_a_shuffle_brings_every_piece_to_its_group(
    tmp_path: Path, workers: int, run_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septet.pipelines.runners.spill.RUN_BYTES", run_bytes)
    corpus = tmp_path / "corpus"
    # Group 35 gets nothing.
    graph = shuffle_tasks(SplitNumbers(35), range(7), WriteGroup(str(tmp_path / "one")), range(36))
    two = shuffle_tasks(
        [SplitNumbers(35), Tens()], range(7), WriteGroup(str(tmp_path / "two")), range(5)
    )
    with make_runner("local", workers, corpus=str(corpus)) as runner:
        runner.run("one", graph)
        runner.run("two", two)
    for group in range(36):
        wanted = [number for number in range(7000) if number % 35 == group]
        assert (tmp_path / f"one/{group}").read_text() == repr(wanted)
    for group in range(5):
        wanted = [number for number in range(7000) if number % 35 // 10 == group]
        assert (tmp_path / f"two/{group}").read_text() == repr(wanted)
    assert list((corpus / "stages").iterdir()) == []


@pytest.mark.parametrize("corpus", ["", "memory://corpus", "gs://bucket/corpus"])
def test_what_is_shuffled_for_a_remote_corpus_lies_in_the_scratch_folder(corpus: str) -> None:
    runner = LocalRunner(Job(1, corpus=corpus))
    with runner._shuffle_folder(True) as folder:
        assert folder.parent == scratch_folder() and folder.is_dir()
    assert not folder.exists()


def test_a_failed_shuffle_leaves_no_files(tmp_path: Path, runner: LocalRunner) -> None:
    runner.job = type(runner.job)(2, corpus=str(tmp_path))
    with pytest.raises(StageFailed):
        runner.run("one", shuffle_tasks(SplitNumbers(3), ["a", "b"], WriteGroup(""), range(3)))
    assert list((tmp_path / "stages").iterdir()) == []


@pytest.mark.slow
def test_workers_killed_at_random_moments_never_hang_the_runner(tmp_path: Path) -> None:
    chance = random.Random(5)
    for attempt in range(4):
        runner = make_runner("local", 2, corpus=str(tmp_path)).__enter__()
        assert isinstance(runner, LocalRunner)
        over = threading.Event()

        def kill(runner: LocalRunner = runner, over: threading.Event = over) -> None:
            while not over.wait(chance.uniform(0, 0.3)):
                if runner._processes and runner._processes.workers:
                    chance.choice([*runner._processes.workers]).kill()
                    return

        killer = threading.Thread(target=kill)
        killer.start()
        work = WriteGroup(str(tmp_path / str(attempt)))
        try:
            runner.run("one", shuffle_tasks(SplitNumbers(90), range(30), work, range(90)))
        except StageFailed as failure:
            assert "died" in str(failure)
            runner.run("one", shuffle_tasks(SplitNumbers(90), range(30), work, range(90)))
        over.set()
        killer.join()
        runner.close()
        files.remove_temporaries(work.folder)  # as a build does; a killed worker may leave one
        assert {path.name for path in Path(work.folder).iterdir()} == {*map(str, range(90))}


_WRITES_FOR_EVER = """
import signal, sys
# Tests that run in the background of a shell were told to ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
from septet.pipelines.runners import make_runner
from septet.pipelines.stages.graphs import map_tasks
from tests.pipelines.runners.test_local import WriteForEver

with make_runner("local", workers=2) as runner:
    runner.run("write", map_tasks(WriteForEver(sys.argv[1]), ["a", "b"]))
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
    with (tmp_path / "stderr").open("wb") as stderr:
        driver = subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=stderr,
        )
    while len([*out.iterdir()]) < 2:
        assert driver.poll() is None, (tmp_path / "stderr").read_text()
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
        (1, ["--no_such_flag=1"], "--no_such_flag=1 is a flag for Beam"),
    ],
)
def test_check_says_what_to_set(workers: int, options: list[str], message: str) -> None:
    with pytest.raises(RunnerError, match=message):
        make_runner("local", workers=workers, options=options).check()


def test_workers_end_with_the_block_and_are_not_started_outside_of_one(tmp_path: Path) -> None:
    graph = map_tasks(WriteTask(str(tmp_path)), TASKS)
    with pytest.raises(ZeroDivisionError), make_runner("local", 2) as runner:
        runner.check()
        runner.run("write", graph)
        raise ZeroDivisionError
    assert len(pids(tmp_path)) == 2
    end = time.monotonic() + 5
    while any(_runs(int(pid)) for pid in pids(tmp_path)):
        assert time.monotonic() < end, "a worker outlives the block"
        time.sleep(0.01)
    for use in (runner.check, lambda: runner.run("write", map_tasks(WriteTask(""), TASKS))):
        with pytest.raises(RuntimeError, match="used inside of `with make_runner"):
            use()


def test_unknown_runner() -> None:
    with pytest.raises(RunnerError, match="no runner 'yarn'; there are local"):
        make_runner("yarn")


def test_the_default_is_a_worker_a_core_on_this_machine_alone() -> None:
    assert make_runner().job.workers == cores() >= 1
    assert make_runner("embedded").job.workers == Job().workers == 1


@pytest.mark.parametrize(("limit", "count"), [
    ("max 100000", 4), ("150000 100000", 2), ("200000 100000", 2), ("900000 100000", 4),
    ("1 100000", 1), ("", 4),
])  # fmt: skip
def test_cores_are_those_that_this_process_may_use(
    limit: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5, 7}, raising=False)
    assert cores() == count
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 9 if count == 4 else None)
    monkeypatch.setattr(Path, "read_text", lambda self: "")
    assert cores() == (9 if count == 4 else 1)


@pytest.mark.parametrize(("how", "told"), [
    (signal.SIGTERM, "SIGTERM"), (signal.SIGKILL, "SIGKILL: out of memory, or killed by hand"),
    (3, "exit status 3"), (0, "exit status 0"),
])  # fmt: skip
def test_how_a_worker_ended_is_told(how: int, told: str) -> None:
    nursery = processes.WorkerProcesses([], f"{__name__}:leave")
    (worker,) = nursery.ensure(1)
    if isinstance(how, signal.Signals):
        os.kill(worker.pid, how)
    else:
        worker.line.send(how)
    assert processes.ready([worker], 60) == [worker]
    assert processes.how_it_died(worker.bury()) == told
    assert nursery.workers == []
    nursery.close()


def leave(line: Connection) -> None:
    """The life of a worker that ends as it is told."""
    os._exit(line.recv())


def test_a_nursery_that_was_killed_is_told_with_its_signal(runner: LocalRunner) -> None:
    nursery = runner._nursery()
    os.kill(nursery._nursery, signal.SIGKILL)
    with pytest.raises(processes.WorkerDied, match="ended with status -9"):
        nursery.ensure(1)
