"""A real Spark cluster on this machine, for the tests of this folder."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.runners import Runner, make_runner

CHECKOUT = Path(__file__).parents[2]
SPARK = CHECKOUT / "infra" / "spark"


@dataclass(frozen=True)
class SparkCluster:
    """A standalone master and worker, Beam's job server and a pool of Python workers."""

    job_endpoint: str
    worker_pool: str
    state: Path

    @property
    def options(self) -> list[str]:
        """The Beam flags that choose this cluster."""
        return [f"--job_endpoint={self.job_endpoint}", f"--environment_config={self.worker_pool}"]

    def runner(self, corpus: str = "", inputs: tuple[str, ...] = ()) -> Runner:
        """A checked Spark runner on this cluster."""
        runner = make_runner("spark", 1, self.options, corpus, inputs)
        runner.check()
        return runner

    def python_workers(self) -> list[int]:
        """The process ids of the Python workers that run now."""
        pool = int((self.state / "pool.pid").read_text().split()[0])
        # pool -> fork server -> workers
        return [pid for server in _children(pool) for pid in _children(server)]


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


def _free_ports(count: int) -> int:
    """The first of `count` neighbouring free ports."""
    for base in range(20077, 60000, count):
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
    raise RuntimeError("no free ports")


@contextmanager
def started_cluster(
    state: Path, cores: int, settings: tuple[str, ...] = ("spark.default.parallelism=16",)
) -> Iterator[SparkCluster]:
    """A cluster that runs while the block does.

    Bundles are short beside the time between two kills, or none would ever end.
    """
    base = _free_ports(6)
    script = [str(SPARK / "cluster.sh")]
    where = ["--state", str(state), "--port", str(base)]
    conf = [word for setting in settings for word in ("--conf", setting)]
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(
            [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    started = subprocess.run(
        [*script, "start", *where, "--cores", str(cores), *conf],
        env=environment,
        capture_output=True,
        text=True,
    )
    if started.returncode:
        pytest.fail(f"the Spark cluster did not start:\n{started.stderr}")
    try:
        yield SparkCluster(f"127.0.0.1:{base + 2}", f"127.0.0.1:{base + 4}", state)
    finally:
        subprocess.run([*script, "stop", *where], check=True)


@pytest.fixture(scope="session")
def spark_parts() -> None:
    """Makes sure of Spark's parts; skipped where Java or Maven is missing."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"Spark tests need {' and '.join(missing)} on PATH")
    subprocess.run([SPARK / "parts.sh"], check=True, capture_output=True, text=True)


@pytest.fixture(scope="session")
def spark_cluster(
    spark_parts: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SparkCluster]:
    """A running cluster of two cores."""
    with started_cluster(tmp_path_factory.mktemp("spark"), cores=2) as cluster:
        yield cluster
