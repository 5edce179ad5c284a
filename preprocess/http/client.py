"""The HTTP client: it fetches many URLs, each within a budget of time, bytes and redirects.

The order of requests is by host: up to `per_host` at once on each, most wanted host first, so that
connections are reused and one slow host holds up nobody else. Before anything else a server is
asked for its robots.txt. Every URL ends in exactly one `Fetched`, whatever a server does; its
reasons are those of `septet.schemas.reasons.REASONS`.
"""

import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import aiohttp
from yarl import URL

from septet.preprocess.http.addresses import check_address, parse_url
from septet.preprocess.http.body import read_body
from septet.preprocess.http.exchange import (
    REDIRECTS,
    Budget,
    Exchange,
    open_exchange,
    require_contact,
)
from septet.preprocess.http.failures import FetchError, retry_after
from septet.preprocess.http.opt_out import agent_token, find_opt_out
from septet.preprocess.http.pace import Lanes
from septet.preprocess.http.sites import Sites
from septet.schemas.reasons import RejectedError, class_of
from septet.schemas.recipe import Fetch

_TELL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result of fetching one URL: a `body`, or a `reason` with the `value` that failed."""

    url: str
    body: bytes | None
    reason: str | None = None
    value: str | None = None


def fetch_many(
    urls: Iterable[str],
    settings: Fetch,
    handle: Callable[[Fetched], None],
    threads: int = 1,
    share: int = 1,
    sites: str | None = None,
    waiting: Callable[[int], None] | None = None,
) -> int:
    """Fetch `urls` and call `handle` with each result, in the order in which they come.

    Runs an event loop in a thread and `handle` in `threads` others (one by default: then it
    is never called twice at once), so that decoding does not delay the network. What `handle`
    raises ends the fetch and is raised here.

    Args:
        urls: The URLs to fetch.
        settings: The recipe's section; `per_host` and `per_host_delay` are for all that share the
            hosts together.
        handle: Takes each result.
        threads: The number of threads in which it is called.
        share: The number of fetches that ask the same hosts at once, this one among them.
        sites: The folder that keeps what servers' robots.txt and the like say; none when absent.
        waiting: Takes the number of hosts that have URLs without a result, every two seconds.

    Returns:
        Number of connections that were closed because bytes came on them unasked.

    Raises:
        OSError: this machine ran out of file descriptors.
    """

    async def run() -> int:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(threads, thread_name_prefix="fetched") as pool:

            async def on_done(result: Fetched) -> None:
                await loop.run_in_executor(pool, handle, result)

            return await fetch_all(urls, settings, on_done, share, sites, waiting)

    # In a thread of its own: a notebook's has an event loop already.
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as own:
        return own.submit(asyncio.run, run()).result()


async def fetch_all(
    urls: Iterable[str],
    settings: Fetch,
    on_done: Callable[[Fetched], Awaitable[None]],
    share: int = 1,
    sites: str | None = None,
    waiting: Callable[[int], None] | None = None,
) -> int:
    """Fetch `urls` and await `on_done` with each result, in the order in which they come.

    `on_done` runs up to `settings.concurrency` times at once; no more bodies than that are held,
    because a request's place is not given away before its result is taken. The URLs themselves
    are all held. What `on_done` raises ends the fetch and is raised here.
    `share`, `sites`, `waiting`: see `fetch_many`.

    Returns:
        Number of connections that were closed because bytes came on them unasked.

    Raises:
        OSError: this machine ran out of file descriptors.
    """
    queues: dict[str, deque[tuple[str, URL]]] = defaultdict(deque)
    for text in urls:
        try:
            url = parse_url(text)
            check_address(url, settings.allowed_hosts)
            require_contact(url, settings)
        except RejectedError as failure:
            await on_done(Fetched(text, None, failure.reason, failure.value))
        else:
            queues[url.raw_host or ""].append((text, url))

    async with open_exchange(settings, share) as exchange:
        by_size = sorted(queues.values(), key=len, reverse=True)
        most = exchange.settings.per_host
        lanes = Lanes(queue for queue in by_size for _ in range(min(most, len(queue))))
        left = {host: len(queue) for host, queue in queues.items()}
        by_origin = Counter(url.origin() for queue in queues.values() for _, url in queue)
        fetcher = _Fetcher(exchange, Sites(exchange, sites), by_origin)

        async def work() -> None:
            while (lane := await lanes.take()) is not None:
                while lane:
                    if wait := exchange.pace.wait(lane[0][1].raw_host or ""):
                        lanes.park(lane, wait)
                        break
                    text, url = lane.popleft()
                    await on_done(await fetcher.fetch(text, url))
                    left[url.raw_host or ""] -= 1

        async def tell() -> None:
            while waiting is not None:
                waiting(sum(map(bool, left.values())))
                await asyncio.sleep(_TELL_SECONDS)

        workers = [
            asyncio.create_task(work()) for _ in range(min(settings.concurrency, len(lanes)))
        ]
        tasks = [*workers, asyncio.create_task(tell())]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await fetcher.sites.close()
        return exchange.connector.unsolicited


class _Fetcher:
    """The state that the fetches of one `fetch_all` share."""

    def __init__(self, exchange: Exchange, sites: Sites, waiting: Counter[URL]):
        self.sites = sites
        self._exchange, self._settings = exchange, exchange.settings
        self._waiting = waiting  # URLs of each origin that were not begun

    async def fetch(self, text: str, url: URL) -> Fetched:
        budget = Budget(self._settings.total_timeout)
        pause = self._settings.backoff
        tries = self._settings.retries
        self._waiting[url.origin()] -= 1
        while True:
            try:
                return Fetched(text, await self._follow(url, budget))
            except RejectedError as failure:
                transient = isinstance(failure, FetchError) and failure.transient
                wait = failure.retry_after if isinstance(failure, FetchError) else None
                if wait is None:
                    wait = pause * random.uniform(0.5, 1.0)  # so that retries spread out
                if not transient or tries == 0 or wait >= budget.left:
                    return Fetched(text, None, failure.reason, failure.value)
            tries -= 1
            pause *= 2
            budget.left -= wait
            await asyncio.sleep(wait)

    async def _follow(self, url: URL, budget: Budget) -> bytes:
        """Request `url` and what it redirects to; returns the body at the end."""
        first = url.origin()
        for _ in range(self._settings.max_redirects + 1):
            self._exchange.check(url)
            await self.sites.require(url)
            answer = await self._exchange.ask(url, budget, self._read, self._waiting[first] > 0)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise FetchError("redirects", str(self._settings.max_redirects))

    async def _read(self, response: aiohttp.ClientResponse, url: URL) -> bytes | URL:
        """Read the body, or the place where the answer redirects to."""
        headers, settings = response.headers, self._settings
        if response.status in REDIRECTS and "Location" in headers:
            return parse_url(headers["Location"], url)
        if response.status != 200:
            transient = class_of("http_status", str(response.status)) == "passing"
            wait = retry_after(headers.get("Retry-After")) if transient else None
            raise FetchError("http_status", str(response.status), transient, wait)
        opt_out = find_opt_out(
            headers.getall("X-Robots-Tag", ()),
            headers.getall("tdm-reservation", ()) if settings.tdm_reservation else (),
            agent_token(settings.user_agent),
            settings.opt_out,
        )
        if opt_out:
            raise FetchError("opt_out", opt_out)
        return await read_body(response, settings.max_bytes)
