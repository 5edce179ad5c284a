"""The HTTP client: it fetches many URLs, each within a budget of time, bytes and redirects.

The order of requests is by host: up to `per_host` at once on each, most wanted host first, so that
connections are reused and one slow host holds up nobody else. What is remembered of failures is
remembered by origin (scheme, host, port): one service does not speak for another. Every URL ends
in exactly one `Fetched`, whatever a server does; its reasons are those of
`septet.schemas.reasons.REASONS`.
"""

import asyncio
import random
import re
import ssl
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

import aiohttp
from yarl import URL

from septet.preprocess.http.addresses import PublicResolver, check_address, parse_url
from septet.preprocess.http.body import read_body
from septet.preprocess.http.connections import SPARE, GuardedConnector
from septet.preprocess.http.failures import FetchError, explain
from septet.preprocess.http.opt_out import agent_token, find_opt_out
from septet.schemas.reasons import RejectedError, class_of
from septet.schemas.recipe import Fetch

_REDIRECTS = (301, 302, 303, 307, 308)
_HOST_FAULTS = ("dns", "connect", "tls", "timeout")


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
) -> int:
    """Fetch `urls` and call `handle` with each result, in the order in which they come.

    Runs an event loop in a thread and `handle` in `threads` others (one by default: then it
    is never called twice at once), so that decoding does not delay the network. What `handle`
    raises ends the fetch and is raised here.

    Args:
        urls: The URLs to fetch.
        settings: The recipe's section; `per_host` is for all that share the hosts together.
        handle: Takes each result.
        threads: The number of threads in which it is called.
        share: The number of fetches that ask the same hosts at once, this one among them.

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

            return await fetch_all(urls, settings, on_done, share)

    # In a thread of its own: a notebook's has an event loop already.
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as own:
        return own.submit(asyncio.run, run()).result()


async def fetch_all(
    urls: Iterable[str],
    settings: Fetch,
    on_done: Callable[[Fetched], Awaitable[None]],
    share: int = 1,
) -> int:
    """Fetch `urls` and await `on_done` with each result, in the order in which they come.

    `on_done` runs up to `settings.concurrency` times at once; no more bodies than that are held,
    because a request's place is not given away before its result is taken. The URLs themselves
    are all held. What `on_done` raises ends the fetch and is raised here.
    `share`: see `fetch_many`.

    Returns:
        Number of connections that were closed because bytes came on them unasked.

    Raises:
        OSError: this machine ran out of file descriptors.
    """
    settings = settings.model_copy(update={"per_host": max(1, settings.per_host // share)})
    queues: dict[str, deque[tuple[str, URL]]] = defaultdict(deque)
    for text in urls:
        try:
            url = parse_url(text)
            check_address(url, settings.allowed_hosts)
        except RejectedError as failure:
            await on_done(Fetched(text, None, failure.reason, failure.value))
        else:
            queues[url.raw_host or ""].append((text, url))
    by_size = sorted(queues.values(), key=len, reverse=True)
    lanes = deque(queue for queue in by_size for _ in range(min(settings.per_host, len(queue))))

    async with _session(settings, max(1, SPARE // share)) as (session, connector):
        waiting = Counter(url.origin() for queue in queues.values() for _, url in queue)
        fetcher = _Fetcher(session, connector, settings, waiting)

        async def work() -> None:
            while lanes:
                lane = lanes.popleft()
                while lane:
                    await on_done(await fetcher.fetch(*lane.popleft()))

        workers = [
            asyncio.create_task(work()) for _ in range(min(settings.concurrency, len(lanes)))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return connector.unsolicited


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    """The TLS context of the process: building one costs as much as twenty handshakes."""
    return ssl.create_default_context()


@asynccontextmanager
async def _session(
    settings: Fetch, spare: int
) -> AsyncIterator[tuple[aiohttp.ClientSession, GuardedConnector]]:
    resolver = PublicResolver(
        settings.allowed_hosts, settings.connect_timeout, min(settings.concurrency, 64)
    )
    connector = GuardedConnector(
        spare,
        resolver=resolver,
        ssl=_tls_context(),
        limit=0,
        ttl_dns_cache=300,
        keepalive_timeout=5,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        max_line_size=2**14,
        max_field_size=2**15,
        headers={"User-Agent": settings.user_agent, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout, sock_read=settings.first_byte_timeout
        ),
    )
    try:
        async with session:
            yield session, connector
    finally:
        await resolver.close()


class _Budget:
    """The seconds that one URL has left; only time inside `spend` counts."""

    def __init__(self, seconds: float):
        self.left = seconds

    @asynccontextmanager
    async def spend(self) -> AsyncIterator[None]:
        start = time.monotonic()
        try:
            async with asyncio.timeout(self.left):
                yield
        finally:
            self.left -= time.monotonic() - start


class _Fetcher:
    """The state that the requests of one `fetch_all` share."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        connector: GuardedConnector,
        settings: Fetch,
        waiting: Counter[URL],
    ):
        self._session, self._connector, self._settings = session, connector, settings
        self._waiting = waiting  # URLs of each origin that were not begun
        self._failed: Counter[URL] = Counter()  # tries in a row that an origin let fail
        self._places: dict[str, asyncio.Semaphore] = {}

    async def fetch(self, text: str, url: URL) -> Fetched:
        budget = _Budget(self._settings.total_timeout)
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

    async def _follow(self, url: URL, budget: _Budget) -> bytes:
        """Request `url` and what it redirects to; returns the body at the end."""
        first = url.origin()
        for _ in range(self._settings.max_redirects + 1):
            check_address(url, self._settings.allowed_hosts)
            host = url.raw_host or ""
            place = self._places.setdefault(host, asyncio.Semaphore(self._settings.per_host))
            async with place:
                self._connector.want(url.origin(), self._waiting[first] > 0)
                answer = await self._try(url, budget)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise FetchError("redirects", str(self._settings.max_redirects))

    async def _try(self, url: URL, budget: _Budget) -> bytes | URL:
        """Send one request within the budget, unless the origin has failed too often."""
        origin = url.origin()
        if 0 < self._settings.give_up_after <= self._failed[origin]:
            raise FetchError("host_down", str(self._settings.give_up_after))
        try:
            try:
                async with budget.spend():
                    answer = await self._request(url)
            except TimeoutError as error:
                raise FetchError("timeout", "total") from error
        except RejectedError as failure:
            self._failed[origin] = self._failed[origin] + 1 if failure.reason in _HOST_FAULTS else 0
            raise
        self._failed[origin] = 0
        return answer

    async def _request(self, url: URL) -> bytes | URL:
        """Send one request; returns the body, or the place where the answer redirects to."""
        # The limits of resolving and connecting raise before this one.
        limit = 2 * self._settings.connect_timeout + self._settings.first_byte_timeout
        try:
            async with asyncio.timeout(limit):
                response = await self._session.get(url, allow_redirects=False)
        except aiohttp.ClientError as error:
            failure = explain(error)
            if failure.value == "read":
                failure = FetchError("timeout", "first_byte", transient=True)
            raise failure from error
        except TimeoutError as error:
            raise FetchError("timeout", "first_byte", transient=True) from error
        async with response:
            return await self._read(response, url)

    async def _read(self, response: aiohttp.ClientResponse, url: URL) -> bytes | URL:
        headers, settings = response.headers, self._settings
        if response.status in _REDIRECTS and "Location" in headers:
            return parse_url(headers["Location"], url)
        if response.status != 200:
            transient = class_of("http_status", str(response.status)) == "passing"
            wait = _seconds(headers.get("Retry-After")) if transient else None
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


def _seconds(retry_after: str | None) -> float | None:
    """Parse a Retry-After header into seconds from now; None where it cannot be understood."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", retry_after):
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
        if when.tzinfo is None:  # "-0000": UTC, the sender's own zone unknown (RFC 5322, 3.3)
            when = when.replace(tzinfo=UTC)
        return max(0.0, when.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
