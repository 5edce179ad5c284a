import asyncio
import dataclasses
import datetime
import ipaddress
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.images import fetch
from preprocess.images.failures import REASONS
from preprocess.images.fetch import Fetched, FetchPolicy, fetch_all, fetch_many
from tests.http_server import HostileServer

PICTURE = bytes(range(256)) * 400
LIMIT = 2**20


@pytest.fixture(scope="module")
def server():
    files = {"/a.jpg": PICTURE, "/big.jpg": bytes(LIMIT + 1), "/fits.jpg": bytes(LIMIT)}
    with HostileServer(files) as running:
        yield running


def quick(server, **changes):
    """Limits as hard as a busy machine allows, for the server's address only."""
    policy = FetchPolicy(
        connect_timeout=2.0,
        first_byte_timeout=2.0,
        total_timeout=10.0,
        max_bytes=LIMIT,
        backoff=0.01,
        give_up_after=0,
        allowed_hosts=(server.host,),
    )
    return dataclasses.replace(policy, **changes)


def fetch_list(urls, policy):
    results: list[Fetched] = []
    fetch_many(urls, policy, results.append)
    return results


def fetch_one(url, policy):
    [result] = fetch_list([url], policy)
    assert result.url == url
    assert (result.body is None) == (result.reason is not None)
    assert result.reason is None or result.reason in REASONS
    return result


def outcome(url, policy):
    result = fetch_one(url, policy)
    return result.reason, result.value


def test_a_picture_comes_as_it_is(server):
    result = fetch_one(server.url("/a.jpg"), quick(server))
    assert result == Fetched(server.url("/a.jpg"), PICTURE, None, None)
    headers = server.headers["/a.jpg"]
    assert headers["User-Agent"] == "Septet/0.1 (+https://github.com/septet/septet)"
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
        ("/headers?to=/a.jpg&Content-Encoding=gzip,%20gzip", "encoding", "gzip, gzip"),
        ("/garbage", "protocol", "Bad status line"),
        ("/long-header", "protocol", "Got more than 32768 bytes when reading"),
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
    assert fetch_one(server.url(path), policy).body == PICTURE


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


@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_statuses_are_tried_again_so_often(server, status):
    path = f"/status/{status}"
    assert outcome(server.url(path), quick(server)) == ("http_status", str(status))
    assert server.hits[path] == 3
    assert outcome(server.url(path), quick(server, retries=0)) == ("http_status", str(status))
    assert server.hits[path] == 4


def test_a_pause_that_the_server_asks_for_is_kept(server):
    start = time.monotonic()
    url = server.url("/flaky/429/1?after=1&test=pause", "/a.jpg")
    assert fetch_one(url, quick(server)).body == PICTURE
    assert time.monotonic() - start >= 1.0


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
    assert fetch_one(server.url(nested), policy).body == PICTURE
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
    assert outcome(f"http://{'a' * 64}.example/", quick(server))[0] == "dns"


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
        assert outcome(target, quick(server))[0] == "address"
    assert outcome(server.url("/redirect", target), quick(server))[0] == "address"
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
    assert fetch_one(server.url("/a.jpg", host="localhost"), policy).body == PICTURE
    assert outcome(server.url("/a.jpg"), policy) == ("address", "127.0.0.1")


def test_cookies_are_not_kept(server):
    fetch_list([server.url("/headers?to=/a.jpg&Set-Cookie=a%3Db")] * 2, quick(server, per_host=1))
    assert "Cookie" not in server.headers["/headers"]


def test_no_more_requests_at_once_than_the_policy_allows():
    with HostileServer({"/a.jpg": PICTURE}) as server:
        urls = [server.url("/slow?s=0.02", "/a.jpg")] * 30
        assert all(result.body for result in fetch_list(urls, quick(server, per_host=3)))
        assert (server.busiest, len(server.connections)) == (3, 3)
    with HostileServer({"/a.jpg": PICTURE}) as server:
        urls = [server.url("/slow?s=0.02", "/a.jpg")] * 30
        fetch_list(urls, quick(server, concurrency=2))
        assert server.busiest == 2


def test_redirects_between_busy_hosts_neither_block_nor_exceed(server):
    with HostileServer({"/a.jpg": PICTURE}) as other:
        hosts = (f"localhost:{other.port}", other.host)
        policy = quick(other, allowed_hosts=hosts, concurrency=4, per_host=2)
        there = [other.url("/redirect", other.url("/a.jpg", host="localhost"))] * 20
        back = [other.url("/redirect", other.url("/a.jpg"), host="localhost")] * 20
        assert all(result.body == PICTURE for result in fetch_list(there + back, policy))
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

    with HostileServer({"/a.jpg": PICTURE}) as server:
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
from preprocess.images.fetch import FetchPolicy, fetch_many
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
policy = FetchPolicy(per_host=40, allowed_hosts=("{server.host}",))
try:
    fetch_many(["{server.url("/slow?s=0.5", "/a.jpg")}"] * 40, policy, lambda result: None)
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "too many open files" in done.stdout, done.stderr


def test_nothing_to_fetch(server):
    assert fetch_list([], quick(server)) == []


@pytest.mark.parametrize(
    "changes",
    [{"concurrency": 0}, {"per_host": 0}, {"total_timeout": 0.0}, {"max_bytes": -1},
     {"retries": -1}, {"user_agent": " "}, {"user_agent": "a\r\nCookie: b"}],
)  # fmt: skip
def test_policies_that_make_no_sense(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        FetchPolicy(**changes)


# TLS


def certificate(folder, name, days=1):
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


@pytest.fixture
def trust(monkeypatch):
    """Trust only the certificates in a file, as a user does with SSL_CERT_FILE."""

    def only(path):
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        fetch._tls_context.cache_clear()

    yield only
    fetch._tls_context.cache_clear()


def test_tls_is_verified(tmp_path, trust):
    path, context = certificate(tmp_path, "good")
    with HostileServer({"/a.jpg": PICTURE}, tls=context) as server:
        policy = quick(server, allowed_hosts=("127.0.0.1", "localhost"))
        assert outcome(server.url("/a.jpg"), policy) == ("tls", "self-signed certificate")
        trust(path)
        assert fetch_one(server.url("/a.jpg"), policy).body == PICTURE
        reason, value = outcome(server.url("/a.jpg", host="localhost"), policy)
        assert reason == "tls"
        assert "localhost" in value
        assert server.hits["/a.jpg"] == 1


def test_an_expired_certificate(tmp_path, trust):
    path, context = certificate(tmp_path, "old", days=-1)
    trust(path)
    with HostileServer({"/a.jpg": PICTURE}, tls=context) as server:
        found = outcome(server.url("/a.jpg"), quick(server))
        assert found == ("tls", "certificate has expired")


def test_https_to_a_server_without_tls(server):
    url = server.url("/a.jpg").replace("http:", "https:")
    assert outcome(url, quick(server, retries=0))[0] == "tls"


# Any bytes at all for an answer.


class RawServer:
    """Sends what `answer` holds to whoever connects, then closes."""

    def __enter__(self):
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def _run(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                client.sendall(self.answer)

    def __exit__(self, *exc):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


HEAD = b"HTTP/1.1 200 OK\r\n"
NAMES = ["Content-Length", "Transfer-Encoding", "Content-Encoding", "Location", "Retry-After",
         "X-Robots-Tag", "Content-Type", "Connection", "Upgrade", "Set-Cookie"]  # fmt: skip
VALUES = ["chunked", "gzip", "deflate", "close", "h2c", "1", "-1", "5", "99999999999999999999",
          "http://[", "//", "\xff", ":", "a" * 300, "Mon, 99 Foo 2000 00:00:00"]  # fmt: skip
header = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))
structured = st.builds(
    lambda status, headers, body: (
        f"HTTP/1.1 {status} X\r\n".encode()
        + b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers)
        + b"\r\n"
        + body
    ),
    st.sampled_from([100, 101, 103, 200, 200, 200, 204, 301, 302, 304, 404, 416, 429, 500, 999]),
    st.lists(header, max_size=4),
    st.binary(max_size=60) | st.just(b"5\r\nhello\r\n0\r\n\r\n") | st.just(b"ffffffffffffffff\r\n"),
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=100) | st.binary(max_size=100).map(HEAD.__add__) | structured)
def test_any_bytes_for_an_answer_end_in_one_result(raw_server, answer):
    raw_server.answer = answer
    policy = FetchPolicy(
        first_byte_timeout=0.2, total_timeout=0.4, retries=0, allowed_hosts=(raw_server.host,)
    )
    fetch_one(f"http://{raw_server.host}/", policy)


@pytest.fixture(scope="module")
def raw_server():
    with RawServer() as running:
        yield running
