"""The demo corpus on real clusters: the same bytes as on this machine alone."""

import json
import os
import shutil
from pathlib import Path

import pytest

from septet.pipelines.runners import make_runner
from septet.preprocess.files import TEMPORARY_SUFFIX
from tests.corpora import digests, run_annotation, run_build, write_site
from tests.distributed.conftest import Cluster
from tests.pipelines.annotate.columns_to_test import HERE

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


def test_spark(spark_cluster: Cluster, embedded: dict[str, str], tmp_path: Path) -> None:
    """Of every stage the driver is told what its tasks used."""
    corpus = tmp_path / "corpus"
    result = run_build(DEMO, corpus, runner=spark_cluster.runner(str(corpus)))
    assert digests(corpus) == embedded
    assert not list(corpus.rglob(f"*{TEMPORARY_SUFFIX}"))
    used = [one.used for one in result.stages]
    assert all(one.cpu_seconds > 0 and one.bytes_written and one.peak_rss > 2**20 for one in used)
    assert sum(one.bytes_shuffled for one in used)


def test_a_column_on_spark(spark_cluster: Cluster, tmp_path: Path) -> None:
    """Each of the two executors has one process for all bundles, so that a model is loaded once.
    The driver is told what the tasks used."""
    recipe = write_site(tmp_path / "in", pages=48, images=40)
    run_build(recipe, tmp_path / "local")
    shutil.copytree(tmp_path / "local", tmp_path / "spark")
    runner = spark_cluster.runner(str(tmp_path / "spark"))
    loads: list[str] = []
    for kind in ("Words", "Hashes"):
        name = kind.lower()
        settings = {"loads": str(tmp_path / name)}
        ours = run_annotation(tmp_path / "local", f"{HERE}:{kind}", name=name, workers=2)
        theirs = run_annotation(
            tmp_path / "spark", f"{HERE}:{kind}", settings, name=name, runner=runner
        )
        assert ours == theirs and ours.values
        used = json.loads((tmp_path / f"spark/columns/{name}/build.json").read_text())
        assert used["cpu_seconds"] > 0 and used["bytes_written"] and used["peak_rss"] > 2**20
        processes = (tmp_path / name).read_text().splitlines()
        assert len(processes) == len(set(processes))
        loads += processes
    assert len(set(loads)) <= 2
    assert digests(tmp_path / "spark") == digests(tmp_path / "local")
    assert not list(tmp_path.rglob(f"*{TEMPORARY_SUFFIX}"))


def test_flink(flink_cluster: Cluster, embedded: dict[str, str], tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    run_build(DEMO, corpus, runner=flink_cluster.runner(str(corpus)))
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
