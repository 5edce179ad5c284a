"""Requests of one event loop: each to a public address, in its host's turn, within its limits.

What is remembered of failures is remembered by origin (scheme, host, port): one service does not
speak for another.
"""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TypeVar

import aiohttp
from yarl import URL

from septet.preprocess.http.addresses import PublicResolver, check_address, is_allowed
from septet.preprocess.http.connections import SPARE, GuardedConnector
from septet.preprocess.http.failures import FetchError, explain
from septet.preprocess.http.pace import Pace
from septet.schemas.reasons import RejectedError
from septet.schemas.recipe import Fetch

T = TypeVar("T")
REDIRECTS = (301, 302, 303, 307, 308)
HOST_FAULTS = ("dns", "connect", "tls", "timeout")
"""Reasons of failures that tell of a host."""
_RESOLVERS = 64


class Budget:
    """The seconds that one URL has left; only time inside `spend` counts."""

    def __init__(self, seconds: float):
        self.left = seconds

    @asynccontextmanager
    async def spend(self) -> AsyncIterator[None]:
        """Count the time of the block, and end it when there is none left."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(self.left):
                yield
        finally:
            self.left -= time.monotonic() - start


class Exchange:
    """The state that all requests share: connections, the turns of hosts, and who fails.

    Args:
        session, connector: Of aiohttp.
        settings: The recipe's section; its `per_host` is for these requests alone.
        pace: The intervals of hosts.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        connector: GuardedConnector,
        settings: Fetch,
        pace: Pace,
    ):
        self.settings, self.pace, self.connector = settings, pace, connector
        self._session = session
        self._failed: Counter[URL] = Counter()  # tries in a row that an origin let fail
        self._places: dict[str, asyncio.Semaphore] = {}

    def check(self, url: URL) -> None:
        """Refuse a URL that must not be requested, whatever its server says.

        Raises:
            FetchError: `address`, or `no_contact`.
        """
        check_address(url, self.settings.allowed_hosts)
        require_contact(url, self.settings)

    async def ask(
        self,
        url: URL,
        budget: Budget,
        read: Callable[[aiohttp.ClientResponse, URL], Awaitable[T]],
        keep: bool = False,
    ) -> T:
        """Send one request within the budget, unless the origin has failed too often.

        Args:
            url: What is asked for. Redirects are not followed.
            budget: Of it; the time that is waited for the host's turn does not count.
            read: Reads the answer.
            keep: Whether the connection is wanted again.

        Raises:
            RejectedError: what failed, or what `read` raises.
        """
        self.check(url)
        host, origin = url.raw_host or "", url.origin()
        place = self._places.setdefault(host, asyncio.Semaphore(self.settings.per_host))
        await self.pace.turn(host)
        async with place:
            self.connector.want(origin, keep)
            if 0 < self.settings.give_up_after <= self._failed[origin]:
                raise FetchError("host_down", str(self.settings.give_up_after))
            try:
                try:
                    async with budget.spend():
                        answer = await self._request(url, read)
                except TimeoutError as error:
                    raise FetchError("timeout", "total") from error
            except RejectedError as failure:
                faulty = failure.reason in HOST_FAULTS
                self._failed[origin] = self._failed[origin] + 1 if faulty else 0
                raise
            self._failed[origin] = 0
            return answer

    def blame(self, origin: URL) -> None:
        """Count one more failed try of an origin: of somebody who waited for another's try."""
        self._failed[origin] += 1

    async def _request(
        self, url: URL, read: Callable[[aiohttp.ClientResponse, URL], Awaitable[T]]
    ) -> T:
        # The limits of resolving and connecting raise before this one.
        limit = 2 * self.settings.connect_timeout + self.settings.first_byte_timeout
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
            return await read(response, url)


def require_contact(url: URL, settings: Fetch) -> None:
    """Refuse a public host where nothing says whom it may turn to.

    Raises:
        FetchError: `no_contact`.
    """
    host = url.raw_host or ""
    if not settings.has_contact and not is_allowed(host, url.port, settings.allowed_hosts):
        raise FetchError("no_contact", host)


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    """The TLS context of the process: building one costs as much as twenty handshakes."""
    return ssl.create_default_context()


@asynccontextmanager
async def open_exchange(
    settings: Fetch, share: int = 1, accept_encoding: str = "identity"
) -> AsyncIterator[Exchange]:
    """Open an exchange; its connections are closed when the block ends.

    Args:
        settings: The recipe's section; `per_host` and `per_host_delay` are for all that share the
            hosts together.
        share: The number of exchanges that ask the same hosts at once, this one among them.
        accept_encoding: Codings of bodies that are asked for.
    """
    pace = Pace(settings.per_host_delay, share)
    settings = settings.model_copy(update={"per_host": max(1, settings.per_host // share)})
    resolver = PublicResolver(
        settings.allowed_hosts, settings.connect_timeout, min(settings.concurrency, _RESOLVERS)
    )
    connector = GuardedConnector(
        max(1, SPARE // share),
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
        headers={"User-Agent": settings.agent_header, "Accept-Encoding": accept_encoding},
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout, sock_read=settings.first_byte_timeout
        ),
    )
    try:
        async with session:
            yield Exchange(session, connector, settings, pace)
    finally:
        await resolver.close()
