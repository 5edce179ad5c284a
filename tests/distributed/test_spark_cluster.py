import os
import random
import signal
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.runners import RunnerError, StageFailed, make_runner
from preprocess import files
from tests.distributed.small_stage import BUCKETS, ROWS, refusing_stage, small_stage

pytestmark = pytest.mark.slow


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): files.sha256(str(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_spark_writes_what_the_embedded_runner_writes(spark_cluster, tmp_path: Path) -> None:
    make_runner("local").run("small", small_stage(str(tmp_path / "local"), 12))
    spark_cluster.runner().run("small", small_stage(str(tmp_path / "spark"), 12))
    assert digests(tmp_path / "spark") == digests(tmp_path / "local")
    rows = sum(pq.read_metadata(path).num_rows for path in (tmp_path / "spark/buckets").iterdir())
    assert rows == 12 * ROWS
    assert len(digests(tmp_path / "spark")) == 12 + BUCKETS


def age(pid: int) -> float:
    """Seconds since the process started; 0 when it has ended."""
    try:
        started = int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def test_killed_workers_are_replaced(spark_cluster, tmp_path: Path) -> None:
    """Ten Python workers are killed (SIGKILL) at random moments of one stage.

    Workers of the first two seconds are spared: one that dies between its first and its second
    connection is awaited by its executor for three minutes before the task is tried again.
    """
    tasks = 96
    make_runner("local").run("small", small_stage(str(tmp_path / "local"), tasks))
    random_ = random.Random(17)
    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while len(killed) < 10 and not ended.wait(random_.uniform(0.5, 3.0)):
            workers = [pid for pid in spark_cluster.python_workers() if age(pid) > 2]
            if workers:
                killed.append(random_.choice(workers))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        spark_cluster.runner().run("small", small_stage(str(tmp_path / "spark"), tasks, 0.4))
    finally:
        ended.set()
        killer.join()
    assert len(killed) == 10
    files.remove_temporaries(str(tmp_path / "spark"))
    assert digests(tmp_path / "spark") == digests(tmp_path / "local")


def test_a_failure_on_spark_is_told_with_its_step(spark_cluster) -> None:
    started = time.monotonic()
    with pytest.raises(StageFailed) as failure:
        spark_cluster.runner().run("filter", refusing_stage)
    assert str(failure.value) == (
        "stage filter failed: ValueError: task a has no rows (in filter/captions)"
    )
    assert time.monotonic() - started < 120


def test_no_job_server() -> None:
    with pytest.raises(RunnerError, match=r"job server does not answer at 127\.0\.0\.1:1 "):
        make_runner(
            "spark", options=["--job_endpoint=127.0.0.1:1", "--environment_config=127.0.0.1:2"]
        ).check()
