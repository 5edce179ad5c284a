"""The pace at which a host is asked, as its server sees it."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.http_server import HostileServer
from tests.preprocess.http.fetching import IMAGE, fetch_list, quick
from tests.preprocess.http.test_robots import answering, polite

SLACK = 0.02
"""Seconds by which a request may overtake another on its way."""


def gaps(server):
    times = sorted(at for at, _ in server.times)
    return [b - a for a, b in pairwise(times)]


def test_requests_keep_their_distance():
    with HostileServer({"/a.jpg": IMAGE}) as server:
        urls = [server.url(f"/a.jpg?{n}") for n in range(8)]
        assert all(result.body for result in fetch_list(urls, quick(server, per_host_delay=0.1)))
        assert len(gaps(server)) == 7 and min(gaps(server)) > 0.1 - SLACK


@pytest.mark.parametrize(("most", "gap"), [(30, 0.2), (0.1, 0.1), (0, 0)])
def test_a_crawl_delay_is_kept_to(most, gap):
    with HostileServer({"/a.jpg": IMAGE}) as server:
        server.answers["/robots.txt"] = answering(b"User-agent: *\nCrawl-delay: 0.2")
        urls = [server.url(f"/a.jpg?{n}") for n in range(5)]
        found = fetch_list(urls, polite(server, max_crawl_delay=most))
        assert all(result.body for result in found)
        assert len(gaps(server)) == 5 and min(gaps(server)) > gap - SLACK


@pytest.mark.parametrize(
    "text", [b"Crawl-delay: -1", b"Crawl-delay: nan", b"Crawl-delay: 1e999", b"Crawl-delay: x"]
)
def test_delays_that_mean_nothing(text):
    with HostileServer({"/a.jpg": IMAGE}) as server:
        server.answers["/robots.txt"] = answering(b"User-agent: *\n" + text)
        assert fetch_list([server.url("/a.jpg")], polite(server))[0].body == IMAGE


def test_several_fetches_keep_the_distance_together():
    with HostileServer({"/a.jpg": IMAGE}) as server, ThreadPoolExecutor(3) as pool:
        policy = quick(server, per_host_delay=0.05)

        def fetch(part):
            for chunk in range(2):  # one after another, as tasks of a build are
                urls = [server.url(f"/a.jpg?{part}.{chunk}.{n}") for n in range(4)]
                assert all(result.body for result in fetch_list(urls, policy, share=3))

        list(pool.map(fetch, range(3)))
        times = sorted(at for at, _ in server.times)
        assert len(times) == 24
        # In any window no more than its length allows, and one for each that shares.
        for count in (6, 12, 23):
            assert (
                min(b - a for a, b in zip(times, times[count:], strict=False))
                > (count - 3) * 0.05 - SLACK
            )


def test_a_slow_pace_holds_up_no_other_host():
    with HostileServer({"/a.jpg": IMAGE}) as slow, HostileServer({"/a.jpg": IMAGE}) as fast:
        slow.answers["/robots.txt"] = answering(b"User-agent: *\nCrawl-delay: 0.3")
        policy = polite(slow, allowed_hosts=["localhost", "127.0.0.1"], concurrency=2, per_host=4)
        urls = [slow.url(f"/a.jpg?{n}", host="localhost") for n in range(4)]
        urls += [fast.url(f"/a.jpg?{n}") for n in range(30)]
        results = fetch_list(urls, policy)
        assert all(result.body == IMAGE for result in results)
        hosts = ["localhost" in result.url for result in results]
        assert sum(hosts[:30]) <= 2, "the fast host was through before"
