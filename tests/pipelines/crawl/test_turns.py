"""Turns of hosts: in time, apart, none forgotten, and found without a look at all of them."""

import random
from collections import Counter, defaultdict

import pytest

from septet.pipelines.crawl import turns as turns_module
from septet.pipelines.crawl.turns import Turns
from septet.preprocess.domains import registered_domain


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns_module, "time", clock)
    return clock


def no_wait(name: str) -> float:
    return 0.0


def taken(turns: Turns) -> list[str]:
    found = []
    while (host := turns.take()[0]) is not None:
        found.append(host)
    return found


def test_who_waits_longest_comes_first(clock: Clock) -> None:
    turns = Turns(1, no_wait, no_wait)
    for host in ("c.org", "a.org", "b.org", "a.org"):
        turns.add(host)
    assert turns.take() == ("c.org", None)
    clock.now += 1
    turns.give_back("c.org", again=True)
    assert taken(turns) == ["a.org", "b.org", "c.org"] and turns.take() == (None, None)
    turns.give_back("a.org", again=False)
    assert turns.take() == (None, None)
    turns.add("a.org")
    turns.add("b.org")  # is given out
    assert taken(turns) == ["a.org"]


def test_a_slow_host_keeps_no_other_of_its_domain_waiting(clock: Clock) -> None:
    ready = {"slow.e.org": 130.0}
    turns = Turns(1, lambda host: ready.get(host, 0.0) - clock.now, no_wait)
    turns.add("slow.e.org")
    assert turns.take() == (None, 30.0)
    turns.add("e.org")
    assert turns.take() == ("e.org", None)
    clock.now = 131
    assert turns.take() == (None, None), "one of a domain at once"
    turns.give_back("e.org", again=False)
    assert turns.take() == ("slow.e.org", None)


@pytest.mark.parametrize("seed", range(8))
def test_pace_limits_and_fairness_hold_over_many_hosts(clock: Clock, seed: int) -> None:
    """Simulated visits; what each host and domain may is checked against lists of all times."""
    draw = random.Random(seed)
    hosts = [f"h{number}.d{number % 7}.org" for number in range(40)]
    wanted = {host: draw.randint(1, 6) for host in hosts}
    pace = {host: draw.choice([0.0, 0.0, 1.0, 5.0]) for host in hosts}
    per_domain, gap = draw.randint(1, 3), draw.choice([0.0, 0.5])
    next_host: dict[str, float] = defaultdict(float)
    next_domain: dict[str, float] = defaultdict(float)
    turns = Turns(
        per_domain,
        lambda host: max(0.0, next_host[host] - clock.now),
        lambda domain: max(0.0, next_domain[domain] - clock.now),
    )
    left, under_way = dict(wanted), {}
    for host in hosts:
        turns.add(host)
    while any(left.values()) or under_way:
        host, wait = turns.take()
        if host is not None:
            domain = registered_domain(host)
            assert clock.now >= next_host[host] and clock.now >= next_domain[domain]
            assert host not in under_way
            assert sum(registered_domain(one) == domain for one in under_way) < per_domain
            next_host[host], next_domain[domain] = clock.now + pace[host], clock.now + gap
            left[host] -= 1
            under_way[host] = clock.now + draw.random()
            continue
        # Nobody who might be asked was passed over.
        busy = Counter(map(registered_domain, under_way))
        for one in (one for one, count in left.items() if count and one not in under_way):
            domain = registered_domain(one)
            waits = max(next_host[one], next_domain[domain]) > clock.now
            assert waits or busy[domain] >= per_domain, one
        assert wait is not None or under_way, "some are forgotten"
        times = [*under_way.values(), *([clock.now + wait] if wait is not None else [])]
        clock.now = max(min(times), clock.now + 1e-6)
        for one in [one for one, end in under_way.items() if end <= clock.now]:
            del under_way[one]
            turns.give_back(one, again=left[one] > 0)
    assert turns.take() == (None, None)


def test_many_hosts_are_not_all_looked_at(clock: Clock) -> None:
    looks: Counter[str] = Counter()

    def wait(host: str) -> float:
        looks[host] += 1
        return 0.0

    turns = Turns(4, wait, no_wait)
    for number in range(2000):
        turns.add(f"h{number}.d{number % 500}.org")
    for _ in range(5000):
        host, _ = turns.take()
        assert host is not None
        clock.now += 0.01
        turns.give_back(host, again=True)
    assert looks.total() == 5000 and max(looks.values()) == 3
