"""The frontier of a crawl: which addresses are known, which are asked next, and which never.

It is plain state that follows from what happened, in order: a resumed crawl plays its journal and
stands where it was. Each host has a queue of its own, nearest pages first as they come.
"""

import re
from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from septet.pipelines.crawl.settings import CrawlSettings
from septet.preprocess.text.ids import hash64

_NUMBER = re.compile(r"\d+")
_MAX_URL = 1000
_MAX_SEGMENTS = 16
_MAX_REPEATS = 3
_MAX_PARAMETERS = 10
_MAX_REDIRECTS = 5
_MAX_SITEMAPS = 50
_KNOWN_A_PAGE = 4
"""Addresses that are held for each page that may be asked of a host."""
_MAX_HOSTS = 10_000
_MAX_ADDRESSES = 1_000_000
"""Addresses that are held of all hosts together, or `_KNOWN_A_PAGE` a page where that is more: a
name server may know every name below its own."""


class Link(NamedTuple):
    """An address to be asked for, with how it was come to."""

    url: str
    kind: str
    """page, image or sitemap."""
    depth: int
    """The number of links from a seed; of a sitemap, the number of sitemaps above it."""
    hops: int = 0
    """The number of redirects on the way."""


class Frontier:
    """The known addresses and the queues of hosts.

    Args:
        settings: Where the crawl may go, and how far.
        seeds: Absolute URLs.
    """

    def __init__(self, settings: CrawlSettings, seeds: Iterable[str]):
        self._settings = settings
        self._seen: set[int] = set()
        self._queues: dict[str, deque[Link]] = {}
        self._hosts: set[str] = set()
        self._woken: list[str] = []
        self._asked: Counter[str] = Counter()
        self._patterns: Counter[tuple[str, str]] = Counter()
        self._sitemaps: Counter[str] = Counter()
        self._known: Counter[str] = Counter()
        self._all = 0
        self._most = max(_MAX_ADDRESSES, _KNOWN_A_PAGE * settings.pages)
        self.waiting = 0
        """Addresses that are to be asked for."""
        self.pages = 0
        """Pages and images that were asked for."""
        self.left_out: Counter[str] = Counter()
        """Links that were not taken, by why."""
        seeds = list(seeds)
        self._scope = {_scope(urlsplit(url).netloc) for url in seeds}
        self._scope |= {_scope(host) for host in settings.hosts}
        for url in seeds:
            self.add(Link(url, "page", 0))

    def add(self, link: Link) -> bool:
        """Take a link, unless it is known or does not belong to the crawl; returns whether it
        was new and taken."""
        key = hash64(link.url, b"septet.crawl")
        if key in self._seen:
            return False
        parts = urlsplit(link.url)
        if why := self._refusal(link, parts.netloc, parts.path, parts.query):
            self.left_out[why] += 1
            return False
        self._seen.add(key)
        host = parts.hostname or ""
        self._hosts.add(host)
        if host not in self._queues:
            self._queues[host] = deque()
            self._woken.append(host)
        self.waiting += 1
        if link.kind == "sitemap":
            self._sitemaps[host] += 1
            self._queues[host].appendleft(link)
        else:
            self._known[host] += 1
            self._all += 1
            self._queues[host].append(link)
        return True

    def know(self, url: str) -> None:
        """Note an address that need not be asked for: what stands there was found elsewhere."""
        self._seen.add(hash64(url, b"septet.crawl"))

    @property
    def hosts(self) -> int:
        """The number of hosts with addresses that are to be asked for."""
        return len(self._queues)

    def woken(self) -> list[str]:
        """The hosts that have addresses to be asked for, and had none when this was last asked or
        never; in the order in which they came to have some."""
        woken, self._woken = self._woken, []
        return woken

    def has(self, host: str) -> bool:
        """Whether addresses of a host are to be asked for."""
        return host in self._queues

    def next_of(self, host: str) -> Link | None:
        """Take the next link of a host; None where it has none, or its budget is spent."""
        while queue := self._queues.get(host):
            link = queue.popleft()
            self.waiting -= 1
            if not queue:
                del self._queues[host]
            if link.kind == "sitemap":
                return link
            if self._asked[host] >= self._settings.pages_per_host:
                self.left_out["pages_per_host"] += 1
            elif link.kind == "page" and self._is_spent(link.url):
                self.left_out["pages_per_pattern"] += 1
            else:
                return link
        return None

    def asked(self, link: Link) -> None:
        """Note that a link was asked for, so that it is never taken again."""
        self._seen.add(hash64(link.url, b"septet.crawl"))
        if link.kind == "sitemap":
            return
        host = urlsplit(link.url).hostname or ""
        self.pages += 1
        self._asked[host] += 1
        if link.kind == "page":
            self._patterns[host, pattern_of(link.url)] += 1

    def drop_asked(self, done: set[str]) -> None:
        """Take what was asked for out of the queues, after a journal was played."""
        left = {
            host: deque(link for link in queue if link.url not in done)
            for host, queue in self._queues.items()
        }
        self._queues = {host: queue for host, queue in left.items() if queue}
        self._woken = list(self._queues)
        self.waiting = sum(map(len, self._queues.values()))

    def _is_spent(self, url: str) -> bool:
        key = urlsplit(url).hostname or "", pattern_of(url)
        return self._patterns[key] >= self._settings.pages_per_pattern

    def _in_scope(self, netloc: str) -> bool:
        name, port = _scope(netloc)
        while name:
            if (name, port) in self._scope:
                return True
            name = name.partition(".")[2]
        return False

    def _refusal(self, link: Link, netloc: str, path: str, query: str) -> str | None:
        """Why a link is not taken; None for one that is."""
        settings = self._settings
        host = urlsplit(f"//{netloc}").hostname or ""
        segments = [one for one in path.split("/") if one]
        most = Counter(segments).most_common(1)
        if not self._in_scope(netloc):
            return "other_host"
        if host not in self._hosts and len(self._hosts) >= _MAX_HOSTS:
            return "hosts"
        if link.kind == "sitemap":
            too_many = self._sitemaps[host] >= _MAX_SITEMAPS
            return "sitemaps" if too_many or link.depth > 2 else None
        if link.kind == "page" and link.depth > settings.depth:
            return "depth"
        if link.hops > _MAX_REDIRECTS:
            return "redirects"
        if len(link.url) > _MAX_URL or len(segments) > _MAX_SEGMENTS:
            return "long_url"
        if (most and most[0][1] > _MAX_REPEATS) or query.count("&") >= _MAX_PARAMETERS:
            return "trap"
        if self._known[host] >= _KNOWN_A_PAGE * settings.pages_per_host:
            return "pages_per_host"
        if self._all >= self._most:
            return "addresses"
        if link.kind == "page" and self._is_spent(link.url):
            return "pages_per_pattern"
        return None


def pattern_of(url: str) -> str:
    """What addresses that are made by one rule have in common: the path without its numbers, and
    the names of the query's parameters."""
    parts = urlsplit(url)
    names = sorted({one.partition("=")[0] for one in parts.query.split("&")})
    return f"{_NUMBER.sub('0', parts.path)}?{'&'.join(_NUMBER.sub('0', name) for name in names)}"


def _scope(netloc: str) -> tuple[str, int]:
    """A host without `www.`, and its port; 0 for those of http and https."""
    parts = urlsplit(f"//{netloc}")
    name = (parts.hostname or "").removeprefix("www.")
    try:
        port = parts.port or 0
    except ValueError:
        port = -1
    return name, 0 if port in (80, 443) else port
