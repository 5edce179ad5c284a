"""The demo corpus on a real Spark cluster: the same bytes as on the embedded runner."""

import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.runners import make_runner
from preprocess.files import TEMPORARY_SUFFIX
from tests.corpora import digests, run_build
from tests.distributed.conftest import SparkCluster, started_cluster
from tests.distributed.test_spark_cluster import age

pytestmark = pytest.mark.slow

DEMO = Path(__file__).parents[2] / "examples/recipes/demo.yaml"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the demo corpus as the embedded runner builds it."""
    corpus = tmp_path_factory.mktemp("embedded") / "corpus"
    run_build(DEMO, corpus)
    return digests(corpus)


def test_embedded_with_two_workers(embedded: dict[str, str], tmp_path: Path) -> None:
    run_build(DEMO, tmp_path / "corpus", workers=2)
    assert digests(tmp_path / "corpus") == embedded


def test_spark_with_one_core(spark_parts: None, embedded: dict[str, str], tmp_path: Path) -> None:
    with started_cluster(tmp_path / "state", cores=1) as cluster:
        corpus = tmp_path / "corpus"
        run_build(DEMO, corpus, runner=cluster.runner(str(corpus)))
    assert digests(corpus) == embedded


@pytest.fixture
def killer(spark_cluster: SparkCluster) -> Iterator[list[int]]:
    """Kills Python workers (SIGKILL) at random moments; gives the list of those killed.

    Workers of the first two seconds are spared: one that dies between its first and its second
    connection is awaited by its executor for three minutes before the task is tried again.
    """
    draw, killed, over = random.Random(5), [], threading.Event()

    def kill() -> None:
        while not over.wait(draw.uniform(0.3, 1.5)):
            workers = [pid for pid in spark_cluster.python_workers() if age(pid) > 2]
            if workers:
                killed.append(draw.choice(workers))
                os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    yield killed
    over.set()
    thread.join()


def test_spark_with_two_cores_and_killed_workers(
    spark_cluster: SparkCluster, killer: list[int], embedded: dict[str, str], tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    run_build(DEMO, corpus, runner=spark_cluster.runner(str(corpus)))
    assert len(killer) >= 3  # a bundle's worker is young: few are old enough to be killed
    assert digests(corpus) == embedded
    assert not list(corpus.rglob(f"*{TEMPORARY_SUFFIX}"))


def test_prism(embedded: dict[str, str], tmp_path: Path) -> None:
    binary = os.environ.get("SEPTET_PRISM") or shutil.which("prism")
    if binary is None:
        pytest.skip("no prism on PATH or in SEPTET_PRISM")
    corpus = tmp_path / "corpus"
    prism = make_runner("prism", 1, [f"--prism_location={binary}"], str(corpus))
    run_build(DEMO, corpus, runner=prism)
    assert digests(corpus) == embedded
