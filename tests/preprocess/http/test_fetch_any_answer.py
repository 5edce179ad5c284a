import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.schemas.recipe import Fetch
from tests.preprocess.http.fetching import fetch_one


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
    policy = Fetch(
        first_byte_timeout=0.2, total_timeout=0.4, retries=0, allowed_hosts=(raw_server.host,)
    )
    fetch_one(f"http://{raw_server.host}/", policy)


@pytest.mark.parametrize(("size", "fits"), [(32_000, True), (33_500, False)])
def test_a_header_of_32_kib_is_read(raw_server, size, fits):
    raw_server.answer = HEAD + b"X-Long: " + b"a" * size + b"\r\nContent-Length: 2\r\n\r\nok"
    policy = Fetch(retries=0, allowed_hosts=(raw_server.host,))
    found = fetch_one(f"http://{raw_server.host}/", policy)
    assert (found.body == b"ok") is fits and (found.reason is None) is fits


@pytest.fixture(scope="module")
def raw_server():
    with RawServer() as running:
        yield running
