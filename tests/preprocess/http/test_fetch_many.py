import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from septet.preprocess.http.client import Fetched, fetch_all, fetch_many
from septet.preprocess.http.connections import SPARE
from septet.schemas.recipe import Fetch
from tests.http_server import HostileServer
from tests.preprocess.http.fetching import IMAGE, fetch_list, quick


def test_cookies_are_not_kept(server):
    fetch_list([server.url("/headers?to=/a.jpg&Set-Cookie=a%3Db")] * 2, quick(server, per_host=1))
    assert "Cookie" not in server.headers["/headers"]


def test_no_more_requests_at_once_than_the_policy_allows():
    with HostileServer({"/a.jpg": IMAGE}) as server:
        urls = [server.url("/slow?s=0.02", "/a.jpg")] * 30
        assert all(result.body for result in fetch_list(urls, quick(server, per_host=3)))
        assert server.busiest == 3
        assert 3 <= len(server.connections) <= 3 + SPARE
    with HostileServer({"/a.jpg": IMAGE}) as server:
        urls = [server.url("/slow?s=0.02", "/a.jpg")] * 30
        fetch_list(urls, quick(server, concurrency=2))
        assert server.busiest == 2


def test_redirects_between_busy_hosts_neither_block_nor_exceed(server):
    with HostileServer({"/a.jpg": IMAGE}) as other:
        hosts = (f"localhost:{other.port}", other.host)
        policy = quick(other, allowed_hosts=hosts, concurrency=4, per_host=2)
        there = [other.url("/redirect", other.url("/a.jpg", host="localhost"))] * 20
        back = [other.url("/redirect", other.url("/a.jpg"), host="localhost")] * 20
        assert all(result.body == IMAGE for result in fetch_list(there + back, policy))
        assert other.busiest <= 4


def test_a_slow_host_holds_up_nobody_else(server):
    policy = quick(server, allowed_hosts=("localhost", "127.0.0.1"), concurrency=4, per_host=2)
    slow = [server.url("/slow?s=0.2", "/a.jpg", host="localhost")] * 6
    fast = [server.url("/a.jpg")] * 20
    results = fetch_list(slow + fast, policy)
    last_fast = max(i for i, result in enumerate(results) if result.url in fast)
    assert last_fast < len(results) - 2


def test_a_host_that_never_answers_is_given_up(server):
    policy = quick(server, give_up_after=4, per_host=2, retries=0, first_byte_timeout=0.1)
    results = fetch_list([server.url("/slow-headers?test=down")] * 30, policy)
    reasons = Counter((result.reason, result.value) for result in results)
    assert reasons == {("timeout", "first_byte"): 4, ("host_down", "4"): 26} or reasons == {
        ("timeout", "first_byte"): 5,  # one more was in flight
        ("host_down", "4"): 25,
    }


def test_a_service_that_is_down_does_not_speak_for_its_neighbour(server):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    dead = [f"http://127.0.0.1:{port}/{n}.jpg" for n in range(40)]
    live = [server.url(f"/a.jpg?{n}") for n in range(60)]
    policy = quick(server, allowed_hosts=["127.0.0.1"], give_up_after=5, retries=0)
    reasons = Counter(
        (result.url in live, result.reason) for result in fetch_list(dead + live, policy)
    )
    assert reasons[True, None] == 60
    assert reasons[False, "host_down"] >= 20
    assert reasons[False, "host_down"] + reasons[False, "connect"] == 40


def test_a_host_that_answers_now_and_then_is_not_given_up(server):
    policy = quick(server, give_up_after=3, per_host=1, retries=0)
    urls = [server.url("/reset"), server.url("/reset"), server.url("/nothing")] * 4
    assert "host_down" not in {result.reason for result in fetch_list(urls, policy)}


def test_results_that_nobody_takes_stop_the_requests():
    async def run(server):
        taken, gate = [], asyncio.Event()

        async def on_done(result):
            await gate.wait()
            taken.append(result)

        fetching = asyncio.create_task(
            fetch_all([server.url("/a.jpg")] * 50, quick(server, concurrency=5), on_done)
        )
        await asyncio.sleep(0.3)
        seen = server.hits["/a.jpg"]
        gate.set()
        await fetching
        return seen, len(taken)

    with HostileServer({"/a.jpg": IMAGE}) as server:
        assert asyncio.run(run(server)) == (5, 50)


def test_results_are_handled_one_at_a_time_off_the_loop(server):
    threads, inside = set(), []

    def handle(result):
        threads.add(threading.current_thread())
        inside.append(None)
        assert len(inside) == 1
        time.sleep(0.001)
        inside.pop()

    fetch_many([server.url("/a.jpg")] * 20, quick(server), handle)
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_an_error_of_the_handler_is_raised_and_ends_the_fetch(server):
    handled = []

    def handle(result):
        handled.append(result)
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError, match="a mistake of ours"):
        fetch_many([server.url("/a.jpg")] * 200, quick(server), handle)
    assert len(handled) < 200
    with pytest.raises(KeyError):
        fetch_many(["ftp://x"], quick(server), handle)


def test_too_few_file_descriptors_are_our_own_fault(server):
    program = f"""
import resource
from septet.preprocess.http.client import fetch_many
from septet.schemas.recipe import Fetch
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
policy = Fetch(per_host=40, allowed_hosts=("{server.host}",))
try:
    fetch_many(["{server.url("/slow?s=0.5", "/a.jpg")}"] * 40, policy, lambda result: None)
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "too many open files" in done.stdout, done.stderr


def test_it_runs_where_an_event_loop_runs_already() -> None:
    got: list[Fetched] = []

    async def notebook() -> None:
        fetch_many(["ftp://e.org/x"], Fetch(), got.append)

    asyncio.run(notebook())
    assert [one.reason for one in got] == ["scheme"]
