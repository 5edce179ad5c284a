"""Builds that keep to what servers ask of them: robots.txt, the pace, and who asks."""

import io
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web
from rich.console import Console

import septet
from septet.pipelines import progress
from septet.pipelines.build import lacks_contact
from septet.pipelines.cli import main
from septet.pipelines.progress import BuildProgress
from septet.pipelines.stages import missing
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.fetch import ContactError, dominant_failure
from septet.pipelines.stages.stage import Pass
from septet.schemas.recipe_file import parse_recipe
from tests.corpora import random_image, rows, run_build
from tests.http_server import HostileServer
from tests.pipelines.test_fetch_store import asked, numbers_of, write_list, write_recipe


@pytest.fixture
def server():
    images = {f"/{n}.jpg": random_image(n) for n in range(20)}
    with HostileServer(images) as running:
        yield running


def forbid(server: HostileServer, *paths: str, more: str = "") -> None:
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in paths), more]

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="\n".join(lines))

    server.answers["/robots.txt"] = answer


def lost(corpus: Path) -> Counter[tuple[str, str]]:
    return Counter((row["reason"], row["value"]) for row in rows(corpus, "rejects"))


def test_what_robots_disallow_is_a_reject_and_never_asked_for(
    server: HostileServer, tmp_path: Path
) -> None:
    forbid(server, "/3.jpg", "/5")
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(8))
    assert run_build(write_recipe(tmp_path, server), corpus).manifest.samples == 6
    assert lost(corpus) == {("robots", "/3.jpg"): 1, ("robots", "/5.jpg"): 1}
    assert asked(server) == 6 and not {"/3.jpg", "/5.jpg"} & {path for _, path in server.times}
    assert server.rules == {"/robots.txt": 1, "/.well-known/tdmrep.json": 1, "/ai.txt": 1}

    write_list(tmp_path / "b.jsonl", server, range(8, 12))  # the next build knows the rules
    assert run_build(write_recipe(tmp_path, server), corpus).manifest.samples == 10
    assert asked(server) == 4 and server.rules.total() == 3

    recipe = write_recipe(tmp_path, server, fetch="robots: ignore")
    assert run_build(recipe, corpus).manifest.samples == 12
    assert set(server.hits) == {"/3.jpg", "/5.jpg"}, "what was fetched stays"
    assert numbers_of(corpus) == set(range(12))


def test_robots_that_cannot_be_had_may_pass(server: HostileServer, tmp_path: Path) -> None:
    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=503)

    corpus = tmp_path / "corpus"
    server.answers["/robots.txt"] = busy
    write_list(tmp_path / "a.jsonl", server, range(3))
    with HostileServer({"/9.jpg": random_image(9)}) as other:
        row = {"url": other.url("/9.jpg"), "caption": "A picture with the number 9"}
        (tmp_path / "b.jsonl").write_text(json.dumps(row))
        fetch = f"retries: 0, allowed_hosts: ['{server.host}', '{other.host}']"
        recipe = write_recipe(tmp_path, server, fetch=fetch)
        text = recipe.read_text().replace(f"allowed_hosts: ['{server.host}'], ", "")
        recipe.write_text(text)
        assert run_build(recipe, corpus).manifest.samples == 1
        assert lost(corpus) == {("robots_unreachable", "503"): 3} and not server.hits
        del server.answers["/robots.txt"]
        assert run_build(recipe, corpus, retry=["passing"]).manifest.samples == 4
        assert asked(server) == 3


def test_the_pace_of_a_host_is_that_of_all_workers_together(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "_URLS_A_SLICE", 5)
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(20))
    recipe = write_recipe(tmp_path, server, fetch="per_host_delay: 0.05, per_host: 4")
    assert run_build(recipe, corpus, workers=2).manifest.samples == 20
    times = sorted(at for at, _ in server.times)
    for count in (8, len(times) - 1):
        least = min(b - a for a, b in zip(times, times[count:], strict=False))
        assert least > (count - 2) * 0.05 - 0.02, "at most one a worker at once, then the pace"


def test_public_hosts_are_not_asked_without_a_contact(
    server: HostileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus"
    write_list(tmp_path / "a.jsonl", server, range(2))
    for url in ("http://8.8.8.8/x.jpg", "http://127.0.0.3/x.jpg", "ftp://e.org/x.jpg", "http://["):
        row = {"url": url, "caption": f"A picture at {url}"}
        with (tmp_path / "a.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
    recipe = write_recipe(tmp_path, server)
    with pytest.raises(ContactError, match=r"1 images are .* set `fetch.contact`"):
        run_build(recipe, corpus)
    assert not server.times, "nobody was asked"
    with pytest.raises(SystemExit) as ended:
        main(["build", str(recipe), "--out", str(corpus), "--workers", "1"])
    assert ended.value.code == 2 and "fetch.contact" in capsys.readouterr().err
    recipe = write_recipe(tmp_path, server, fetch="without_contact: reject")
    assert run_build(recipe, corpus).manifest.samples == 2
    assert lost(corpus)["no_contact", "8.8.8.8"] == 1
    assert lost(corpus)["address", "127.0.0.3"] == 1


@pytest.mark.parametrize(
    ("sources", "fetch", "lacks"),
    [
        ("{kind: list, paths: [a]}", "", True),
        ("{kind: list, paths: [a]}", "contact: a@e.org", False),
        ("{kind: list, paths: [a]}", "without_contact: reject", False),
        ("{kind: list, paths: [a]}", "allowed_hosts: [e.org]", False),
        ("{kind: list, paths: [a], image_root: b}", "", False),
        ("{kind: list, paths: [a], url_col: null}", "", False),
        ("{kind: list, paths: [a], image_col: image}", "", False),
        ("{kind: warc, paths: [a]}", "", False),
    ],
)
def test_a_contact_is_missed_as_the_build_begins(sources: str, fetch: str, lacks: bool) -> None:
    recipe = parse_recipe(f"name: x\nsources: [{sources}]\nfetch: {{{fetch}}}")
    assert lacks_contact(recipe) is lacks


def test_a_contact_is_sent_with_every_request(server: HostileServer, tmp_path: Path) -> None:
    write_list(tmp_path / "a.jsonl", server, range(2))
    run_build(write_recipe(tmp_path, server, fetch="contact: a@example.org"), tmp_path / "corpus")
    agents = {headers["User-Agent"] for headers in server.headers.values()}
    assert agents == {"Septet/0.1 (+a@example.org)"}


def test_a_class_of_failures_that_dominates_is_told_while_the_build_runs(
    server: HostileServer, tmp_path: Path
) -> None:
    write_list(tmp_path / "a.jsonl", server, range(300))  # of which the server has 20
    recipe = write_recipe(tmp_path, server)
    out = io.StringIO()
    septet.build(recipe, tmp_path / "corpus", workers=1, console=Console(file=out, width=500))
    assert out.getvalue().count("class network") == 1
    assert "most images fail for its reasons, 280 of 300 so far (http_status 280)" in out.getvalue()


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (Counts(199, 0, Counter(dns=199)), None),
        (Counts(1000, 500, Counter(dns=500)), None),
        (Counts(1000, 499, Counter(dns=200, timeout=301), Counter(passing=501)), "class passing"),
        (Counts(1000, 0, Counter(http_status=1000), Counter(passing=600)), "class passing"),
        (Counts(1000, 0, Counter(http_status=1000), Counter(passing=400)), "class network"),
        (Counts(1000, 0, Counter(dns=400, robots=300, not_image=300), Counter(passing=400)), None),
        (Counts(1000, 0, Counter(robots=700, not_image=300)), "class access"),
    ],
)
def test_which_class_dominates(counts: Counts, said: str | None) -> None:
    found = dominant_failure(counts)
    assert found is None if said is None else said in str(found)


def test_a_warning_comes_before_the_pass_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_WARN", 0.01)
    out = io.StringIO()
    told = BuildProgress(Console(file=out, width=200))
    one = Pass("fetch", {}, lambda todo: None, warning=lambda: "fetch [x]: most fail")  # type: ignore[arg-type, return-value]
    with told.watch(one, 0):
        for _ in range(1000):
            if out.getvalue():
                break
            time.sleep(0.01)
        assert out.getvalue() == "fetch [x]: most fail\n"
        time.sleep(0.05)
    assert out.getvalue().count("most fail") == 1
