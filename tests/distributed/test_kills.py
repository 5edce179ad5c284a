"""Builds on clusters whose Python workers are killed again and again."""

import json
from pathlib import Path

import pytest

from septet.preprocess.files import TEMPORARY_SUFFIX
from tests.corpora import digests, random_image, run_build
from tests.distributed.conftest import KILLS, Cluster, killing_workers
from tests.http_server import HostileServer
from tests.object_store import download, upload

pytestmark = pytest.mark.slow

IMAGES = 400


def write_list(folder: Path, server: HostileServer) -> Path:
    """A recipe over a list of images that the server has, eight a shard."""
    folder.mkdir()
    lines = [
        json.dumps({"url": server.url(path), "caption": f"A picture that is called {path}"})
        for path in server.files
    ]
    (folder / "list.jsonl").write_text("\n".join(lines))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: kills\nsources: [{kind: list, paths: [list.jsonl]}]\n"
        f"fetch: {{allowed_hosts: ['{server.host}'], per_host: 1}}\n"
        "write: {samples_per_shard: 8}\n"
    )
    return recipe


@pytest.mark.parametrize(("name", "kills"), [("spark", KILLS), ("flink", 4)])
def test_a_build_survives_the_death_of_its_workers(
    name: str, kills: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """They are killed (SIGKILL) at random moments; the corpus is the local runner's.

    The server takes its time over images until the last one is dead, so that there is a build to
    be killed in.
    """
    cluster: Cluster = request.getfixturevalue(f"{name}_cluster")
    images = {f"/{n}.jpg": random_image(n) for n in range(IMAGES)}
    corpus = tmp_path / name
    with HostileServer(images) as server:
        recipe = write_list(tmp_path / "in", server)
        run_build(recipe, tmp_path / "local")
        server.pause = 0.5
        with killing_workers(
            cluster.python_workers, kills, 23, (0.1, 1.5), lambda: setattr(server, "pause", 0.0)
        ) as killed:
            run_build(recipe, corpus, runner=cluster.runner(str(corpus)))
    assert len(killed) == kills
    assert digests(corpus) == digests(tmp_path / "local")
    assert not list(corpus.rglob(f"*{TEMPORARY_SUFFIX}"))


def test_a_corpus_in_an_object_store_survives_the_death_of_executors(
    spark_cluster: Cluster, bucket: str, tmp_path: Path
) -> None:
    """They are killed at random moments, and after the last the daemon that starts them; the
    corpus is on S3 alone."""
    images = {f"/{n}.jpg": random_image(n) for n in range(160)}
    corpus = f"{bucket}/corpus"

    def last() -> None:
        spark_cluster.kill_daemon()
        server.pause = 0.0

    with HostileServer(images) as server:
        recipe = write_list(tmp_path / "in", server)
        upload(recipe.parent, f"{bucket}/in")
        text = recipe.read_text().replace("[list.jsonl]", f"['{bucket}/in/list.jsonl']")
        recipe.write_text(text)
        run_build(recipe, tmp_path / "local")
        server.pause = 0.5
        runner = spark_cluster.runner(corpus, (f"{bucket}/in/list.jsonl",))
        with killing_workers(spark_cluster.executors, KILLS, 31, (0.5, 4), last) as killed:
            run_build(recipe, corpus, runner=runner)
    assert len(killed) == KILLS
    found = download(corpus, tmp_path / "spark")
    assert digests(found) == digests(tmp_path / "local")
    assert not list(found.rglob(f"*{TEMPORARY_SUFFIX}"))
