"""The crawl: hosts are asked one request at a time, pages become records, links become questions.

The loop gives each host that may be asked its next address, and few hosts of one registered domain
at once; a visit asks for it and ends in one `Entry`. What a visit found is applied in one step,
without a wait: the archive, the journal and the frontier are always of one mind.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from yarl import URL

from septet.pipelines.crawl.archives import Archives
from septet.pipelines.crawl.frontier import Frontier, Link
from septet.pipelines.crawl.journal import Entry, Journal, read_journal
from septet.pipelines.crawl.settings import CrawlSettings, keep_settings
from septet.pipelines.crawl.turns import Turns
from septet.pipelines.sources.values import scrub
from septet.preprocess.domains import registered_domain
from septet.preprocess.html.outlinks import NOTHING, Outlinks, outlinks
from septet.preprocess.http.addresses import check_address, parse_url
from septet.preprocess.http.body import decode_content, read_raw
from septet.preprocess.http.exchange import (
    REDIRECTS,
    Budget,
    Exchange,
    open_exchange,
    require_contact,
)
from septet.preprocess.http.failures import FetchError, retry_after
from septet.preprocess.http.opt_out import agent_token, robots_directives
from septet.preprocess.http.pace import Pace
from septet.preprocess.http.sitemaps import MAX_BYTES as MAX_SITEMAP
from septet.preprocess.http.sitemaps import read_sitemap
from septet.preprocess.http.sites import Sites
from septet.preprocess.locks import locked
from septet.preprocess.warc.write import Exchanged
from septet.schemas.reasons import REASONS, RejectedError, class_of

_PAGES = ("text/html", "application/xhtml+xml")
_NOT_ASKED = ("robots", "opt_out", "robots_unreachable", "no_contact", "address", "host_down")
"""Outcomes of addresses that were not asked for: they cost nobody anything."""
_CODINGS = "gzip, deflate"
_PARSERS = min(4, os.cpu_count() or 1)
"""Most pages that are parsed at once, each in a process of its own."""


@dataclass
class Figures:
    """The figures of a crawl."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Addresses by what became of them (`Entry.outcome`)."""
    pages: int = 0
    images: int = 0
    bytes: int = 0
    """Bytes of answers that were stored."""
    archives: int = 0
    waiting: int = 0
    """Addresses that are still to be asked for."""
    hosts: int = 0
    """Hosts of these."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Links that were not taken, by why."""
    ended: str = ""
    """Why the crawl ended: `all` (nothing is left), `pages`, `bytes` or `hours`."""
    lost: int = 0
    """Lines of the journal that were forgotten, for an archive has lost what they tell of."""


Told = Callable[[Figures], None]


def crawl(
    seeds: Iterable[str], folder: Path, settings: CrawlSettings, told: Told, retry: bool = False
) -> Figures:
    """Crawl from seeds into a folder, or go on with a crawl that was stopped.

    Args:
        seeds: http(s) URLs.
        folder: Holds `warc/`, the journal and the settings.
        settings: Where to go, how far, and how to ask.
        told: Takes the figures after every visit.
        retry: Whether what failed for reasons that may pass is asked for again.

    Raises:
        ValueError: a seed is no URL, there is none, or no contact is set.
        ScopeError: the folder's crawl has another scope.
        JournalError: what an earlier run left is damaged.
        FolderBusyError: another crawl is at work in the folder.
    """
    urls = _require_seeds(seeds, settings)
    with locked(str(folder), alone=True, busy=f"another crawl is at work in {folder}"):
        keep_settings(folder, settings, urls)
        one = _Crawl(urls, folder, settings, told, retry)
        try:
            asyncio.run(one.run())
        finally:
            one.close()
        return one.figures


def _require_seeds(seeds: Iterable[str], settings: CrawlSettings) -> list[str]:
    """The seeds as URLs, each once.

    Raises:
        ValueError: see `crawl`.
    """
    urls: dict[str, None] = {}
    for seed in seeds:
        try:
            url = parse_url(seed if "://" in seed else f"https://{seed}")
        except RejectedError as error:
            raise ValueError(f"seed {seed!r} is no http(s) URL: {error}") from error
        try:
            check_address(url, settings.fetch.allowed_hosts)
        except RejectedError as error:
            raise ValueError(
                f"seed {seed}: {error.value} is not for the public; give a host of your own "
                "network with --private"
            ) from error
        try:
            require_contact(url, settings.fetch)
        except RejectedError as error:
            raise ValueError(
                f"{url.host} is a public host, and nothing says who asks: give a web page or a "
                "mail address where the people who run it can reach you, such as --contact "
                "crawler@example.org"
            ) from error
        urls[str(url)] = None
    if not urls:
        raise ValueError("there are no seeds: give at least one http(s) URL")
    return list(urls)


@dataclass(frozen=True)
class _Answer:
    """An answer as it was read: an `exchanged` one, or where it leads instead."""

    exchanged: Exchanged | None = None
    location: str | None = None
    media: str = ""
    charset: str | None = None
    directives: frozenset[str] = frozenset()


class _Crawl:
    """The state of one run."""

    def __init__(
        self, seeds: list[str], folder: Path, settings: CrawlSettings, told: Told, retry: bool
    ):
        self.settings, self.folder, self._told = settings, folder, told
        self.frontier = Frontier(settings, seeds)
        self.figures = Figures()
        self._agent = agent_token(settings.fetch.user_agent)
        self._digests: set[str] = set()
        self._hosts_met: set[str] = set()
        self._parsers = ThreadPoolExecutor(_PARSERS, thread_name_prefix="parse")
        self._pace = Pace(settings.fetch.per_host_delay / settings.per_domain)
        self._archives = Archives(folder, settings.fetch.agent_header)
        self.figures.lost = self._archives.lost
        self._play(retry)
        self._journal = Journal(folder)
        self._deadline = time.monotonic() + settings.hours * 3600

    def _play(self, retry: bool) -> None:
        """Stand where the journal ends."""
        done: set[str] = set()
        for entry in read_journal(self.folder):
            if retry and entry.outcome in REASONS and _may_pass(entry):
                continue
            done.add(entry.url)
            self._apply(entry)
        self.frontier.drop_asked(done)

    def _apply(self, entry: Entry) -> None:
        """Bring frontier and figures to where an entry leads."""
        for url in entry.known:
            self.frontier.know(url)
        for link in entry.links:
            self.frontier.add(link)
        if entry.outcome not in _NOT_ASKED:
            self.frontier.asked(entry.link)
        if entry.digest:
            self._digests.add(entry.digest)
        figures = self.figures
        figures.outcomes[entry.outcome] += 1
        if entry.outcome == "stored":
            figures.bytes += entry.bytes
            figures.pages += entry.kind == "page"
            figures.images += entry.kind == "image"

    def close(self) -> None:
        """Close the archive and the journal."""
        self._parsers.shutdown(cancel_futures=True)
        self._archives.close()
        self._journal.close()
        figures = self.figures
        figures.archives = self._archives.count()
        figures.left_out = self.frontier.left_out
        figures.waiting, figures.hosts = self.frontier.waiting, self.frontier.hosts

    async def run(self) -> None:
        """Visit until nothing is left or a budget is spent."""
        fetch = self.settings.fetch.model_copy(update={"per_host": 1})
        async with open_exchange(fetch, accept_encoding=_CODINGS) as exchange:
            sites = Sites(exchange, str(self.folder / "sites"))
            turns = Turns(self.settings.per_domain, exchange.pace.wait, self._pace.wait)
            running: dict[asyncio.Task[None], str] = {}
            try:
                while True:
                    wait = self._start(exchange, sites, turns, running)
                    if running:
                        await asyncio.wait(
                            running, timeout=wait, return_when=asyncio.FIRST_COMPLETED
                        )
                    elif wait is None:
                        break
                    else:
                        await asyncio.sleep(wait)
                    for task in [task for task in running if task.done()]:
                        host = running.pop(task)
                        turns.give_back(host, self.frontier.has(host))
                        task.result()
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
                await sites.close()

    def _start(
        self, exchange: Exchange, sites: Sites, turns: Turns, running: dict[asyncio.Task[None], str]
    ) -> float | None:
        """Start the visits that may begin now; returns the seconds until the next one may, None
        where none is left or those under way come first."""
        for host in self.frontier.woken():
            turns.add(host)
        while not self._is_over(len(running)) and len(running) < self.settings.fetch.concurrency:
            ready, wait = turns.take()
            if ready is None:
                if not self.frontier.hosts and not running:
                    self.figures.ended = "all"
                return wait
            if link := self.frontier.next_of(ready):
                self._pace.take(registered_domain(ready))
                running[asyncio.create_task(self._visit(link, exchange, sites))] = ready
            else:
                turns.give_back(ready, again=False)
        return None

    def _is_over(self, under_way: int) -> bool:
        """Whether a budget is spent."""
        spent = {
            "pages": self.frontier.pages + under_way >= self.settings.pages,
            "bytes": self.figures.bytes >= self.settings.total_bytes,
            "hours": time.monotonic() >= self._deadline,
        }
        self.figures.ended = next((name for name, over in spent.items() if over), "")
        return bool(self.figures.ended)

    async def _visit(self, link: Link, exchange: Exchange, sites: Sites) -> None:
        """Ask for one address, and note what became of it, whatever that is; only faults of this
        machine (a full disk) end the crawl.

        Raises:
            OSError: such a fault.
        """
        try:
            await self._visited(link, exchange, sites)
        except OSError:
            raise
        except Exception as error:
            text = scrub(f"{type(error).__name__}: {error}")[:200]
            self._note(_entry(link, "record_error", text))

    async def _visited(self, link: Link, exchange: Exchange, sites: Sites) -> None:
        try:
            url = parse_url(link.url)
            exchange.check(url)
            site = await sites.of(url)
            self._meet(url, site.robots.sitemaps)
            await sites.require(url)
            answer = await self._ask(url, link, exchange)
        except RejectedError as failure:
            self._note(_entry(link, failure.reason, failure.value))
            return
        if answer.location is not None:
            self._follow(link, answer.location)
        elif link.kind == "sitemap":
            await self._read_sitemap(link, answer)
        elif answer.exchanged is None:
            self._note(_entry(link, "media", answer.media[:100]))
        else:
            await self._keep(link, answer, answer.exchanged)

    def _meet(self, url: URL, sitemaps: list[str]) -> None:
        """Take the sitemaps that a host names, at the first visit."""
        origin = str(url.origin())
        if origin in self._hosts_met or not self.settings.sitemaps:
            return
        self._hosts_met.add(origin)
        for one in sitemaps:
            try:
                self.frontier.add(Link(str(parse_url(one, url)), "sitemap", 0))
            except RejectedError:
                self.frontier.left_out["bad_url"] += 1

    async def _ask(self, url: URL, link: Link, exchange: Exchange) -> _Answer:
        """Send the request, and again after failures that may pass."""
        fetch = self.settings.fetch
        budget, pause, tries = Budget(fetch.total_timeout), fetch.backoff, fetch.retries

        async def read(response: aiohttp.ClientResponse, at: URL) -> _Answer:
            return await self._read(response, at, link.kind)

        while True:
            try:
                return await exchange.ask(url, budget, read, keep=True)
            except FetchError as failure:
                wait = failure.retry_after
                wait = pause * random.uniform(0.5, 1.0) if wait is None else wait
                if not failure.transient or tries == 0 or wait >= budget.left:
                    raise
            tries, pause, budget.left = tries - 1, pause * 2, budget.left - wait
            await asyncio.sleep(wait)

    async def _read(self, response: aiohttp.ClientResponse, url: URL, kind: str) -> _Answer:
        headers, status = response.headers, response.status
        if status in REDIRECTS and "Location" in headers:
            return _Answer(location=str(parse_url(headers["Location"], url)))
        if status != 200:
            transient = class_of("http_status", str(status)) == "passing"
            wait = retry_after(headers.get("Retry-After")) if transient else None
            raise FetchError("http_status", str(status), transient, wait)
        media, _, parameters = headers.get("Content-Type", "").partition(";")
        media = media.strip().lower()
        wanted = {"page": media in _PAGES, "image": media.startswith("image/"), "sitemap": True}
        if not wanted[kind]:
            return _Answer(media=media or "none")
        limits = {"page": self.settings.max_page_bytes, "image": self.settings.fetch.max_bytes}
        body = await read_raw(response, limits.get(kind, MAX_SITEMAP))
        told = (
            robots_directives(value, self._agent) for value in headers.getall("X-Robots-Tag", ())
        )
        exchanged = Exchanged(
            str(url),
            [(name, value) for name, value in response.request_info.headers.items()],
            status,
            response.reason or "",
            list(response.raw_headers),
            body,
            datetime.now(UTC),
        )
        charset = response.charset if "charset" in parameters.lower() else None
        return _Answer(exchanged, None, media, charset, frozenset().union(*told))

    def _follow(self, link: Link, location: str) -> None:
        """Note a redirect; where it leads is an address of its own."""
        target = link._replace(url=location, hops=link.hops + 1)
        new = [target] if self.frontier.add(target) else []
        self._note(replace(_entry(link, "redirect", location), links=new))

    async def _read_sitemap(self, link: Link, answer: _Answer) -> None:
        assert answer.exchanged is not None
        found = await asyncio.to_thread(read_sitemap, answer.exchanged.body)
        depth = min(1, self.settings.depth)
        new: list[Link] = []
        for kind, deep, urls in (
            ("sitemap", link.depth + 1, found.sitemaps),
            ("page", depth, found.pages),
        ):
            for text in urls:
                try:
                    one = Link(str(parse_url(text, URL(link.url, encoded=True))), kind, deep)
                except RejectedError:
                    continue
                if self.frontier.add(one):
                    new.append(one)
        self._note(replace(_entry(link, "sitemap"), links=new))

    async def _keep(self, link: Link, answer: _Answer, exchanged: Exchanged) -> None:
        """Store a page or an image, and take its links."""
        found = NOTHING
        if link.kind == "page":
            try:
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(
                    self._parsers, self._links, link, answer, exchanged
                )
            except RejectedError as error:
                self._note(_entry(link, error.reason, error.value))
                return
        directives = answer.directives | found.robots
        digest = exchanged.payload_digest
        outcome = "stored"
        if "noarchive" in directives:
            outcome = "noarchive"
        elif digest in self._digests and link.kind == "page":
            outcome, found = "same", NOTHING
        new = self._take(link, found, "nofollow" in directives)
        known = [found.canonical] if found.canonical not in (None, link.url) else []
        entry = replace(_entry(link, outcome), links=new, known=[one for one in known if one])
        if outcome == "stored":
            self._archives.store(exchanged)
            entry = replace(entry, bytes=len(exchanged.body), digest=digest)
        self._note(entry)

    def _links(self, link: Link, answer: _Answer, exchanged: Exchanged) -> Outlinks:
        """Read a page's links; in a thread, for it takes time."""
        headers = {name.lower(): value for name, value in exchanged.headers}
        coding = headers.get(b"content-encoding", b"").decode("latin-1")
        body = decode_content(exchanged.body, coding, self.settings.max_page_bytes)
        return outlinks(body, link.url, answer.charset, self._agent, self.settings.images)

    def _take(self, link: Link, found: Outlinks, nofollow: bool) -> list[Link]:
        """Give what a page links to to the frontier; returns what was new."""
        if found.canonical and found.canonical != link.url:
            self.frontier.know(found.canonical)
        links = [Link(url, "page", link.depth + 1) for url in found.pages if not nofollow]
        links += [Link(url, "image", link.depth + 1) for url in found.images]
        return [one for one in links if self.frontier.add(one)]

    def _note(self, entry: Entry) -> None:
        """Write down what became of an address, and tell."""
        entry = self._archives.placed(entry)
        self._journal.add(entry)
        if self._archives.sync():
            self._journal.sync()
        self._apply(entry)
        figures = self.figures
        figures.waiting, figures.hosts = self.frontier.waiting, self.frontier.hosts
        self._told(figures)


def _entry(link: Link, outcome: str, value: str | None = None) -> Entry:
    told = None if value is None else scrub(value)  # headers hold any bytes
    return Entry(link.url, link.kind, link.depth, link.hops, outcome, told)


def _may_pass(entry: Entry) -> bool:
    return class_of(entry.outcome, entry.value) == "passing"
