import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from septet.pipelines.runners import RunnerError, StageFailed, make_runner
from septet.preprocess import files
from tests.distributed.small_stage import BUCKETS, ROWS, refusing_stage, small_stage

pytestmark = pytest.mark.slow


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): files.sha256(str(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_spark_writes_what_the_embedded_runner_writes(spark_cluster, tmp_path: Path) -> None:
    make_runner("embedded").run_pipeline("small", small_stage(str(tmp_path / "local"), 12))
    spark_cluster.runner().run_pipeline("small", small_stage(str(tmp_path / "spark"), 12))
    assert digests(tmp_path / "spark") == digests(tmp_path / "local")
    rows = sum(pq.read_metadata(path).num_rows for path in (tmp_path / "spark/buckets").iterdir())
    assert rows == 12 * ROWS
    assert len(digests(tmp_path / "spark")) == 12 + BUCKETS
    log = (spark_cluster.state / "jobserver.log").read_text()
    assert log.count("Added JAR") == 1  # executors fetch none of the 262 that they have


def test_a_failure_on_spark_is_told_with_its_step(spark_cluster) -> None:
    started = time.monotonic()
    with pytest.raises(StageFailed) as failure:
        spark_cluster.runner().run_pipeline("filter", refusing_stage)
    assert str(failure.value) == (
        "stage filter failed: ValueError: task a has no rows (in filter/captions)"
    )
    assert time.monotonic() - started < 120


def test_no_job_server() -> None:
    with pytest.raises(RunnerError, match=r"job server does not answer at 127\.0\.0\.1:1 "):
        make_runner(
            "spark", options=["--job_endpoint=127.0.0.1:1", "--environment_config=127.0.0.1:2"]
        ).check()
