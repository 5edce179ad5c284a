import asyncio
import datetime
import socket
import time
from collections import Counter
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from yarl import URL

from septet.preprocess.http import client
from septet.preprocess.http.client import Fetched
from septet.preprocess.http.failures import FetchError, retry_after
from septet.schemas.recipe import Fetch
from tests.preprocess.http.fetching import IMAGE, LIMIT, fetch_list, fetch_one, outcome, quick


def test_an_image_comes_as_it_is(server):
    result = fetch_one(server.url("/a.jpg"), quick(server))
    assert result == Fetched(server.url("/a.jpg"), IMAGE, None, None)
    headers = server.headers["/a.jpg"]
    assert headers["User-Agent"] == "Septet/0.1"
    assert headers["Accept-Encoding"] == "identity"


def test_the_fetcher_does_not_judge_content(server):
    assert b"<html>" in fetch_one(server.url("/html.jpg"), quick(server)).body


@pytest.mark.parametrize(
    ("path", "reason", "value"),
    [
        ("/empty.jpg", "empty", None),
        ("/nothing.jpg", "http_status", "404"),
        ("/status/403", "http_status", "403"),
        ("/status/204", "http_status", "204"),
        ("/status/206", "http_status", "206"),
        ("/status/302", "http_status", "302"),
        ("/endless", "too_large", f"more than {LIMIT}"),
        ("/gzip-bomb", "too_large", f"more than {LIMIT}"),
        ("/big.jpg", "too_large", str(LIMIT + 1)),
        ("/short?to=/a.jpg", "truncated", "51200 of 102400"),
        ("/short-chunked?to=/a.jpg", "truncated", "51200"),
        ("/gzip-cut?to=/a.jpg", "truncated", None),
        ("/not-gzip?to=/a.jpg", "encoding", "gzip"),
        ("/headers?to=/a.jpg&Content-Encoding=br", "encoding", "br"),
        ("/headers?to=/a.jpg&Content-Encoding=gzip,%20gzip", "encoding", "gzip"),
        ("/garbage", "protocol", "the first line is no status line"),
        ("/long-header", "protocol", "a header is too long"),
        ("/loop", "redirects", "5"),
        ("/hops/6?to=/a.jpg", "redirects", "5"),
        ("/headers?to=/a.jpg&X-Robots-Tag=noai", "opt_out", "noai"),
        ("/headers?to=/a.jpg&X-Robots-Tag=septet:%20noindex", "opt_out", "noindex"),
        ("/headers?to=/a.jpg&TDM-Reservation=1", "opt_out", "tdm-reservation"),
    ],
)
def test_permanent_failures_are_named_and_not_tried_again(server, path, reason, value):
    before = server.hits.total()
    found = outcome(server.url(path), quick(server))
    assert found[0] == reason
    if value is not None:
        assert found[1] == value
    assert server.hits.total() - before == (6 if reason == "redirects" else 1)


@pytest.mark.parametrize(
    "path",
    [
        "/fits.jpg",
        "/hops/5?to=/fits.jpg",
        "/redirect?to=fits.jpg",
        "/gzip?to=/fits.jpg",
        "/deflate?to=/fits.jpg",
        "/raw-deflate?to=/fits.jpg",
        "/headers?to=/fits.jpg&Content-Encoding=aws-chunked",
        "/headers?to=/fits.jpg&X-Robots-Tag=googlebot:%20noai",
        "/headers?to=/fits.jpg&TDM-Reservation=0",
        "/flaky/429/1?to=/fits.jpg&after=0",
        "/flaky/500/2?to=/fits.jpg",
        "/flaky/503/1?to=/fits.jpg&after=no-date",
    ],
)
def test_what_is_right_in_the_end_is_had(server, path):
    assert fetch_one(server.url(path), quick(server)).body == bytes(LIMIT)


def test_opt_outs_can_be_left_unheeded(server):
    policy = quick(server, opt_out=(), tdm_reservation=False)
    path = "/headers?to=/a.jpg&X-Robots-Tag=noai&TDM-Reservation=1"
    assert fetch_one(server.url(path), policy).body == IMAGE


def test_an_opt_out_is_found_before_the_body_is_read(server):
    url = server.url("/stall?X-Robots-Tag=noai")  # whoever reads on gets a time-out
    assert outcome(url, quick(server)) == ("opt_out", "noai")


def test_a_body_is_not_read_further_than_its_bound(server):
    server.sent.clear()
    fetch_one(server.url("/endless"), quick(server))
    time.sleep(0.05)
    sent = server.sent["/endless"]
    time.sleep(0.05)
    assert sent == server.sent["/endless"] < 16 * LIMIT  # the sockets' buffers took the rest


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_transient_statuses_are_tried_again_so_often(server, status):
    path = f"/status/{status}"
    assert outcome(server.url(path), quick(server)) == ("http_status", str(status))
    assert server.hits[path] == 3
    assert outcome(server.url(path), quick(server, retries=0)) == ("http_status", str(status))
    assert server.hits[path] == 4


def test_a_pause_that_the_server_asks_for_is_kept(server):
    start = time.monotonic()
    url = server.url("/flaky/429/1?after=1&test=pause", "/a.jpg")
    assert fetch_one(url, quick(server)).body == IMAGE
    assert time.monotonic() - start >= 1.0


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "UTC"])
def test_a_date_without_a_zone_is_in_utc(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
        for date in (format_datetime(soon), format_datetime(soon).replace("+0000", "-0000")):
            assert 28 < retry_after(date) <= 30
    finally:
        monkeypatch.undo()
        time.tzset()
    assert retry_after("9" * 400) is None
    assert retry_after("٣") is None


def test_a_failure_is_final_unless_it_says_otherwise():
    assert not FetchError("redirects", "5").transient
    assert FetchError("connect", "refused", transient=True).transient


@pytest.mark.parametrize(("retries", "seconds", "pauses"), [
    (9, 10, [1, 2, 4]), (9, 15, [1, 2, 4]), (9, 16, [1, 2, 4, 8]), (2, 16, [1, 2]), (0, 16, []),
])  # fmt: skip
def test_pauses_double_within_the_budget(retries, seconds, pauses, monkeypatch):
    waited = []

    async def sleep(pause):
        waited.append(pause)

    async def fail(url, budget):
        raise FetchError("connect", "refused", transient=True)

    settings = Fetch(retries=retries, backoff=1, total_timeout=seconds)
    fetcher = client._Fetcher(SimpleNamespace(settings=settings), None, Counter())
    monkeypatch.setattr(fetcher, "_follow", fail)
    monkeypatch.setattr(client.asyncio, "sleep", sleep)
    monkeypatch.setattr(client.random, "uniform", lambda low, high: high)
    result = asyncio.run(fetcher.fetch("http://e.org/", URL("http://e.org/")))
    assert result == Fetched("http://e.org/", None, "connect", "refused")
    assert waited == pauses


def test_a_pause_beyond_the_budget_ends_the_fetch_at_once(server):
    start = time.monotonic()
    later = format_datetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1))
    for after in ("3600", later, "9" * 400):
        url = server.url("/flaky/429/9", "/a.jpg") + "&after=" + after.replace("+", "%2B")
        assert outcome(url, quick(server)) == ("http_status", "429")
    assert time.monotonic() - start < 2


def test_headers_that_do_not_come(server):
    policy = quick(server, first_byte_timeout=0.1, retries=1)
    assert outcome(server.url("/slow-headers"), policy) == ("timeout", "first_byte")
    assert server.hits["/slow-headers"] == 2


def test_a_body_that_stalls(server):
    policy = quick(server, first_byte_timeout=0.1, retries=0)
    assert outcome(server.url("/stall"), policy) == ("timeout", "read")


def test_a_body_that_drips_meets_the_total_limit(server):
    start = time.monotonic()
    policy = quick(server, total_timeout=0.5)
    assert outcome(server.url("/slow-drip"), policy) == ("timeout", "total")
    assert time.monotonic() - start < 1.5


def test_the_total_limit_counts_all_redirects_together(server):
    nested = "/slow?s=0.2&to=/a.jpg"
    policy = quick(server, total_timeout=0.3)
    assert fetch_one(server.url(nested), policy).body == IMAGE
    for _ in range(3):
        nested = server.url("/slow-redirect?s=0.2", nested)
    assert outcome(nested, policy) == ("timeout", "total")


def test_a_reset_before_the_answer_is_tried_again(server):
    assert outcome(server.url("/reset"), quick(server, retries=1))[0] == "connect"
    assert server.hits["/reset"] >= 2


def test_a_reset_within_the_body_is_a_truncation(server):
    assert outcome(server.url("/reset-body"), quick(server)) == ("truncated", "1000 of 5000")


def test_nobody_listens(server):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{bound.getsockname()[1]}"
        policy = quick(server, allowed_hosts=(host,))
        assert outcome(f"http://{host}/", policy) == ("connect", "ECONNREFUSED")


def test_a_host_that_does_not_take_connections(server):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:  # fill the queue of a server that never accepts
            one.setblocking(False)
            one.connect_ex(address)
        host = f"127.0.0.1:{address[1]}"
        policy = quick(server, allowed_hosts=(host,), connect_timeout=0.1, retries=0)
        assert outcome(f"http://{host}/", policy) == ("timeout", "connect")
        for one in waiting:
            one.close()


def test_a_name_that_does_not_exist(server):
    assert outcome("http://nobody.invalid/", quick(server, contact="a@e.org"))[0] == "dns"


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:{port}/a.jpg",
        "http://[::ffff:127.0.0.1]:{port}/a.jpg",
        "http://localhost:{port}/a.jpg",
        "http://127.0.0.1:1/a.jpg",
        "http://127.1:1/a.jpg",
        "//127.0.0.2:{port}/a.jpg",
    ],
)
def test_no_private_address_first_or_by_redirect(server, target):
    target = target.format(port=server.port)
    before = server.hits["/a.jpg"]
    if not target.startswith("//"):
        assert outcome(target, quick(server, contact="a@e.org"))[0] == "address"
    assert (
        outcome(server.url("/redirect", target), quick(server, contact="a@e.org"))[0] == "address"
    )
    assert server.hits["/a.jpg"] == before


@pytest.mark.parametrize(
    ("target", "reason"),
    [("file:///etc/passwd", "scheme"), ("ftp://a.example/", "scheme"), ("data:,x", "scheme"),
     ("http://a:b@a.example/", "url"), ("http://a b.example/", "url")],
)  # fmt: skip
def test_no_other_scheme_first_or_by_redirect(server, target, reason):
    assert outcome(target, quick(server))[0] == reason
    assert outcome(server.url("/redirect", target), quick(server))[0] == reason


def test_a_name_may_be_allowed(server):
    policy = quick(server, allowed_hosts=(f"localhost:{server.port}",))
    assert fetch_one(server.url("/a.jpg", host="localhost"), policy).body == IMAGE
    assert outcome(server.url("/a.jpg"), policy) == ("address", "127.0.0.1")


def test_nothing_to_fetch(server):
    assert fetch_list([], quick(server)) == []


@pytest.mark.parametrize(
    "changes",
    [{"concurrency": 0}, {"per_host": 0}, {"total_timeout": 0.0}, {"max_bytes": -1},
     {"retries": -1}, {"user_agent": " "}, {"user_agent": "a\r\nCookie: b"}],
)  # fmt: skip
def test_policies_that_make_no_sense(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Fetch(**changes)
