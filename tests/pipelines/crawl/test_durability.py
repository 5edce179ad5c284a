"""What ends a crawl, or what a power cut leaves of it, costs what was under way and no more."""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from septet.pipelines.crawl.archives import Archives
from septet.pipelines.crawl.journal import cut_journal, read_journal
from tests.http_server import HostileServer
from tests.pipelines.crawl.site import Site
from tests.pipelines.crawl.test_crawl import run, stored
from tests.pipelines.crawl.test_hostile_sites import typed
from tests.pipelines.test_crashing_decoders import HOOK, ROOT

PAGES = 12
BAD = {"/3": ("page_crash", "SIGSEGV"), "/8": ("page_crash", "SIGABRT")}
CRAWL = """
import sys
import septet
host, folder = sys.argv[1:]
fetch = {"allowed_hosts": [host], "retries": 0, "opt_out_files": []}
septet.crawl([f"http://{host}/"], folder, {"fetch": fetch})
"""


def crawl_process(folder: Path, host: str) -> subprocess.Popen[bytes]:
    (folder / "hook").mkdir(exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    path = os.pathsep.join([str(folder / "hook"), str(ROOT)])
    command = [sys.executable, "-c", CRAWL, host, str(folder / "crawl")]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


def outcomes(folder: Path) -> dict[str, tuple[str, str | None]]:
    """What became of each address, by its path; each has one line."""
    lines = list(read_journal(folder))
    found = {"/" + one.url.split("/", 3)[3]: (one.outcome, one.value) for one in lines}
    assert len(found) == len(lines)
    return found


@pytest.mark.parametrize("killed", [False, True])
def test_a_page_that_crashes_the_parser_is_lost_alone(tmp_path: Path, killed: bool) -> None:
    """Real signals: the parser's process dies by them, and the crawl goes on by itself. Killed
    after the first of them, it does not meet that page again."""
    ends = {"/3": b"crash", "/8": b"abort"}
    pages = {f"/{n}": b"<p>Page %d</p>" % n + ends.get(f"/{n}", b"") for n in range(PAGES)}
    with HostileServer() as server:
        links = "".join(f"<a href='{path}'>x</a>" for path in pages)
        server.answers = {
            path: typed(body) for path, body in {"/": links.encode(), **pages}.items()
        }
        process = crawl_process(tmp_path, server.host)
        if killed:
            while "/3" not in (
                outcomes(tmp_path / "crawl") if (tmp_path / "crawl").exists() else {}
            ):
                assert process.poll() is None
                time.sleep(0.005)
            process.kill()
            assert process.wait() == -signal.SIGKILL
            process = crawl_process(tmp_path, server.host)
        assert process.wait(60) == 0
        wanted = {path: BAD.get(path, ("stored", None)) for path in ("/", *pages)}
        assert outcomes(tmp_path / "crawl") == wanted
        assert server.hits["/3"] == server.hits["/8"] == 1
        names = {"/" + url.split("/", 3)[3] for url in stored(tmp_path / "crawl")}
        assert names == set(wanted) - set(BAD)


@pytest.fixture(scope="module")
def site():
    with Site() as running:
        yield running


@pytest.fixture(scope="module")
def whole(site, tmp_path_factory) -> Path:
    """A crawl of 20 pages, each with its image."""
    folder = tmp_path_factory.mktemp("whole")
    run(site, folder, pages=20, images=True)
    return folder


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("damage", ["short", "zeros", "short journal", "zeros in both"])
def test_what_a_power_cut_leaves_is_gone_on_with(site, whole, tmp_path, damage, seed) -> None:
    """The end of archive or journal was never written, or its blocks were not: the crawl goes on,
    and ends as if that had not been."""
    chance = random.Random(f"{damage}{seed}")
    archive, journal = tmp_path / "warc/00000.warc.gz", tmp_path / "journal.jsonl"
    archive.parent.mkdir()
    (tmp_path / "crawl.json").write_bytes((whole / "crawl.json").read_bytes())
    data = (whole / "warc/00000.warc.gz").read_bytes()
    # As before the first sync: no line says that anything was safe.
    lines = (whole / "journal.jsonl").read_bytes()
    assert b'"safe"' not in lines
    place, line = chance.randrange(len(data)), chance.randrange(len(lines))
    kept = data[:place] if "short" in damage else data[:place] + bytes(len(data) - place)
    archive.write_bytes(data if damage == "short journal" else kept)
    tail = bytes(len(lines) - line) if damage == "zeros in both" else b""
    journal.write_bytes(lines[:line] + tail if "journal" in damage or tail else lines)
    before = {entry.url for entry in read_journal(tmp_path) if entry.outcome == "stored"}
    site.log.clear()
    figures = run(site, tmp_path, pages=20, images=True)
    free = ("sitemap", "robots")
    assert figures.ended == "pages"
    assert sum(n for name, n in figures.outcomes.items() if name not in free) == 20
    told = {entry.url for entry in read_journal(tmp_path) if entry.outcome == "stored"}
    assert {*stored(tmp_path), *stored(tmp_path, "image/")} == told, "no half of a record is there"
    asked = site.asked()
    assert set(asked.values()) <= {1}
    assert len(before & set(asked)) <= figures.lost
    if damage in ("short", "zeros"):
        assert figures.lost > 0
    elif damage == "short journal":
        assert figures.lost == 0


def test_what_was_synced_is_not_read_again(whole, tmp_path) -> None:
    """Bytes before the safe place are not looked at (an archive has a gigabyte); those behind it
    are."""
    (tmp_path / "warc").mkdir()
    archive = tmp_path / "warc/00000.warc.gz"
    data = bytearray((whole / "warc/00000.warc.gz").read_bytes())
    lines = (whole / "journal.jsonl").read_bytes().splitlines()
    ends = [entry.end for entry in read_journal(whole) if entry.outcome == "stored"]
    safe = ends[9]
    data[safe - 40 : safe] = bytes(40)
    archive.write_bytes(data)
    (tmp_path / "journal.jsonl").write_bytes(
        b"\n".join([*lines[:-1], lines[-1][:-1] + b', "safe": %d}' % safe]) + b"\n"
    )
    assert Archives(tmp_path, "test").end == ends[-1]
    data[ends[14] : ends[14] + 40] = bytes(40)
    archive.write_bytes(data)
    archives = Archives(tmp_path, "test")
    assert archives.end == ends[14] == archive.stat().st_size
    assert archives.lost == len(lines) - sum(1 for _ in read_journal(tmp_path))
    archive.write_bytes(bytes(data[: safe - 10]))  # less than was safe: somebody has cut it
    assert Archives(tmp_path, "test").end == ends[8]


def test_a_crawl_is_synced_while_it_runs(site, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("septet.pipelines.crawl.archives._SYNC_SECONDS", 0.0)
    run(site, tmp_path, pages=6)
    entries = list(read_journal(tmp_path))
    assert all(0 < b.safe == a.end for a, b in pairwise(entries[1:]))
    lost, end = cut_journal(tmp_path, 0, entries[3].end)
    assert end == entries[3].end and lost == sum(one.end > end for one in entries)
