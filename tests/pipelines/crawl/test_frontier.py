"""Where a crawl goes and where not: the frontier alone."""

import io
from collections import Counter

import pytest
from rich.console import Console

from septet.pipelines.crawl import frontier as module
from septet.pipelines.crawl import progress
from septet.pipelines.crawl.crawl import Figures
from septet.pipelines.crawl.frontier import Frontier, Link, pattern_of
from septet.pipelines.crawl.journal import Entry, Journal, read_journal
from septet.pipelines.crawl.progress import line, watch
from septet.pipelines.crawl.settings import CrawlSettings

SEEDS = ["https://www.e.org/", "http://f.org:8080/x"]


def frontier(**changes):
    return Frontier(CrawlSettings(**changes), SEEDS)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://e.org/a", None),
        ("http://e.org/a", None),
        ("http://e.org:80/a", None),
        ("https://sub.e.org/a", None),
        ("https://e.org:8443/a", "other_host"),
        ("https://note.org/a", "other_host"),
        ("https://org/", "other_host"),
        ("https://e.org.evil.com/", "other_host"),
        ("http://f.org:8080/y", None),
        ("http://f.org/y", "other_host"),
        ("http://[::1]/", "other_host"),
        ("https://e.org/" + "a/" * 3, None),
        ("https://e.org/" + "a/" * 4, "trap"),
        ("https://e.org/x/y/x/y/x/y/x/y", "trap"),
        ("https://e.org/" + "/".join("abcdefghijklmnopq"), "long_url"),
        ("https://e.org/" + "a" * 1000, "long_url"),
        ("https://e.org/?" + "&".join("abcdefghij"), None),
        ("https://e.org/?" + "&".join("abcdefghijk"), "trap"),
    ],
)
def test_scope_and_traps(url, why):
    one = frontier()
    assert one.add(Link(url, "page", 1)) is (why is None)
    assert list(one.left_out) == ([why] if why else [])
    assert not one.add(Link(url, "page", 1)), "known, or refused again"


def test_depth_redirects_and_sitemaps_are_bounded():
    one = frontier(depth=2)
    links = [
        Link("https://e.org/1", "page", 3),
        Link("https://e.org/2", "page", 1, 6),
        Link("https://e.org/3", "sitemap", 3),
    ]
    assert [one.add(link) for link in links] == [False] * 3
    assert one.left_out == {"depth": 1, "redirects": 1, "sitemaps": 1}
    taken = [one.add(Link(f"https://e.org/s{n}", "sitemap", 0)) for n in range(60)]
    assert sum(taken) == 50


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://e.org/cal?month=3&year=2026", "http://e.org/cal?year=2027&month=12", True),
        ("http://e.org/2026/01/x", "http://e.org/2025/12/x", True),
        ("http://e.org/a1b2", "http://e.org/a9b33", True),
        ("http://e.org/a", "http://e.org/b", False),
        ("http://e.org/a?x=1", "http://e.org/a?y=1", False),
    ],
)
def test_patterns(one, other, same):
    assert (pattern_of(one) == pattern_of(other)) is same


def test_what_a_host_may_hold_is_bounded():
    one = frontier(pages_per_host=5, pages_per_pattern=3)
    for n in range(100):
        one.add(Link(f"https://e.org/{chr(97 + n % 26)}{'x' * (n // 26)}", "page", 1))
    assert one.waiting == 20 + 2, "four for each page of one host, and the other seeds"
    got = []
    while link := one.next_of("e.org"):
        got.append(link.url)
        one.asked(link)
    assert len(got) == 5 and not one.next_of("e.org")
    assert one.left_out["pages_per_host"] > 80


def test_names_below_a_host_without_number_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MAX_HOSTS", 7)
    monkeypatch.setattr(module, "_MAX_ADDRESSES", 12)
    one = frontier(pages=1)
    hosts = one.hosts
    for n in range(30):
        one.add(Link(f"https://n{n}.e.org/", "page", 1))
        one.add(Link(f"https://s{n}.e.org/s.xml", "sitemap", 0))
    assert one.hosts == 7 and one.left_out["hosts"] == 60 - (7 - hosts)
    for n in range(30):
        one.add(Link(f"https://www.e.org/{chr(97 + n)}", "page", 1))
    sitemaps = sum(1 for host in one.woken() if host.startswith("s"))
    assert one.left_out["addresses"] > 0 and one.waiting - sitemaps == 12


def test_a_journal_without_its_last_line(tmp_path):
    links = [Link("http://e.org/é", "page", 2, 1)]
    entries = [
        Entry(f"http://e.org/{n}", "page", n, 0, "stored", None, 1, n * 10, 5, "sha1:X", links, ["http://e.org/c"])
        for n in range(3)
    ]  # fmt: skip
    journal = Journal(tmp_path)
    for entry in entries:
        journal.add(entry)
    journal.close()
    path = tmp_path / "journal.jsonl"
    assert list(read_journal(tmp_path)) == entries
    whole = path.read_bytes()
    for cut in (1, 10, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-cut])
        assert list(read_journal(tmp_path)) == entries[:2]
        assert path.read_bytes() == b"".join(whole.splitlines(True)[:2])
    for damaged in (b"{}\n", b"[]\n", b"\0\0\0\n", b'{"url": "x"\n'):
        path.write_bytes(damaged + whole)
        with pytest.raises(ValueError, match=rf"ends at byte {len(damaged)} is damaged"):
            list(read_journal(tmp_path))


def test_the_line_of_progress(monkeypatch):
    figures = Figures(Counter(stored=1200, robots=30, redirect=2), 1000, 200, 5_300_000, 1, 77, 2)
    told = "1,000 pages, 200 images, 5.3 MB  3.0/s  77 addresses of 2 hosts wait  robots 30, redirect 2"
    assert line(figures, 3.0) == told
    out = io.StringIO()
    with watch(Console(file=out, force_terminal=True, width=200)) as tell:
        tell(figures)
    assert "1,000 pages" in out.getvalue()
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.0)
    log = io.StringIO()
    with watch(Console(file=log, width=200)) as tell:
        tell(figures)
    assert log.getvalue().startswith("crawl 1,000 pages, 200 images")
