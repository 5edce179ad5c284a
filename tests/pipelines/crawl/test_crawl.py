"""A crawl of a real site over real sockets: where it goes, what it keeps, and what a kill leaves."""

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from aiohttp import web
from warcio.archiveiterator import ArchiveIterator

import septet
from septet.pipelines.cli import main
from septet.pipelines.crawl.journal import read_journal
from septet.preprocess.http import addresses
from septet.preprocess.shards.reader import Corpus
from tests.corpora import run_build
from tests.http_server import HostileServer
from tests.pipelines.crawl.site import ARTICLES, CALENDAR, OTHER, Site

ROOT = Path(__file__).resolve().parents[3]


def settings_of(site, **changes):
    fetch = {"allowed_hosts": ["127.0.0.1", "localhost"], "backoff": 0.01, "retries": 1,
             **changes.pop("fetch", {})}  # fmt: skip
    return {
        "hosts": [f"localhost:{site.ports[1]}"],
        "depth": 6,
        "pages_per_pattern": 500,
        "fetch": fetch,
        **changes,
    }


def run(site, folder, **changes):
    return septet.crawl([site.first], folder, settings_of(site, **changes))


def stored(folder: Path, kind: str = "text/html") -> dict[str, bytes]:
    """Bodies of the answers in the archives, by URL, read by another library, digests checked."""
    found: dict[str, bytes] = {}
    for path in sorted((folder / "warc").glob("*.warc.gz")):
        with path.open("rb") as file:
            kinds = Counter()
            for record in ArchiveIterator(file, check_digests="raise"):
                kinds[record.rec_type] += 1
                if record.rec_type == "response":
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    assert url not in found, "stored twice"
                    if record.http_headers.get_header("Content-Type").startswith(kind):
                        found[url] = record.content_stream().read()
            assert kinds["response"] == kinds["request"] and kinds["warcinfo"] == 1
    return found


def calendar(site, months):
    return {f"{site.first}/calendar?month={n}" for n in range(months)}


def wanted_of(site, months):
    wanted = site.wanted() - {f"{site.first}/calendar", f"{site.first}/noise"}
    return wanted | calendar(site, months) | {f"{site.first}/noise?ref=top"}


def test_a_crawl_finds_what_it_may_and_nothing_else(tmp_path):
    with Site() as site:
        figures = run(site, tmp_path / "crawl", pages_per_pattern=ARTICLES)
        pages = stored(tmp_path / "crawl")
        asked = site.asked()
    traps = {url for url in pages if "/trap/" in url}
    assert set(pages) - traps == wanted_of(site, 6) - traps, (
        "months 0 to 5 are at most 6 links away"
    )
    assert 3 <= len(traps) < 64
    assert b"<h1>article 3</h1>" in pages[f"{site.first}/a/3.html"]
    assert set(asked.values()) == {1}, "no address is asked for twice"
    never = ["private", "hidden", "from-nofollow", "sub/sub/sub/sub", "elsewhere", "/img/"]
    assert not [url for url in asked if any(part in url for part in never)]
    assert f"{site.first}/noise" not in asked, "its content was found under another address"
    assert figures.ended == "all" and figures.waiting == 0
    assert figures.pages == len(pages) and figures.images == 0
    outcomes = figures.outcomes
    assert outcomes["robots"] == 2 and outcomes["http_status"] == 1 and outcomes["media"] == 1
    assert outcomes["redirect"] == 3 and outcomes["sitemap"] == 2
    assert outcomes["same"] == 3, "one page under four addresses"
    assert figures.left_out["other_host"] >= 2 and figures.left_out["trap"] >= 1
    again = run(site, tmp_path / "crawl", pages_per_pattern=ARTICLES)
    assert again.pages == figures.pages and site.asked() == asked


def test_budgets_bound_it(tmp_path):
    with Site() as site:
        figures = run(site, tmp_path / "a", depth=90, pages_per_pattern=CALENDAR, sitemaps=False)
        months = [url for url in site.asked() if "calendar" in url]
        assert len(months) == CALENDAR and figures.ended == "all"
        assert sum("/a/" in url for url in site.asked()) == CALENDAR
        site.log.clear()
        figures = run(site, tmp_path / "b", pages=10)
        assert (figures.ended, sum(site.asked().values())) == ("pages", 10 + 2), "sitemaps aside"
        assert figures.waiting
        site.log.clear()
        figures = run(site, tmp_path / "b", pages=15)  # on with a larger budget
        assert (figures.ended, sum(site.asked().values())) == ("pages", 5)
        site.log.clear()
        run(site, tmp_path / "c", pages_per_host=7, sitemaps=False)
        hosts = Counter(url.split("/")[2] for url in site.asked())
        assert max(hosts.values()) == 7 and len(hosts) == 2
        figures = run(site, tmp_path / "d", total_bytes=1000)
        assert figures.ended == "bytes" and figures.bytes < 4000
        site.log.clear()
        run(site, tmp_path / "e", depth=0, sitemaps=False)
        assert set(site.asked()) == {site.first + "/"}


def test_a_host_gets_one_request_at_a_time_at_its_pace(tmp_path):
    with Site() as site:
        run(site, tmp_path / "crawl", depth=1, pages=12, fetch={"per_host_delay": 0.05})
        for host in ("first", "second"):
            times = [at for at, name, _ in site.log if name == host]
            assert len(times) >= 4
            # Most of them: a busy machine may notice one late, and the next in time.
            assert median(b - a for a, b in pairwise(times)) > 0.03


def test_hosts_of_one_domain_share_its_pace(tmp_path, monkeypatch):
    """Names below one registered domain may be one server: few are asked at once, and all of them
    together only so many times as often as one; another domain does not wait for them."""
    real = socket.getaddrinfo

    def look_up(host, *more, **named):
        return real("127.0.0.1" if ".example." in host else host, *more, **named)

    monkeypatch.setattr(addresses.socket, "getaddrinfo", look_up)
    with HostileServer() as server:
        hosts = [f"h{n}.example.org" for n in range(8)] + ["lone.example.net"]
        asked = []
        busy = most = 0

        async def answer(request):
            nonlocal busy, most
            host = request.host.partition(":")[0]
            asked.append((time.monotonic(), host))
            busy += host != "lone.example.net"
            most = max(most, busy)
            await asyncio.sleep(0.1)
            busy -= host != "lone.example.net"
            return web.Response(text=f"{host}{request.path}", content_type="text/html")

        server.answers["/"] = answer
        figures = septet.crawl(
            [f"http://{host}:{server.port}/" for host in hosts],
            tmp_path,
            {"per_domain": 2, "fetch": {"allowed_hosts": hosts, "per_host_delay": 0.2,
             "robots": "ignore", "opt_out_files": []}},
        )  # fmt: skip
    assert figures.pages == 9 and most == 2
    times = [at for at, host in asked if host != "lone.example.net"]
    assert [host for _, host in asked if host != "lone.example.net"] == hosts[:8], "in turns"
    assert median(b - a for a, b in pairwise(times)) > 0.08, "0.2 s of two hosts"
    assert "lone.example.net" in [host for _, host in asked[:3]]


def test_another_scope_needs_another_folder(tmp_path):
    with Site() as site:
        run(site, tmp_path, depth=0)
        with pytest.raises(ValueError, match="begun with depth: 0, this run has 1"):
            run(site, tmp_path, depth=1)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("warc/CC-MAIN-7.warc.gz", b"of somebody", "has warc but no crawl.json"),
        ("warc/00003.warc.gz", b"of somebody", "has warc but no crawl.json"),
        ("journal.jsonl", b"notes of somebody", "has journal.jsonl but no crawl.json"),
        ("crawl.json", b"[]", "holds no settings of a crawl"),
        ("crawl.json", b"{", "holds no settings of a crawl"),
    ],
)
def test_the_folder_of_something_else_is_left_alone(tmp_path, name, data, message):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)
    with Site() as site, pytest.raises(ValueError, match=message):
        run(site, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_bytes() == data


def test_archives_that_the_journal_does_not_fit_are_left_alone(tmp_path):
    with Site() as site:
        run(site, tmp_path, pages=3)
        archive, journal = tmp_path / "warc/00000.warc.gz", tmp_path / "journal.jsonl"
        whole, told = archive.read_bytes(), journal.read_bytes()
        archive.unlink()
        with pytest.raises(ValueError, match=r"00000\.warc\.gz is not there"):
            run(site, tmp_path, pages=6)
        assert journal.read_bytes() == told
        archive.write_bytes(whole)
        journal.unlink()
        with pytest.raises(ValueError, match=r"has archives but no journal\.jsonl"):
            run(site, tmp_path, pages=6)
        assert archive.read_bytes() == whole
        journal.write_bytes(told)
        (tmp_path / "warc/mine.warc.gz").write_bytes(b"of somebody")
        assert run(site, tmp_path, pages=6).pages > 3
        assert (tmp_path / "warc/mine.warc.gz").read_bytes() == b"of somebody"


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], "there are no seeds"),
        (["ftp://e.org/"], "is no http"),
        (["example.org"], "public host, and nothing says who asks"),
        (["http://127.0.0.1:1/"], "127.0.0.1 is not for the public"),
    ],
)
def test_seeds_that_cannot_be_used(tmp_path, seeds, message):
    with pytest.raises(ValueError, match=message):
        septet.crawl(seeds, tmp_path / "crawl")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": -1}, "depth: .* greater than or equal to 0, found -1"),
        ({"fetch": {"contact": "me"}}, r"fetch.contact: contact must be a web page"),
        ({"deepth": 1}, "deepth: unknown setting; did you mean `depth`"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        septet.crawl(["http://127.0.0.1/"], tmp_path / "crawl", settings)
    assert not (tmp_path / "crawl").exists()


def test_what_failed_and_may_pass_is_asked_for_again_when_wanted(tmp_path):
    with Site() as site:
        run(site, tmp_path, depth=1, sitemaps=False)
        journal = (tmp_path / "journal.jsonl").read_text().splitlines()
        changed = []
        for text in journal:
            entry = json.loads(text)
            if entry["url"].endswith("/a/0.html"):
                entry = {name: entry[name] for name in ("url", "kind", "depth", "end")}
                entry |= {"outcome": "http_status", "value": "503", "links": []}
            changed.append(json.dumps(entry) + "\n")
        (tmp_path / "journal.jsonl").write_text("".join(changed))
        site.log.clear()
        run(site, tmp_path, depth=1, sitemaps=False)
        assert not site.asked()
        figures = septet.crawl(
            [site.first], tmp_path, settings_of(site, depth=1, sitemaps=False), retry=True
        )
        assert set(site.asked()) == {f"{site.first}/a/0.html"}
        assert figures.outcomes["http_status"] == 1, "the page that is gone"


CRAWL = """
import json, sys
import septet
septet.crawl([sys.argv[1]], sys.argv[2], json.loads(sys.argv[3]))
"""


def crawl_process(site, folder, settings):
    return subprocess.Popen(
        [sys.executable, "-c", CRAWL, site.first, str(folder), json.dumps(settings)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_it_ends_as_if_it_was_not(tmp_path, seed):
    chance = random.Random(seed)
    folder = tmp_path / "crawl"
    with Site(pause=0.01) as site:
        settings = settings_of(
            site, images=True, pages_per_pattern=ARTICLES, pages=2000, fetch={"concurrency": 4}
        )
        under_way: set[str] = set()
        kills = 0
        while kills < 6:
            process = crawl_process(site, folder, settings)
            before = len(site.log)
            while len(site.log) < before + 8 and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.3))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            assert process.wait() in (0, -signal.SIGKILL)
            kills += 1
            time.sleep(0.1)
            done = {entry.url for entry in read_journal(folder)}
            under_way |= set(site.asked()) - done
        septet.crawl([site.first], folder, settings)
        asked = site.asked()
        twice = {url for url, count in asked.items() if count > 1}
        assert twice <= under_way, "what was stored is asked for once"
        assert len(under_way) <= kills * 2, "one a host was under way when it was killed"
        pages, images = stored(folder), stored(folder, "image/")
        uninterrupted = tmp_path / "whole"
        septet.crawl([site.first], uninterrupted, settings)
        traps = {url for url in pages if "/trap/" in url}
        assert {url for url in stored(uninterrupted) if "/trap/" not in url} == set(pages) - traps
        assert stored(uninterrupted, "image/") == images
        assert len(pages) > ARTICLES + OTHER

        site.log.clear()
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            "name: crawled\nsources: [{kind: warc, paths: ['crawl/warc/*.warc.gz']}]\n"
            "curate: {identical_images: keep_all}\n"
        )
        result = run_build(recipe, tmp_path / "corpus")
        captions = {sample["txt"].decode() for sample in Corpus(str(tmp_path / "corpus"))}
        assert {f"A photograph of article {n}" for n in range(ARTICLES)} <= captions
        assert {f"A photograph of other {n}" for n in range(OTHER)} <= captions
        assert result.manifest.samples == len(captions) and not site.log, "all is in the archive"


def test_the_command(tmp_path, capsys):
    seeds, folder = tmp_path / "seeds.txt", tmp_path / "crawl"
    flags = ["--delay", "0", "--private", "127.0.0.1", "--pages", "12", "--images", "--no-sitemaps"]
    with Site() as site:
        seeds.write_text(f"\ufeff# of mine\n\n {site.first}/a/0.html \n", encoding="utf-8")
        main_returns(["crawl", str(seeds), "--out", str(folder), *flags])
        told = " ".join(capsys.readouterr().err.split())
    assert "pages and " in told and f"in 1 archives: {folder}/warc" in told
    assert "the budget of pages is spent (--pages)" in told and "addresses of 1 hosts wait" in told
    assert "links left out: other_host 2" in told
    for page in ("README.md", "docs/crawl.md"):
        patterns = re.findall(r"crawl/[^\s\]]*\.warc\.gz", (ROOT / page).read_text())
        assert patterns and all([*tmp_path.glob(pattern)] for pattern in patterns), page
    for arguments, message in (
        (["crawl", str(tmp_path / "none.txt"), "--out", str(folder)], "no such file of seeds"),
        (["crawl", str(seeds), "--out", str(tmp_path / "x")], "127.0.0.1 is not for the public"),
        (["crawl", str(seeds), "--out", str(tmp_path / "x"), "--contact", "me"], "contact must be"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = " ".join(capsys.readouterr().err.split())
        assert ended.value.code == 2 and message in said and "Traceback" not in said


def main_returns(arguments):
    """Run a command that ends well."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code in (0, None)
