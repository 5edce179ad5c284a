"""Sites' rules: what robots.txt, tdmrep.json and ai.txt of an origin say, asked for before anything
else of it, and kept in a folder for the next time.

What comes of robots.txt (RFC 9309):

    2xx                     its rules; of more than 500 KiB the first 500
    3xx                     followed, five times at most, to other hosts too; the rules are those of
                            the origin that was asked first
    more redirects          no rules
    401, 403, 404, any 4xx  no rules
    429, 5xx                unreachable, after retries
    no answer in time, no HTTP, a redirect to what cannot be had: unreachable
    no name, no connection, no TLS: the URL fails for the same reason, and is not tried

Where it is unreachable nothing is requested, unless the recipe allows it. The other files are asked
for where robots.txt does not disallow them; whatever is wrong with them, they say nothing.
"""

import asyncio
import hashlib
import json
import random
import time
from collections import OrderedDict
from typing import Any

import aiohttp
from yarl import URL

from septet.preprocess import files
from septet.preprocess.http.addresses import parse_url
from septet.preprocess.http.body import decode_content
from septet.preprocess.http.exchange import HOST_FAULTS, REDIRECTS, Budget, Exchange
from septet.preprocess.http.failures import FetchError, retry_after
from septet.preprocess.http.opt_out import agent_token
from septet.preprocess.http.robots import MAX_BYTES, Rules, read_robots, read_tdmrep
from septet.schemas.reasons import RejectedError

_HOPS = 5
_CHUNK = 2**14
_HELD_BYTES = 2**26
_PATHS = {"tdmrep.json": "/.well-known/tdmrep.json", "ai.txt": "/ai.txt"}
_NO_RULES = "none"
_ANOTHERS_FAULT = ("host_down", "address", "no_contact")
_LARGE = 2**13

Answer = tuple[int, str | None, bytes]
"""Status, where it redirects to, the first `MAX_BYTES` of the body."""


class Unreachable(Exception):
    """Raised when robots.txt cannot be had; says what came instead."""


class Site:
    """The rules of one origin: those of robots.txt, and those of files that reserve rights, by
    their names."""

    def __init__(self, robots: Rules, reserved: dict[str, Rules], size: int):
        self.robots, self.reserved, self.size = robots, reserved, size


class Sites:
    """The rules of the origins that one exchange asks, each asked for once.

    Args:
        exchange: Sends the requests.
        folder: Where answers are kept, a file an origin; nowhere when None, or for no hours.
    """

    def __init__(self, exchange: Exchange, folder: str | None = None):
        self._exchange, self._settings = exchange, exchange.settings
        self._folder = folder if self._settings.robots_hours else None
        self._agent = agent_token(self._settings.user_agent)
        self._held: OrderedDict[URL, Site | Unreachable] = OrderedDict()
        self._size = 0
        self._under_way: dict[URL, asyncio.Task[Site]] = {}

    @property
    def are_asked(self) -> bool:
        """Whether anything is asked for at all."""
        return self._settings.robots == "respect" or bool(self._settings.opt_out_files)

    async def require(self, url: URL) -> None:
        """Ask whether a URL may be requested.

        Raises:
            FetchError: `robots`, `robots_unreachable` or `opt_out`: it may not; or the failure of a
                host that gives no answer at all.
        """
        if not self.are_asked:
            return
        site = await self.of(url)
        if not site.robots.allows(str(url)):
            raise FetchError("robots", url.raw_path_qs[:200])
        for name, rules in site.reserved.items():
            if not rules.allows(str(url)):
                raise FetchError("opt_out", name)

    async def of(self, url: URL) -> Site:
        """The rules of the origin of a URL.

        Raises:
            FetchError: as `require`.
        """
        origin = url.origin()
        held = self._held.get(origin)
        if held is None:
            is_first = origin not in self._under_way
            if is_first:
                learning = asyncio.create_task(self._learn(origin))
                # Its failure is that of whoever waits for it; nobody may, if all were cancelled.
                learning.add_done_callback(lambda task: task.cancelled() or task.exception())
                self._under_way[origin] = learning
            task = self._under_way[origin]
            try:
                # What somebody else waits for goes on when this one is cancelled.
                held = await asyncio.shield(task)
            except Unreachable as error:
                held = error
            except FetchError as failure:
                if not is_first and failure.reason in HOST_FAULTS:
                    self._exchange.blame(origin)
                raise
        if isinstance(held, Unreachable):
            raise FetchError("robots_unreachable", str(held))
        return held

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _learn(self, origin: URL) -> Site:
        """Read what is kept of an origin, ask for the rest, keep it; one at a time of an origin."""
        try:
            known = await asyncio.to_thread(self._read, origin)
            before = dict(known)
            robots = Rules(None, self._agent)
            if self._settings.robots == "respect":
                robots = await self._robots(origin, known)
            reserved = await self._learn_reserved(origin, known, robots)
            if known != before and self._folder is not None:
                await asyncio.to_thread(self._write, origin, known)
            site = Site(robots, reserved, sum(len(text or "") for text in known.values()))
            self._hold(origin, site)
            return site
        except Unreachable as error:
            self._hold(origin, error)
            raise
        finally:
            del self._under_way[origin]

    def _hold(self, origin: URL, site: Site | Unreachable) -> None:
        """Hold what was learnt, and forget the oldest where it is too much."""
        self._held[origin] = site
        self._size += getattr(site, "size", 0)
        while self._size > _HELD_BYTES and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._size -= getattr(oldest, "size", 0)

    async def _robots(self, origin: URL, known: dict[str, str | None]) -> Rules:
        if "robots.txt" not in known:
            try:
                known["robots.txt"] = await self._ask_robots(origin)
            except (Unreachable, FetchError):
                if self._settings.robots_unreachable == "refuse":
                    raise
                return Rules(None, self._agent)
        rules = await self._parsed("robots.txt", known["robots.txt"])
        delay = min(rules.crawl_delay, self._settings.max_crawl_delay)
        self._exchange.pace.slow_down(origin.raw_host or "", delay)
        return rules

    async def _parsed(self, name: str, text: str | None) -> Rules:
        """The rules of a file; long ones are read in a thread."""
        if text is None:
            return Rules(None, self._agent)
        data = text.encode()

        def read() -> Rules:
            return read_tdmrep(data) if name == "tdmrep.json" else read_robots(data, self._agent)

        return await asyncio.to_thread(read) if len(data) > _LARGE else read()

    async def _ask_robots(self, origin: URL) -> str | None:
        """The text of robots.txt, None where there is none.

        Raises:
            Unreachable: it cannot be had.
            FetchError: nor can anything else of the origin.
        """
        budget = Budget(self._settings.total_timeout)
        pause, tries = self._settings.backoff, self._settings.retries
        while True:
            status, after, body = await self._get(origin, "/robots.txt", budget)
            if status != 429 and status < 500:
                return _text(body) if 200 <= status < 300 else None
            wait = after if after is not None else pause * random.uniform(0.5, 1.0)
            if tries == 0 or wait >= budget.left:
                raise Unreachable(str(status))
            tries, pause, budget.left = tries - 1, pause * 2, budget.left - wait
            await asyncio.sleep(wait)

    async def _learn_reserved(
        self, origin: URL, known: dict[str, str | None], robots: Rules
    ) -> dict[str, Rules]:
        """The rules of files that reserve rights; those that are not known are asked for."""
        found: dict[str, Rules] = {}
        for name in self._settings.opt_out_files:
            if name not in known and robots.allows(str(origin.with_path(_PATHS[name]))):
                try:
                    budget = Budget(self._settings.total_timeout)
                    status, _, body = await self._get(origin, _PATHS[name], budget)
                    if status != 429 and status < 500:
                        known[name] = _text(body) if status == 200 else None
                except (Unreachable, FetchError):
                    pass
            found[name] = await self._parsed(name, known.get(name))
        return found

    async def _get(self, origin: URL, path: str, budget: Budget) -> tuple[int, float | None, bytes]:
        """Ask for a file of an origin, by way of redirects; returns the status (404 where there are
        too many of them), the pause that the server asks for, and the body.

        Raises:
            Unreachable: no answer, or none that can be read.
            FetchError: the origin gives no answer to anything.
        """
        url = origin.with_path(path)
        for _ in range(_HOPS + 1):
            try:
                status, location, after, body = await self._exchange.ask(
                    url, budget, _read, keep=True
                )
                if location is None:
                    return status, after, body
                url = parse_url(location, url)
            except RejectedError as failure:
                if url.origin() == origin and _is_of_host(failure):
                    raise
                text = f"{failure.reason}: {failure.value}" if failure.value else failure.reason
                raise Unreachable(text[:200]) from failure
        return 404, None, b""

    def _path(self, origin: URL) -> str:
        name = hashlib.blake2b(str(origin).encode(), digest_size=8, person=b"septet.site")
        digest = name.hexdigest()
        assert self._folder is not None
        return files.join(self._folder, digest[:2], f"{digest}.json")

    def _read(self, origin: URL) -> dict[str, str | None]:
        """What is kept of an origin, by the names of files; nothing where it is too old."""
        if self._folder is None:
            return {}
        try:
            kept: dict[str, Any] = json.loads(files.read_bytes(self._path(origin)))
            age = time.time() - kept["time"]
            fresh = 0 <= age < self._settings.robots_hours * 3600
            return dict(kept["files"]) if fresh and kept["origin"] == str(origin) else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _write(self, origin: URL, known: dict[str, str | None]) -> None:
        kept = {"origin": str(origin), "time": time.time(), "files": known}
        files.write_bytes(self._path(origin), json.dumps(kept).encode())


def _is_of_host(failure: RejectedError) -> bool:
    """Whether a failure would be that of any other request to the same origin."""
    late = failure.reason == "timeout" and failure.value != "connect"
    return failure.reason in (*HOST_FAULTS, *_ANOTHERS_FAULT) and not late


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace").replace("\0", "")


async def _read(
    response: aiohttp.ClientResponse, url: URL
) -> tuple[int, str | None, float | None, bytes]:
    """Read an answer, and no more of its body than counts."""
    headers = response.headers
    if response.status in REDIRECTS and "Location" in headers:
        return response.status, headers["Location"], None, b""
    after = retry_after(headers.get("Retry-After"))
    if not 200 <= response.status < 300:
        return response.status, None, after, b""
    pieces, size = [], 0
    try:
        async for piece in response.content.iter_chunked(_CHUNK):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BYTES:
                break
    except aiohttp.ClientError as error:
        raise FetchError("truncated", str(size)) from error
    body = b"".join(pieces)
    if body and (coding := headers.get("Content-Encoding", "")):
        body = await asyncio.to_thread(decode_content, body, coding, MAX_BYTES + 1, cut=True)
    return response.status, None, after, body[: MAX_BYTES + 1]
