"""The pace at which hosts are asked: the least time from one request of a host to its next.

A whole interval passes before the first request, too. So whoever asks a host after another one has
ended (the next task of a build, or the same after a restart) keeps to the pace without knowing of
the other; several at once keep to it together where each takes the interval times their number.
"""

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Pace:
    """The intervals of hosts, and when each may be asked next.

    Args:
        interval: Seconds, of every host.
        share: The number of those who ask the same hosts at once.
    """

    def __init__(self, interval: float, share: int = 1):
        self._interval, self._share = interval, share
        self._intervals: dict[str, float] = {}
        self._next: dict[str, float] = {}

    def slow_down(self, host: str, interval: float) -> None:
        """Ask a host for more time than all others have, where `interval` (seconds) is more."""
        if interval > self._interval and interval > self._intervals.get(host, 0.0):
            self._intervals[host] = interval
            self._next[host] = max(self._next.get(host, 0.0), time.monotonic() + self._of(host))

    def wait(self, host: str) -> float:
        """Seconds until a host may be asked."""
        if (interval := self._of(host)) == 0:
            return 0.0
        now = time.monotonic()
        return max(0.0, self._next.setdefault(host, now + interval) - now)

    def take(self, host: str) -> float:
        """Take the next turn of a host; returns the seconds until it comes."""
        if wait := self.wait(host):
            self._next[host] += self._of(host)
        elif interval := self._of(host):
            self._next[host] = time.monotonic() + interval
        return wait

    async def turn(self, host: str) -> None:
        """Wait for one's turn to ask a host. Who came first goes first."""
        if wait := self.take(host):
            await asyncio.sleep(wait)

    def _of(self, host: str) -> float:
        return self._share * self._intervals.get(host, self._interval)


class Lanes(Generic[T]):
    """Queues that are worked off one after another; who works on one may park it until its host may
    be asked again, and take another meanwhile.

    Args:
        lanes: The queues; the same one several times to be worked off by several at once.
    """

    def __init__(self, lanes: Iterable[deque[T]]):
        self._ready = deque(lanes)
        self._parked: list[tuple[float, int, deque[T]]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._ready) + len(self._parked)

    async def take(self) -> deque[T] | None:
        """A queue that is not empty, as soon as there is one; None when all have been given out."""
        while self._ready:
            if lane := self._ready.popleft():
                return lane
        while self._parked:
            when, _, lane = heapq.heappop(self._parked)
            if lane:
                await asyncio.sleep(max(0.0, when - time.monotonic()))
            if lane:  # others may have emptied it meanwhile
                return lane
        return None

    def park(self, lane: deque[T], seconds: float) -> None:
        """Put a queue aside for some seconds."""
        heapq.heappush(self._parked, (time.monotonic() + seconds, next(self._numbers), lane))
