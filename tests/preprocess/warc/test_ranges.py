"""Ranges of files, over real connections."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from septet.preprocess.warc.ranges import RangeError, read_range

DATA = bytes(range(256)) * 40


@contextmanager
def served(data: bytes = DATA, failures: int = 0, status: int = 503) -> Iterator[tuple[str, list]]:
    """A server of one file that knows ranges, but under `/whole` and `/endless`; its first answers
    are failures. Gives its address, and the ranges that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.headers.get("Range", ""))
            if len(asked) <= failures:
                self._answer(status, b"")
            elif self.path == "/whole":
                self._answer(200, data)
            elif self.path == "/endless":
                self.send_response(206)
                self.end_headers()
                while True:
                    self.wfile.write(b"x" * 65_536)
            elif self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/a")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path == "/gone":
                self._answer(404, b"gone")
            else:
                first, _, last = asked[-1].removeprefix("bytes=").partition("-")
                if int(first) >= len(data):
                    self._answer(416, b"")
                else:
                    self._answer(206, data[int(first) : int(last) + 1])

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # readers go away in mid-answer
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_ranges_of_a_local_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(DATA)
    assert read_range(str(path), 300, 20) == DATA[300:320]
    assert read_range(str(path), len(DATA) - 5, 20) == DATA[-5:]
    assert read_range(f"file://{path}", len(DATA), 20) == b""
    with pytest.raises(RangeError, match="is not there"):
        read_range(str(tmp_path / "b"), 0, 1)
    with pytest.raises(RangeError, match="is a folder"):
        read_range(str(tmp_path), 0, 1)


def test_ranges_over_http() -> None:
    with served() as (url, asked):
        assert read_range(f"{url}/a", 300, 20) == DATA[300:320]
        assert read_range(f"{url}/a", len(DATA) - 5, 20) == DATA[-5:]
        assert read_range(f"{url}/a", len(DATA), 20) == b""
        assert read_range(f"{url}/endless", 0, 100) == b"x" * 100
        assert asked[:2] == ["bytes=300-319", f"bytes={len(DATA) - 5}-{len(DATA) + 14}"]


def test_a_server_that_gives_no_range() -> None:
    with served() as (url, asked):
        with pytest.raises(RangeError, match="ignores ranges") as failed:
            read_range(f"{url}/whole", 0, 1)
        with pytest.raises(RangeError, match="answers 404"):
            read_range(f"{url}/gone", 0, 1)
        assert not failed.value.is_passing and len(asked) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_failures_that_pass_are_tried_again(status: int) -> None:
    with served(failures=5, status=status) as (url, asked):
        assert read_range(f"{url}/a", 0, 3, pause=0) == DATA[:3]
        assert len(asked) == 6
    with served(failures=6, status=status) as (url, asked):
        with pytest.raises(RangeError, match=f"answers {status}") as failed:
            read_range(f"{url}/a", 0, 3, pause=0)
        assert failed.value.is_passing and len(asked) == 6
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(RangeError, match="cannot be read"):
            read_range(f"http://127.0.0.1:{nobody.getsockname()[1]}/a", 0, 3, pause=0)


def test_redirects_are_not_followed() -> None:
    with served() as (address, asked):
        with pytest.raises(RangeError, match="redirects to /a, which is not followed") as failed:
            read_range(f"{address}/moved", 0, 5, pause=0.01)
        assert not failed.value.is_passing and len(asked) == 1
