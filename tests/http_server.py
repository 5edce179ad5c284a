"""A real HTTP server on loopback that behaves as badly as the open web.

    with HostileServer({"/cat.jpg": jpeg}) as server:
        server.url("/cat.jpg"); server.hits["/cat.jpg"]

Served beside `files` (whose content type is told from the extension):

    /html.jpg             HTML under an image's name and type
    /empty.jpg            no bytes
    /endless?NAME=VALUE   a body without end, with further headers
    /slow-headers?s=      headers after that many seconds
    /slow-drip            a byte every 20 ms, without end
    /stall?NAME=VALUE     half a body, then silence
    /redirect?to=         one redirect, to any target
    /hops/N?to=           N redirects of its own, then the target
    /loop                 a redirect to itself
    /status/N             that status, with a body
    /flaky/N/TIMES?to=    that status TIMES times, then the file; ?after= sets Retry-After
    /short?to=            the file's second half missing, Content-Length of the whole
    /short-chunked?to=    the same in chunks, without the last one
    /reset, /reset-body   the connection is reset, before and within the answer
    /garbage              no HTTP
    /long-header          a header of 100 kB
    /gzip?to=             the file, gzip-coded although nobody asked
    /deflate?to=, /raw-deflate?to=
    /gzip-bomb            100 MiB of zeros in 100 kB
    /gzip-cut?to=         a gzip stream without its end
    /not-gzip?to=         the file as it is, labelled gzip
    /headers?to=&NAME=VALUE   the file with further headers
    /slow?to=&s=          the file after that many seconds
    /slow-redirect?to=&s= a redirect after that many seconds

Questions for `RULES` are counted apart, in `rules`; they are answered from `answers` (path to
handler) or `files`, else with 404.
"""

import asyncio
import gzip
import logging
import ssl
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Self
from urllib.parse import quote

from aiohttp import web

_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}
RULES = ("/robots.txt", "/.well-known/tdmrep.json", "/ai.txt")
_HTML = b"<!DOCTYPE html><html><head><title>Not here</title></head><body>Sorry.</body></html>"


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """A gzip stream of 100 equal blocks of 1 MiB of zeros (and no end: nobody should get there)."""
    stream = zlib.compressobj(wbits=31)
    first, block = (stream.compress(bytes(2**20)) + stream.flush(zlib.Z_FULL_FLUSH) for _ in "ab")
    return first + block * 99


class HostileServer:
    """Runs in a thread of its own on a free port of 127.0.0.1 (or a given one) until the `with` block ends.

    `pause` is how many seconds a file takes; `hits` counts requests by path, `headers` keeps the last request's headers by path, `busiest`
    is the largest number of requests that were being answered at once, and `connections` counts
    the client ports seen. `times` are the moments of all requests, with their paths.
    """

    def __init__(
        self,
        files: Mapping[str, bytes] | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ):
        self.files = dict(files or {})
        self.pause = 0.0
        self.hits: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.times: list[tuple[float, str]] = []
        self.headers: dict[str, Mapping[str, str]] = {}
        self.busiest = 0
        self.connections: set[int] = set()
        self.sent: Counter[str] = Counter()
        self._tls = tls
        self._busy = 0
        self._flaky: dict[str, int] = defaultdict(int)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hostile-server", daemon=True)
        self._loop = asyncio.new_event_loop()
        self.port = port

    @property
    def host(self) -> str:
        """ "127.0.0.1:port", as `FetchPolicy.allowed_hosts` wants it."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str, to: str | None = None, host: str = "127.0.0.1") -> str:
        """The URL of a path; `to` becomes its ?to= argument."""
        scheme = "https" if self._tls else "http"
        ask = "" if to is None else ("&" if "?" in path else "?") + "to=" + quote(to, safe="/")
        return f"{scheme}://{host}:{self.port}{path}{ask}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError("the test server did not start")
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        application = web.Application(middlewares=[self._count])
        for path, handler in self._routes().items():
            application.router.add_get(path, handler)
        logger = logging.getLogger("tests.http_server")  # clients that leave are no news here
        logger.setLevel(logging.CRITICAL)
        runner = web.AppRunner(
            application,
            access_log=None,
            logger=logger,
            handler_cancellation=True,
            shutdown_timeout=0.05,
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    @web.middleware
    async def _count(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        self.times.append((time.monotonic(), request.path))
        self.headers[request.path] = request.headers
        handler = self.answers.get(request.path, handler)
        if request.path in RULES:
            self.rules[request.path] += 1
            return await handler(request)
        self.hits[request.path] += 1
        if request.transport is not None:
            self.connections.add(request.transport.get_extra_info("peername")[1])
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        try:
            return await handler(request)
        finally:
            self._busy -= 1

    def _routes(self) -> dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]:
        return {
            "/html.jpg": self._html,
            "/empty.jpg": self._empty,
            "/endless": self._endless,
            "/slow-headers": self._slow_headers,
            "/slow-drip": self._slow_drip,
            "/stall": self._stall,
            "/redirect": self._redirect,
            "/hops/{n}": self._hops,
            "/loop": self._loop_for_ever,
            "/status/{n}": self._status,
            "/flaky/{n}/{times}": self._flaky_status,
            "/short": self._short,
            "/short-chunked": self._short_chunked,
            "/reset": self._reset,
            "/reset-body": self._reset_body,
            "/garbage": self._garbage,
            "/long-header": self._long_header,
            "/gzip": self._gzip,
            "/deflate": self._deflate,
            "/raw-deflate": self._raw_deflate,
            "/gzip-bomb": self._gzip_bomb,
            "/gzip-cut": self._gzip_cut,
            "/not-gzip": self._not_gzip,
            "/headers": self._extra_headers,
            "/slow": self._slow,
            "/slow-redirect": self._slow_redirect,
            "/{path:.*}": self._file,
        }

    # Plain answers.

    def _answer(self, path: str) -> web.Response:
        if path not in self.files:
            return web.Response(status=404, text="nothing here")
        kind = _TYPES.get(path.rsplit(".", 1)[-1], "application/octet-stream")
        return web.Response(body=self.files[path], content_type=kind)

    def _target(self, request: web.Request) -> bytes:
        return self.files[request.query["to"]]

    async def _file(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.pause)
        return self._answer(request.path)

    async def _html(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=_HTML, content_type="image/jpeg")

    async def _empty(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"", content_type="image/jpeg")

    async def _status(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=int(request.match_info["n"]), body=b"x" * 100)

    async def _flaky_status(self, request: web.Request) -> web.StreamResponse:
        self._flaky[request.path_qs] += 1
        if self._flaky[request.path_qs] > int(request.match_info["times"]):
            return self._answer(request.query["to"])
        after = request.query.get("after")
        headers = {} if after is None else {"Retry-After": after}
        return web.Response(status=int(request.match_info["n"]), headers=headers)

    async def _extra_headers(self, request: web.Request) -> web.StreamResponse:
        answer = self._answer(request.query["to"])
        for name, value in request.query.items():
            if name != "to":
                answer.headers.add(name, value)
        return answer

    # Redirects.

    async def _redirect(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def _hops(self, request: web.Request) -> web.StreamResponse:
        n, to = int(request.match_info["n"]), request.query["to"]
        onward = to if n <= 1 else f"/hops/{n - 1}?to={quote(to, safe='/')}"
        return web.Response(status=301, headers={"Location": onward})

    async def _loop_for_ever(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/loop"})

    # Time.

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(float(request.query["s"]))
        return self._answer(request.query["to"])

    async def _slow_redirect(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(float(request.query["s"]))
        return await self._redirect(request)

    async def _slow_headers(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(float(request.query.get("s", "60")))
        return web.Response(body=b"late")

    async def _stream(self, request: web.Request, block: bytes, pause: float) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg", **request.query})
        await response.prepare(request)
        while True:
            await response.write(block)
            self.sent[request.path] += len(block)
            await asyncio.sleep(pause)

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, bytes(65536), 0)

    async def _slow_drip(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, b"\xff", 0.02)

    async def _stall(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000", **request.query})
        await response.prepare(request)
        await response.write(bytes(500))
        await asyncio.sleep(60)
        return response

    # Broken answers are written past aiohttp, which would not send them.

    async def _raw(self, request: web.Request, data: bytes, abort: bool = False) -> web.Response:
        transport = request.transport
        assert transport is not None
        transport.write(data)
        if abort:
            await asyncio.sleep(0.02)  # let the bytes leave: an abort throws away what waits
            transport.abort()
        else:
            transport.close()
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def _short(self, request: web.Request) -> web.StreamResponse:
        data = self._target(request)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        return await self._raw(request, head + data[: len(data) // 2])

    async def _short_chunked(self, request: web.Request) -> web.StreamResponse:
        data = self._target(request)
        head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{len(data):x}\r\n".encode()
        return await self._raw(request, head + data[: len(data) // 2])

    async def _reset(self, request: web.Request) -> web.StreamResponse:
        return await self._raw(request, b"", abort=True)

    async def _reset_body(self, request: web.Request) -> web.StreamResponse:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
        return await self._raw(request, head + bytes(1000), abort=True)

    async def _garbage(self, request: web.Request) -> web.StreamResponse:
        return await self._raw(request, b"\x00\x01SSH-2.0-nonsense\r\n\r\n")

    async def _long_header(self, request: web.Request) -> web.StreamResponse:
        head = b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000
        return await self._raw(request, head + b"\r\nContent-Length: 1\r\n\r\nx")

    # Content codings.

    @staticmethod
    def _coded(body: bytes, coding: str) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": coding})

    async def _gzip(self, request: web.Request) -> web.StreamResponse:
        return self._coded(gzip.compress(self._target(request), mtime=0), "gzip")

    async def _deflate(self, request: web.Request) -> web.StreamResponse:
        return self._coded(zlib.compress(self._target(request)), "deflate")

    async def _raw_deflate(self, request: web.Request) -> web.StreamResponse:
        stream = zlib.compressobj(wbits=-15)
        return self._coded(stream.compress(self._target(request)) + stream.flush(), "deflate")

    async def _gzip_bomb(self, request: web.Request) -> web.StreamResponse:
        return self._coded(_bomb(), "gzip")

    async def _gzip_cut(self, request: web.Request) -> web.StreamResponse:
        return self._coded(gzip.compress(self._target(request), mtime=0)[:-20], "gzip")

    async def _not_gzip(self, request: web.Request) -> web.StreamResponse:
        return self._coded(self._target(request), "gzip")
