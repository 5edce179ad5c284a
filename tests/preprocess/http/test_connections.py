"""Servers that send more than was asked: nobody gets another's bytes."""

import re
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.preprocess.http import connections
from septet.preprocess.http.client import fetch_many
from septet.schemas.recipe import Fetch

STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSTRAY"


def image(name: str) -> bytes:
    return b"\xff\xd8\xff image " + name.encode() * 50


def answer(
    name: str, status: str = "200 OK", headers: str = "", body: bytes | None = None
) -> bytes:
    body = image(name) if body is None else body
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def bare(status: str, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}\r\n".encode()


SILENT = {"robots": "ignore", "opt_out_files": []}
"""Nothing is asked for but the images."""


class StrayServer:
    """Answers /N.jpg with `image("N")`; where N ends in 3, with what `odd` gives: pieces to send,
    numbers to sleep between them. Anything else is not there."""

    def __init__(self, odd, greeting: bytes = b""):
        self.odd, self.greeting = odd, greeting
        self.connections = 0
        self.rests: list[float] = []  # seconds between an answer's last bytes and a request
        self.requests: Counter[str] = Counter()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client:
            try:
                client.sendall(self.greeting)
                sent = None
                while request := client.recv(65536):
                    if sent is not None:
                        self.rests.append(time.monotonic() - sent)
                    found = re.search(rb"/(\w+)\.jpg", request)
                    if found is None:  # robots.txt
                        client.sendall(answer("", "404 Not Found", body=b""))
                        continue
                    name = found[1].decode()
                    self.requests[name] += 1
                    pieces = self.odd(name) if name.endswith("3") else [answer(name)]
                    for piece in pieces:
                        if isinstance(piece, bytes):
                            sent = time.monotonic()
                            client.sendall(piece)
                        else:
                            time.sleep(piece)
            except OSError:
                pass

    def fetch(self, names, share=1, **changes):
        results = {}
        options = {"per_host": 4, "retries": 0, "first_byte_timeout": 1.0, "total_timeout": 3.0,
                   "give_up_after": 0, "allowed_hosts": [self.host], **SILENT}  # fmt: skip
        urls = {f"http://{self.host}/{name}.jpg": name for name in names}
        count = fetch_many(
            urls,
            Fetch(**{**options, **changes}),
            lambda result: results.update({urls[result.url]: result}),
            share=share,
        )
        assert set(results) == set(names)
        return results, count


NAMES = [str(n) for n in range(60)]
ODD = [name for name in NAMES if name.endswith("3")]

BEHIND = {
    "a second answer": [STRAY],
    "a second answer a moment later": [0.001, STRAY],
    "half an answer": [STRAY[:20]],
    "half an answer a moment later": [0.001, STRAY[:20]],
    "the end of a longer body": [b"\xff\xd9 and more bytes of the image"],
    "binary garbage": [b"\0\1\2\3\r\n\r\n"],
    "a letter": [b"H"],
    "two answers": [STRAY, STRAY],
    "an early hint": [bare("103 Early Hints")],
    "an answer without end": [bare("200 OK")],
}
SOUND = {
    "a length": lambda name: [answer(name)],
    "chunks and a trailer": lambda name: [
        bare("200 OK", "Transfer-Encoding: chunked\r\n"),
        b"%x\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(image(name)), image(name)),
    ],
}
WITHOUT_BODY = {
    "204": lambda name: [bare("204 No Content")],
    "304": lambda name: [bare("304 Not Modified")],
    "304 with the length of what it stands for": lambda name: [
        bare("304 Not Modified", "Content-Length: 3000\r\n")
    ],
    "302": lambda name: [answer(name, "302 Found", "Location: /0.jpg\r\n", b"")],
    "404": lambda name: [answer(name, "404 Not Found", "", b"gone")],
    "empty": lambda name: [answer(name, body=b"")],
}


def check(results, lost=()):
    """Everybody has its own image, or none; all but `lost` have it."""
    for name, result in results.items():
        if result.body is not None:
            assert result.body in (image(name), image("0") if name in lost else image(name))
        else:
            assert name in lost, result


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("first", SOUND)
def test_bytes_behind_a_whole_answer(first, behind):
    with StrayServer(lambda name: SOUND[first](name) + BEHIND[behind]) as server:
        results, unsolicited = server.fetch(NAMES)
        check(results)
        assert 1 <= unsolicited <= len(ODD)


@pytest.mark.parametrize("pause", [0, 0.001, 0.03])
@pytest.mark.parametrize("behind", ["a second answer", "half an answer", "binary garbage"])
@pytest.mark.parametrize("first", WITHOUT_BODY)
def test_bytes_behind_an_answer_without_a_body(first, behind, pause):
    with StrayServer(lambda name: [*WITHOUT_BODY[first](name), pause, *BEHIND[behind]]) as server:
        results, _ = server.fetch(NAMES)
        check(results, lost=ODD)


def test_one_lane_and_one_stray_answer():
    def odd(name):
        return [answer(name), STRAY] if name == "3" else [answer(name)]

    with StrayServer(odd) as server:
        results, unsolicited = server.fetch(NAMES, per_host=1)
        check(results)
        assert unsolicited == 1
        assert server.requests == Counter(NAMES)


def test_sound_servers_keep_their_connections():
    for first in SOUND.values():
        with StrayServer(first) as server:
            results, unsolicited = server.fetch(NAMES)
            check(results)
            assert 4 <= server.connections <= 4 + connections.SPARE
            assert unsolicited == 0
            assert min(server.rests) >= connections.QUIET


def test_one_lane_uses_few_connections():
    with StrayServer(SOUND["a length"]) as server:
        results, unsolicited = server.fetch([str(n) for n in range(300)], per_host=1)
        check(results)
        assert (server.connections <= 1 + connections.SPARE, unsolicited) == (True, 0)
        assert min(server.rests) >= connections.QUIET


@pytest.mark.parametrize("share", [2, 4])
def test_fetches_that_share_an_origin_share_its_connections(share):
    parts = [[f"{part}x{n}" for n in range(100)] for part in range(share)]
    with StrayServer(SOUND["a length"]) as server, ThreadPoolExecutor(share) as pool:
        for results, unsolicited in pool.map(partial(server.fetch, share=share), parts):
            check(results)
            assert unsolicited == 0
        assert server.connections <= 4 + connections.SPARE


def test_hints_before_an_answer_are_no_answer():
    hints = [bare("103 Early Hints", "Link: </x>\r\n"), bare("100 Continue")]
    with StrayServer(lambda name: [*hints, answer(name)]) as server:
        results, unsolicited = server.fetch(NAMES)
        check(results)
        assert server.connections <= 4 + connections.SPARE
        assert unsolicited == 0


def test_an_origin_that_sent_stray_bytes_gets_a_connection_for_each_request():
    with StrayServer(lambda name: [answer(name), STRAY]) as server:
        results, unsolicited = server.fetch(NAMES, per_host=1)
        check(results)
        assert 1 <= unsolicited <= len(ODD)  # some may come when their connection is closed
        assert server.connections >= len(NAMES) - 3


def test_other_origins_keep_theirs():
    with (
        StrayServer(lambda name: [answer(name), STRAY]) as bad,
        StrayServer(SOUND["a length"]) as good,
    ):
        urls = [f"http://{server.host}/{name}.jpg" for name in NAMES for server in (bad, good)]
        bodies = {}
        policy = Fetch(per_host=2, allowed_hosts=[bad.host, good.host], **SILENT)
        fetch_many(urls, policy, lambda result: bodies.update({result.url: result.body}))
        assert all(bodies[url] == image(url.split("/")[-1][:-4]) for url in urls)
        assert good.connections <= 2 + connections.SPARE


def test_a_server_that_speaks_first_is_never_anothers_answer():
    with StrayServer(SOUND["a length"], greeting=STRAY) as server:
        results, unsolicited = server.fetch(NAMES, per_host=2)
        for name, result in results.items():
            assert result.body in (None, b"STRAY", image(name))
        assert unsolicited >= 1


def test_without_the_compiled_parser_no_connection_is_kept(monkeypatch):
    monkeypatch.setattr(connections, "HttpResponseParserPy", connections.http.HttpResponseParser)
    with StrayServer(SOUND["a length"]) as server:
        results, _ = server.fetch(NAMES)
        check(results)
        assert server.connections == len(NAMES)


pieces = st.lists(
    st.sampled_from([STRAY, STRAY[:9], b"\r\n", b"0\r\n\r\n", b"x" * 3000, bare("100 Continue"), 0.0, 0.001]),
    max_size=4,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(SOUND) + sorted(WITHOUT_BODY)), pieces, st.booleans())
def test_whatever_follows_nobody_gets_anothers_bytes(first, behind, at_once):
    def odd(name):
        sent = [*{**SOUND, **WITHOUT_BODY}[first](name), *behind]
        if at_once:
            return [b"".join(piece for piece in sent if isinstance(piece, bytes))]
        return sent

    with StrayServer(odd) as server:
        results, _ = server.fetch([str(n) for n in range(16)], per_host=2)
        check(results, lost=("3", "13"))
