"""Builds whose network fails: what is kept, what is said, and what the next build tries again."""

import json
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from septet.pipelines.build import EmptyCorpusError
from septet.pipelines.cli import main
from septet.pipelines.stages.fetch import FetchTask
from septet.pipelines.stages.outage import OutageError
from septet.pipelines.store import writer
from septet.pipelines.store.writer import StoreWriter
from septet.preprocess.http.client import Fetched
from tests.corpora import random_image, rows, run_build
from tests.http_server import HostileServer


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with ExitStack() as open_:
        made = [open_.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in made]


def write_recipe(folder: Path, urls: list[str], ports: list[int], fetch: str = "") -> Path:
    lines = [
        {"url": url, "caption": f"A picture with the number {n}"} for n, url in enumerate(urls)
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = folder / "recipe.yaml"
    allowed = json.dumps([f"127.0.0.1:{port}" for port in ports])
    recipe.write_text(
        "name: outage\nsources: [{kind: list, paths: ['*.jsonl']}]\n"
        f"fetch: {{allowed_hosts: {allowed}, backoff: 0.01, retries: 0, {fetch}}}\n"
    )
    return recipe


def test_a_build_without_network_stops_and_leaves_no_facts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    corpus, urls = tmp_path / "corpus", [f"http://127.0.0.1:{port}/{n}.jpg" for n in range(6)]
    recipe = write_recipe(tmp_path, urls, [port])
    with pytest.raises(OutageError, match="none of 6 images arrived"):
        run_build(recipe, corpus)
    with pytest.raises(SystemExit) as ended:
        main(["build", str(recipe), "--out", str(corpus), "--workers", "1"])
    told = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 2 and "septet: fetch: none of 6 images arrived" in told
    assert "Traceback" not in told
    assert not (corpus / "corpus.json").exists()
    kept = write_recipe(tmp_path, urls, [port], "outage: keep")
    with pytest.raises(EmptyCorpusError, match="connect 6"):
        run_build(kept, corpus)


def test_an_outage_of_most_hosts_is_made_good_by_the_next_build(tmp_path: Path) -> None:
    images = {f"/{n}.jpg": random_image(n) for n in range(12)}
    first, second, *silent = free_ports(6)
    up = [f"http://127.0.0.1:{port}/{n}.jpg" for n, port in enumerate((first, first, second))]
    down = [f"http://127.0.0.1:{port}/{n}.jpg" for n, port in enumerate(silent, 3)]
    corpus, ports = tmp_path / "corpus", [first, second, *silent]
    recipe = write_recipe(tmp_path, [*up, *down], ports)
    with HostileServer(images, port=first) as one, HostileServer(images, port=second) as two:
        told = r"4 of 7 images got no answer, and 4 of 6 hosts gave none at all \(connect 4\)"
        with pytest.raises(OutageError, match=told):
            run_build(recipe, corpus)
        assert not (corpus / "corpus.json").exists()
        with ExitStack() as servers:
            back = [servers.enter_context(HostileServer(images, port=port)) for port in silent]
            assert run_build(recipe, corpus).manifest.samples == 7
            assert [one.hits.total(), two.hits.total()] == [2, 1], "what arrived is asked for once"
            assert [server.hits.total() for server in back] == [1] * 4
            assert run_build(recipe, corpus).nothing_to_do


@pytest.mark.parametrize("case", ["one host is gone", "half of the hosts are", "keep"])
def test_dead_hosts_are_no_outage(
    tmp_path: Path,
    case: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "IMAGES_A_BLOCK", 1)  # a host's images are in many
    images = {f"/{n}.jpg": random_image(n) for n in range(20)}
    with ExitStack() as servers:
        ports = free_ports(8)
        if case == "one host is gone":
            alive, urls = 4, [*ports[:5], *[ports[4]] * 9]  # 10 of 14 URLs, 1 of 5 hosts
        else:
            alive, urls = 4 if case != "keep" else 1, ports
        up = [servers.enter_context(HostileServer(images, port=port)) for port in ports[:alive]]
        urls = [f"http://127.0.0.1:{port}/{n}.jpg" for n, port in enumerate(urls)]
        recipe = write_recipe(tmp_path, urls, ports, "outage: keep" if case == "keep" else "")
        corpus = tmp_path / "corpus"
        with pytest.raises(SystemExit) as ended:
            main(["build", str(recipe), "--out", str(corpus), "--workers", "1"])
        told = " ".join(capsys.readouterr().err.split())
        assert not ended.value.code and f"{alive} samples in 1 shards" in told
        assert f"{len(urls) - alive} samples lost their image for reasons that may pass" in told
        assert {row["reason"] for row in rows(corpus, "rejects")} <= {"connect", "host_down"}
        assert run_build(recipe, corpus).nothing_to_do
        assert [server.hits.total() for server in up] == [1] * alive


def test_a_host_that_is_known_to_fail_is_no_outage_when_it_alone_is_asked(tmp_path: Path) -> None:
    images = {f"/{n}.jpg": random_image(n) for n in range(12)}
    first, second = free_ports(2)
    alive = [f"http://127.0.0.1:{first}/{n}.jpg" for n in range(12)]
    gone = [f"http://127.0.0.1:{second}/{n}.jpg" for n in range(6)]
    corpus = tmp_path / "corpus"

    def built(urls: list[str], retry: tuple[str, ...] = ()) -> int:
        recipe = write_recipe(tmp_path, urls, [first, second])
        return run_build(recipe, corpus, retry=retry).manifest.samples

    with HostileServer(images, port=first):
        assert built([*alive[:6], *gone]) == 6
        assert built([*alive[:6], *gone], retry=("passing",)) == 6, "only the dead host is asked"
    for _ in range(2):  # a host that answered and is silent now, then one that was so in an outage
        with pytest.raises(OutageError, match=r"none of (6|12) images arrived"):
            built([*alive, *gone])
    with HostileServer(images, port=first):
        assert built([*alive, *gone]) == 12


def test_what_an_earlier_attempt_fetched_shows_that_there_was_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {f"/{n}.jpg": random_image(n) for n in range(3)}
    (gone,) = free_ports(1)
    corpus, put, run = tmp_path / "corpus", StoreWriter.put, FetchTask.run

    def put_images(self: StoreWriter, got: Fetched, digest: str | None = None) -> None:
        if got.body is not None:
            put(self, got, digest)

    def stopped(self: FetchTask, key: str) -> None:
        run(self, key)
        raise KeyboardInterrupt

    with HostileServer(images) as server:
        urls = [f"http://127.0.0.1:{server.port}/{n}.jpg" for n in range(3)]
        urls += [f"http://127.0.0.1:{gone}/{n}.jpg" for n in range(9)]
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(StoreWriter, "put", put_images)
            patched.setattr(FetchTask, "run", stopped)
            run_build(write_recipe(tmp_path, urls, [server.port, gone]), corpus)
        # Cut anew for two workers, the fetch asks for what is left alone.
        recipe = write_recipe(tmp_path, urls, [server.port, gone])
        assert run_build(recipe, corpus, workers=2).manifest.samples == 3
        assert server.hits.total() == 3
