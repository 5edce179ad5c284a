"""Real clusters on this machine, for the tests of this folder."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from septet.pipelines.runners import Runner, make_runner
from tests.object_store import object_store
from tests.ports import free_ports

CHECKOUT = Path(__file__).parents[2]
INFRA = CHECKOUT / "infra"
KILLS = 10
"""Of executors, and of Python workers, in one build."""


@dataclass(frozen=True)
class Cluster:
    """A cluster of Spark or Flink, Beam's job server and a pool of Python workers."""

    name: str
    job_endpoint: str
    worker_pool: str
    state: Path

    @property
    def options(self) -> list[str]:
        """The Beam flags that choose this cluster."""
        where = [f"--job_endpoint={self.job_endpoint}", f"--environment_config={self.worker_pool}"]
        # As many Python workers as a task manager has slots: `SETTINGS`.
        return [*where, "--sdk_worker_parallelism=2"] if self.name == "flink" else where

    def runner(self, corpus: str = "", inputs: tuple[str, ...] = ()) -> Runner:
        """A checked runner on this cluster."""
        runner = make_runner(self.name, 1, self.options, corpus, inputs)
        runner.check()
        return runner

    def python_workers(self) -> list[int]:
        """The process ids of the Python workers that run now and are connected: one that dies
        between its first and its second connection is awaited by its executor for three minutes
        before the task is tried again."""
        pool = int((self.state / "pool.pid").read_text().split()[0])
        connected = _connected()
        # pool -> fork server -> workers
        workers = [pid for server in _children(pool) for pid in _children(server)]
        return [pid for pid in workers if len(_sockets(pid) & connected) > 2]

    def executors(self) -> list[int]:
        """The process ids of Spark's executors that run now, children of its worker daemon; not
        of those that have not registered yet."""
        daemon = int((self.state / "worker.pid").read_text().split()[0])
        log = (self.state / "jobserver.log").read_text()
        registered = set(re.findall(r"Registered executor .* with ID (\d+),", log))
        return [pid for pid in _children(daemon) if _executor_id(pid) in registered]

    def kill_daemon(self) -> None:
        """Kill Spark's worker daemon (SIGKILL), with which its executors end, and start it again
        with the same words, as the service manager of its machine would."""
        note = self.state / "worker.pid"
        daemon = Path("/proc") / note.read_text().split()[0]
        words = (daemon / "cmdline").read_text().rstrip("\0").split("\0")
        variables = (daemon / "environ").read_text().rstrip("\0").split("\0")
        os.kill(int(daemon.name), signal.SIGKILL)
        with (self.state / "worker-2.log").open("w") as log:
            again = subprocess.Popen(
                words, env=dict(variable.split("=", 1) for variable in variables),
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        started = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(again.pid)], capture_output=True, text=True
        )
        note.write_text(f"{again.pid}\n{started.stdout}")


@contextmanager
def killing_workers(
    running: Callable[[], list[int]],
    most: int,
    seed: int,
    pauses: tuple[float, float],
    afterwards: Callable[[], None],
) -> Iterator[list[int]]:
    """Kills some of the workers that are `running` (SIGKILL), at random moments while the block
    runs, at most `most`; gives the list of those that it killed. Calls `afterwards` once the last one is dead.
    """
    draw = random.Random(seed)
    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while len(killed) < most and not ended.wait(draw.uniform(*pauses)):
            if workers := running():
                killed.append(draw.choice(workers))
                os.kill(killed[-1], signal.SIGKILL)
        afterwards()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        ended.set()
        killer.join()


def _executor_id(pid: int) -> str:
    """The number by which Spark's driver knows an executor; empty when it has ended."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return words[words.index("--executor-id") + 1] if "--executor-id" in words else ""
    return ""


def _connected() -> set[str]:
    """The sockets of this machine that are connected, by the names that descriptors have."""
    tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return {f"socket:[{fields[9]}]" for fields in lines if fields[3] == "01"}


def _sockets(pid: int) -> set[str]:
    """The names of a process's open descriptors; none when it has ended."""
    found = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(") ", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


SETTINGS = {
    "spark": [
        "spark.default.parallelism=2",
        f"spark.task.maxFailures={4 * KILLS}",
        f"spark.stage.maxConsecutiveAttempts={4 * KILLS}",
        # Whoever was reading from an executor that was killed asks it again for 15 s, by default.
        "spark.shuffle.io.maxRetries=1",
        "spark.shuffle.io.retryWait=100ms",
        # A task that takes longer than another's of its stage gets a second attempt beside it.
        "spark.speculation=true",
        "spark.speculation.interval=500ms",
        "spark.speculation.multiplier=1.1",
        "spark.speculation.quantile=0.5",
        "spark.speculation.minTaskRuntime=3s",
    ],
    "flink": [
        f"restart-strategy.fixed-delay.attempts={KILLS + 2}",
        "taskmanager.numberOfTaskSlots=2",
        "taskmanager.cpu.cores=2",
        "parallelism.default=2",
    ],
}
"""A task is tried as often as the kills of a test may hit it."""


@contextmanager
def started_cluster(name: str, state: Path, cores: int) -> Iterator[Cluster]:
    """A cluster that runs while the block does."""
    base = free_ports(6, 20077)
    script = [str(INFRA / name / "cluster.sh")]
    where = ["--state", str(state), "--port", str(base), "--cores", str(cores)]
    conf = [word for setting in SETTINGS[name] for word in ("--conf", setting)]
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(
            [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    started = subprocess.run(
        [*script, "start", *where, *conf], env=environment, capture_output=True, text=True
    )
    if started.returncode:
        pytest.fail(f"the {name} cluster did not start:\n{started.stderr}")
    try:
        yield Cluster(name, f"127.0.0.1:{base + 2}", f"127.0.0.1:{base + 4}", state)
    finally:
        subprocess.run([*script, "stop", *where], check=True)


def _fetch_parts(name: str) -> None:
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"tests of {name} need {' and '.join(missing)} on PATH")
    subprocess.run([INFRA / "parts.sh", name], check=True, capture_output=True, text=True)


@pytest.fixture(scope="session")
def spark_parts() -> None:
    """Makes sure of Spark's parts; skipped where Java or Maven is missing."""
    _fetch_parts("spark")


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of a bucket in an object store that the workers of `spark_cluster` can reach."""
    with object_store() as url:
        yield url


@pytest.fixture(scope="session")
def spark_cluster(
    spark_parts: None, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A running cluster of two cores, for all tests that are content with one."""
    with started_cluster("spark", tmp_path_factory.mktemp("spark"), cores=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def flink_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running session cluster of one task manager with two slots; skipped where Java or Maven is
    missing."""
    _fetch_parts("flink")
    with started_cluster("flink", tmp_path_factory.mktemp("flink"), cores=1) as cluster:
        yield cluster
