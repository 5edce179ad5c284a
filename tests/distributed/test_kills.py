"""Builds on clusters whose processes are killed again and again."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from septet.pipelines.sources import annotated
from septet.preprocess.files import TEMPORARY_SUFFIX
from tests.corpora import digests, random_image, run_build
from tests.distributed.conftest import KILLS, Cluster, killing_workers
from tests.every_source import write_every_source
from tests.forks import Forks
from tests.http_server import HostileServer
from tests.object_store import download

pytestmark = pytest.mark.slow

IMAGES = 160
SLICE_BYTES = 100
"""Several tasks share an annotated set's table."""
DRIVERS = Forks("tests.corpora", "tests.distributed.conftest", "septet.pipelines.runners.spark")
"""Forks drivers that are to be killed."""


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


def test_a_build_on_flink_survives_the_death_of_its_workers(
    flink_cluster: Cluster, tmp_path: Path
) -> None:
    """They are killed (SIGKILL) at random moments; the corpus is the local runner's.

    The server takes its time over images until the last one is dead, so that there is a build to
    be killed in.
    """
    kills = 4
    images = {f"/{n}.jpg": random_image(n) for n in range(IMAGES)}
    corpus = tmp_path / "flink"
    with HostileServer(images) as server:
        recipe = write_list(tmp_path / "in", server)
        run_build(recipe, tmp_path / "local")
        server.pause = 0.5
        with killing_workers(
            flink_cluster.python_workers, kills, 23, (0.1, 1.5),
            lambda: setattr(server, "pause", 0.0),
        ) as killed:  # fmt: skip
            run_build(recipe, corpus, runner=flink_cluster.runner(str(corpus)))
    assert len(killed) == kills
    assert digests(corpus) == digests(tmp_path / "local")
    assert not list(corpus.rglob(f"*{TEMPORARY_SUFFIX}"))


def drive(cluster: Cluster, recipe: Path, corpus: str) -> None:
    """Build on a cluster, as a process of its own."""
    annotated.SLICE_BYTES = SLICE_BYTES
    run_build(recipe, corpus, runner=cluster.runner(corpus))


def test_a_build_on_spark_survives_the_death_of_each_of_its_parts(
    spark_cluster: Cluster, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executors are killed at random moments of one build of every kind of source; in the fetch the
    driver, which is started again beside what Spark still does for the first; then executors and
    Python workers, last the daemon that starts executors. Slow tasks have two attempts at once.

    The corpus is on S3 alone. A server keeps the build waiting for images until all are dead.
    """
    draw = random.Random(31)
    before = ["executor"] * (KILLS // 2)
    after = ["executor"] * (KILLS - KILLS // 2) + ["python worker"] * KILLS
    draw.shuffle(after)
    moments = [*before, "driver", *after, "daemon"]
    running = {"executor": spark_cluster.executors, "python worker": spark_cluster.python_workers}
    corpus = f"{bucket}/corpus"
    recipe = write_every_source(tmp_path / "in")
    images = {f"/{n}.jpg": random_image(500 + n, 64, 48) for n in range(60)}
    with HostileServer(images) as server:
        held = [{"url": server.url(path), "caption": f"An image called {path}"} for path in images]
        (tmp_path / "in/held.jsonl").write_text("\n".join(map(json.dumps, held)))
        text = recipe.read_text().replace(
            "sources:\n", "sources:\n  - {kind: list, paths: [held.jsonl]}\n"
        )
        recipe.write_text(
            f"{text}fetch: {{allowed_hosts: ['{server.host}'], per_host: 1, "
            "first_byte_timeout: 60, total_timeout: 120}\n"
        )
        monkeypatch.setattr(annotated, "SLICE_BYTES", SLICE_BYTES)
        run_build(recipe, tmp_path / "local")
        server.pause, asked = 5.0, server.hits.total()
        driver = DRIVERS.start(drive, spark_cluster, recipe, corpus)
        for moment in moments:
            victims: list[int] = []
            while not victims:
                assert driver.is_alive(), f"the build ended before a {moment} was killed"
                time.sleep(draw.uniform(0.2, 2.5))
                if moment in running:
                    victims = running[moment]()
                elif moment == "daemon":
                    victims = spark_cluster.executors()
                elif server.hits.total() > asked:  # the driver waits for the fetch
                    victims = [driver.pid]
            if moment == "daemon":
                spark_cluster.kill_daemon()
            else:
                os.kill(draw.choice(victims), signal.SIGKILL)
            if moment == "driver":
                driver.join()
                driver = DRIVERS.start(drive, spark_cluster, recipe, corpus)
        server.pause = 0.0
        driver.join()
    assert driver.exitcode == 0
    found = download(corpus, tmp_path / "spark")
    assert digests(found) == digests(tmp_path / "local")
    assert not [*found.rglob(f"*{TEMPORARY_SUFFIX}"), *found.rglob("usage")]
    stages = json.loads((found / "stats/build.json").read_text())["stages"]
    assert sum(stage.get("retries", 0) for stage in stages) > 0
    assert "as speculatable" in (spark_cluster.state / "jobserver.log").read_text()
