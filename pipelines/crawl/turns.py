"""The order in which a crawl's hosts come to their turn, found without a look at all of them."""

import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from septet.preprocess.domains import registered_domain

_Turn = tuple[float, int, str]
"""When it comes, a number that grows, and whose it is: a host's, or a domain's."""


@dataclass
class _Domain:
    """The hosts of a domain that wait, how many of it are given out, and the turn that stands for
    it among those of all domains."""

    hosts: list[_Turn] = field(default_factory=list)
    asked: int = 0
    turn: _Turn | None = None


class Turns:
    """The hosts that wait to be asked, by registered domain.

    A host is given out when it and its domain may be asked, and not again before it is given back.
    Who waits longest comes first.

    Args:
        per_domain: Most hosts of one domain that are given out at once.
        wait_of_host: Seconds until a host may be asked.
        wait_of_domain: Seconds until any host of a domain may be asked.
    """

    def __init__(
        self,
        per_domain: int,
        wait_of_host: Callable[[str], float],
        wait_of_domain: Callable[[str], float],
    ):
        self._per_domain = per_domain
        self._wait_of_host, self._wait_of_domain = wait_of_host, wait_of_domain
        self._domains: dict[str, _Domain] = {}
        self._turns: list[_Turn] = []
        self._known: set[str] = set()
        self._numbers = itertools.count()

    def add(self, host: str) -> None:
        """Let a host wait for its turn, unless it does or is given out."""
        if host not in self._known:
            self._known.add(host)
            self._wait(registered_domain(host), host, time.monotonic())

    def take(self) -> tuple[str | None, float | None]:
        """The next host that may be asked, which is given out. Where there is none, the seconds
        until one may be; None where all that wait are of domains with enough given out."""
        while self._turns:
            turn = self._turns[0]
            when, _, name = turn
            domain = self._domains.get(name)
            if domain is None or domain.turn is not turn:
                heapq.heappop(self._turns)  # an earlier one took its place
                continue
            now = time.monotonic()
            if when > now:
                return None, when - now
            heapq.heappop(self._turns)
            domain.turn = None
            if (wait := self._wait_of_domain(name)) > 0:
                self._queue(name, now + wait)
                continue
            _, _, host = heapq.heappop(domain.hosts)
            if (wait := self._wait_of_host(host)) > 0:
                self._wait(name, host, now + wait)
            else:
                domain.asked += 1
            if domain.hosts:
                self._queue(name, max(now, domain.hosts[0][0]))
            if wait <= 0:
                return host, None
        return None, None

    def give_back(self, host: str, again: bool) -> None:
        """End a host's turn; it waits for the next one where it is to be asked again."""
        name = registered_domain(host)
        domain = self._domains[name]
        domain.asked -= 1
        if again:
            self._wait(name, host, time.monotonic())
        else:
            self._known.discard(host)
        if domain.hosts:
            self._queue(name, domain.hosts[0][0])
        elif not domain.asked:
            del self._domains[name]

    def _wait(self, name: str, host: str, when: float) -> None:
        domain = self._domains.setdefault(name, _Domain())
        heapq.heappush(domain.hosts, (when, next(self._numbers), host))
        self._queue(name, when)

    def _queue(self, name: str, when: float) -> None:
        domain = self._domains[name]
        is_earlier = domain.turn is None or when < domain.turn[0]
        if is_earlier and domain.asked < self._per_domain:
            domain.turn = (when, next(self._numbers), name)
            heapq.heappush(self._turns, domain.turn)
