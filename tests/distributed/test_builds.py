"""The demo corpus on real clusters: the same bytes as on this machine alone."""

import os
import shutil
from pathlib import Path

import pytest

from septet.pipelines.runners import make_runner
from septet.pipelines.sources import annotated
from septet.preprocess.files import TEMPORARY_SUFFIX
from tests.corpora import digests, run_annotation, run_build, write_site
from tests.distributed.conftest import Cluster, started_cluster
from tests.every_source import write_every_source
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


def test_spark_with_one_core(spark_parts: None, embedded: dict[str, str], tmp_path: Path) -> None:
    """With two cores the tests below build."""
    with started_cluster("spark", tmp_path / "state", cores=1) as cluster:
        corpus = tmp_path / "corpus"
        run_build(DEMO, corpus, runner=cluster.runner(str(corpus)))
    assert digests(corpus) == embedded
    assert not list(corpus.rglob(f"*{TEMPORARY_SUFFIX}"))


def test_each_source_on_spark(
    spark_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotated, "SLICE_BYTES", 100)  # several tasks share a set's table
    recipe = write_every_source(tmp_path / "in")
    run_build(recipe, tmp_path / "local")
    run_build(recipe, tmp_path / "spark", runner=spark_cluster.runner(str(tmp_path / "spark")))
    assert digests(tmp_path / "spark") == digests(tmp_path / "local")
    assert not list((tmp_path / "spark").rglob(f"*{TEMPORARY_SUFFIX}"))


def test_a_column_on_spark(spark_cluster: Cluster, tmp_path: Path) -> None:
    recipe = write_site(tmp_path / "in", pages=48, images=40)
    for name in ("local", "spark"):
        run_build(recipe, tmp_path / name)
    for kind in ("Words", "Hashes"):
        runner = spark_cluster.runner(str(tmp_path / "spark"))
        ours = run_annotation(tmp_path / "local", f"{HERE}:{kind}", name=kind.lower(), workers=2)
        theirs = run_annotation(
            tmp_path / "spark", f"{HERE}:{kind}", name=kind.lower(), runner=runner
        )
        assert ours == theirs and ours.values
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
