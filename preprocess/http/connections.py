"""Connections of the HTTP client: one serves another request only while nothing unasked came on it.

Over HTTP/1.1 an answer carries no name: the client takes whatever comes next for the answer to
what it asked last. One stray answer (a body behind a 204, a body longer than its Content-Length)
so gives every later URL on that connection its predecessor's bytes. Here bytes are accepted only
between a request and the end of its answer. Others close the connection, are counted, and end the
reuse of connections to that origin.
"""

import asyncio
import select
from collections import Counter
from functools import partial
from typing import Any

import aiohttp
from aiohttp import http
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import HttpResponseParserPy
from yarl import URL

QUIET = 0.005
"""Seconds that a connection must have been silent after an answer before it serves again: what a
server sends behind an answer comes in the next packets."""
SPARE = 4
"""Connections to an origin, beyond those that its requests need, that are opened where kept ones
have not been silent for long enough: so requests seldom wait for that. Fetches that share an
origin share them, down to one each."""

_HEAD_END = b"\r\n\r\n"


class GuardedConnector(aiohttp.TCPConnector):
    """A connector that opens connections and keeps them, `spare` more to an origin than its
    requests need.

    `unsolicited` counts those on which bytes came unasked, `open` the open ones of each origin.
    aiohttp has no public way to choose the protocol of a connection (3.14): `connect` raises where
    its own were used.
    """

    def __init__(self, spare: int = SPARE, **options: Any):
        # Only the compiled parser tells whether it holds the beginning of a further answer.
        if http.HttpResponseParser is HttpResponseParserPy:
            options = {**options, "force_close": True, "keepalive_timeout": None}
        super().__init__(**options)
        self._factory: Any = partial(_GuardedHandler, loop=self._loop, connector=self)
        self._spare = spare
        self.unsolicited = 0
        self.open: Counter[URL] = Counter()
        self._busy: Counter[URL] = Counter()  # requests that have a connection or wait for one
        self._wanted: set[URL] = set()
        self._distrusted: set[URL] = set()

    def want(self, origin: URL, wanted: bool) -> None:
        """Note whether somebody waits for connections to an origin; others are not kept, for open
        files are scarce."""
        (self._wanted.add if wanted else self._wanted.discard)(origin)

    def is_wanted(self, origin: URL | None) -> bool:
        """Whether somebody waits for a connection to that origin."""
        return origin in self._wanted

    def is_trusted(self, origin: URL | None) -> bool:
        """Whether no connection to that origin brought bytes unasked."""
        return origin not in self._distrusted

    def distrust(self, origin: URL | None) -> None:
        """Note that bytes came unasked on a connection to that origin."""
        self.unsolicited += 1
        if origin is not None:
            self._distrusted.add(origin)

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        """Get a connection for a request: a kept one that is silent, or a new one
        (`aiohttp.BaseConnector.connect`)."""
        origin = req.url.origin()
        self._busy[origin] += 1
        resting: list[Any] = []
        try:
            while True:
                connection, is_new = await self._connect(req, traces, timeout)
                if is_new:
                    break
                rest = connection.protocol.rest()
                if rest > 0 and self.open[origin] < self._busy[origin] + self._spare:
                    resting.append(connection)  # aiohttp gives another
                elif await self._is_silent(connection):
                    break
        except BaseException:
            self._busy[origin] -= 1
            raise
        finally:
            for one in resting:
                one.release()
        connection.add_callback(partial(self._busy.subtract, [origin]))
        return connection

    async def _connect(self, req: Any, traces: Any, timeout: Any) -> tuple[Any, bool]:
        """What aiohttp gives: a kept connection, or a new one (True), which counts as open while
        it is made."""
        origin = req.url.origin()
        self.open[origin] += 1
        is_open = False
        try:
            connection = await super().connect(req, traces, timeout)
            handler = connection.protocol
            if not isinstance(handler, _GuardedHandler):
                connection.close()
                raise RuntimeError(
                    "aiohttp made a connection that is not guarded: report this, please"
                )
            is_new = handler.origin is None
            handler.origin = origin
            is_open = is_new and not handler.is_lost
        finally:
            self.open[origin] -= not is_open
        return connection, is_new

    async def _is_silent(self, connection: Any) -> bool:
        """Whether a kept connection may serve again; it is closed if not."""
        try:
            if await connection.protocol.is_silent():
                return True
        except BaseException:
            connection.close()
            raise
        connection.close()
        return False


class _GuardedHandler(ResponseHandler):
    """The protocol of one connection; it knows whether anything was asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connector: GuardedConnector):
        super().__init__(loop)
        self.origin: URL | None = None
        self.is_lost = False
        self._guard = connector
        self._asked = self._answered = self._refused = self._is_clear = False
        self._ended = 0.0

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be sent."""
        super().set_response_params(**params)
        self._asked, self._answered, self._is_clear = True, False, False

    @property
    def should_close(self) -> bool:
        """Whether this connection is not to be kept."""
        return not self._guard.is_wanted(self.origin) or not self._may_serve_again()

    def _may_serve_again(self) -> bool:
        """Whether a connection may serve again after an answer: after a 200 with a body whose
        length was declared. Behind others servers may send more than they announced."""
        return not super().should_close and self._is_clear and self._guard.is_trusted(self.origin)

    def data_received(self, data: bytes) -> None:
        """Bytes have come; without any, aiohttp goes on with bytes that it held back."""
        if data and not self._asked:
            self._refuse()
            return
        # The head goes first, so that garbage behind the body does not take the answer with it.
        end = -1 if self._answered else data.find(_HEAD_END)
        if 0 <= end < len(data) - len(_HEAD_END):
            super().data_received(data[: end + len(_HEAD_END)])
            data = data[end + len(_HEAD_END) :]
        if self._exception is None:
            super().data_received(data)
        if self._answered and (self._payload is None or self._payload.is_eof()):
            self._asked = False
            self._is_clear &= getattr(self._payload, "total_bytes", 0) > 0
            self._ended = self._loop.time()
            if self._exception is not None or self._has_begun_another():
                self._refuse()

    def feed_data(self, data: Any, size: int = 0) -> None:
        """The head of an answer was read."""
        head = data[0]
        status = head.code
        if self._answered:
            self._refuse()
        elif 100 <= status < 200 and status != 101:  # more is to come
            super().feed_data(data, size)
        else:
            self._answered = True
            declared = head.chunked or "Content-Length" in head.headers
            self._is_clear = status == 200 and declared
            super().feed_data(data, size)

    def _has_begun_another(self) -> bool:
        """Whether the parser has read bytes beyond the end of the answer."""
        try:
            return self._parser is not None and self._parser.feed_eof() is not None
        except Exception:
            return True

    def _refuse(self) -> None:
        self.force_close()
        if not self._refused:
            self._refused = True
            self._guard.distrust(self.origin)
        if not self._asked and self.transport is not None:
            self.transport.abort()

    def rest(self) -> float:
        """Seconds until this connection has been silent for long enough."""
        return self._ended + QUIET - self._loop.time()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection has ended (`asyncio.Protocol`)."""
        self.is_lost = True
        if self.origin is not None:
            self._guard.open[self.origin] -= 1
        super().connection_lost(exc)

    async def is_silent(self) -> bool:
        """Whether nothing has come since the last answer, after a moment's wait."""
        while (wait := self.rest()) > 0:
            await asyncio.sleep(wait)
        if self.transport is None or self.transport.is_closing() or not self._may_serve_again():
            return False
        waiting = select.poll()  # what has arrived and was not yet handed over
        waiting.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not waiting.poll(0)
