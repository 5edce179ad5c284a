"""One build from servers that break HTTP, TLS and names: each image ends in its reject, and the
build ends."""

import hashlib
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

from tests.corpora import random_image, rows, run_build
from tests.http_server import HostileServer
from tests.preprocess.http.test_connections import StrayServer, answer
from tests.preprocess.http.test_fetch_tls import certificate, trust

__all__ = ["trust"]  # a fixture


LATE = 24
"""Images of the server that sends a further answer behind each: an image that nobody asked for."""


def test_each_server_has_its_outcome(tmp_path: Path, trust: Callable[[Path], None]) -> None:
    names = ["a", "once", "date", "gzip", "hops"]
    images = {f"/{name}.jpg": random_image(n) for n, name in enumerate(names)}
    _, context = certificate(tmp_path, "unknown")
    later = formatdate(time.time() + 3600, usegmt=True)
    soon = formatdate(time.time() - 5, usegmt=True)
    known, good = certificate(tmp_path, "good")
    old, expired = certificate(tmp_path, "old", days=-1)
    (tmp_path / "trusted.pem").write_bytes(known.read_bytes() + old.read_bytes())
    trust(tmp_path / "trusted.pem")
    late = {f"{n}x3": random_image(100 + n) for n in range(LATE)}
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(random_image(99)) + random_image(
        99
    )

    def behind(name: str) -> list[bytes | float]:
        pause = [0.0, 0.001, 0.03][int(name[:-2]) % 3]  # with it, at once, on a kept connection
        own = answer(name, body=late[name])
        return [own, pause, stray] if pause else [own + stray]

    with (
        HostileServer(images) as server,
        HostileServer(images, tls=context) as secure,
        HostileServer(
            {"/good.jpg": random_image(50), "/name.jpg": random_image(51)}, tls=good
        ) as trusted,
        HostileServer(images, tls=expired) as over,
        StrayServer(behind) as unasked,
    ):

        def to(target: str) -> str:
            return server.url("/redirect", target)

        def flaky(times: int, name: str, after: str) -> str:
            return server.url(f"/flaky/429/{times}?after={after.replace(' ', '%20')}", name)

        outcomes = {
            server.url("/a.jpg"): None,
            flaky(1, "/once.jpg", "0"): None,
            flaky(1, "/date.jpg", soon): None,
            server.url("/gzip", "/gzip.jpg"): None,
            server.url("/hops/3", "/hops.jpg"): None,
            flaky(9, "/a.jpg", "3600"): ("http_status", "429"),
            flaky(9, "/a.jpg", later): ("http_status", "429"),
            to(f"http://localhost:{server.port}/a.jpg"): ("address", "localhost"),
            to("http://[::ffff:127.0.0.1]/a.jpg"): ("address", "::ffff:7f00:1"),
            to("http://0x7f.1:9/a.jpg"): ("address", "127.0.0.1"),
            to("file:///etc/passwd"): ("scheme", "file"),
            to("data:image/png;base64,AAAA"): ("scheme", "data"),
            to("ftp://e.org/a.jpg"): ("scheme", "ftp"),
            "http://bücher.invalid/a.jpg": ("dns", None),
            "http://xn--bcher-kva.invalid/b.jpg": ("dns", None),
            server.url("/loop"): ("redirects", None),
            server.url("/slow-drip"): ("timeout", "total"),
            server.url("/stall"): ("timeout", None),
            server.url("/gzip-bomb"): ("too_large", None),
            server.url("/short", "/a.jpg"): ("truncated", None),
            server.url("/short-chunked", "/a.jpg"): ("truncated", None),
            server.url("/gzip-cut", "/a.jpg"): ("truncated", None),
            server.url("/reset"): ("connect", None),
            server.url("/garbage"): ("protocol", None),
            server.url("/long-header"): ("protocol", None),
            secure.url("/a.jpg"): ("tls", "self-signed certificate"),
            over.url("/a.jpg"): ("tls", "certificate has expired"),
            trusted.url("/good.jpg"): None,
            trusted.url("/name.jpg", host="localhost"): ("tls", None),
            server.url("/a.jpg").replace("http:", "https:"): ("tls", None),
            **{f"http://{unasked.host}/{name}.jpg": None for name in late},
        }
        numbered = list(outcomes.items())
        with (tmp_path / "a.jsonl").open("w") as file:
            for number, (url, _) in enumerate(numbered):
                file.write(json.dumps({"url": url, "caption": f"Image number {number}"}) + "\n")
        hosts = [one.host for one in (server, secure, trusted, over, unasked)]
        hosts.append(f"localhost:{trusted.port}")
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            "name: servers\nsources: [{kind: list, paths: [a.jsonl]}]\n"
            f"fetch: {{allowed_hosts: {json.dumps(hosts)}, retries: 1, "
            "backoff: 0.01, first_byte_timeout: 1, total_timeout: 3, max_bytes: 2000000, "
            "contact: a@example.org}\n"
        )
        run_build(recipe, tmp_path / "corpus")
        assert not secure.hits and not over.hits and set(trusted.hits) == {"/good.jpg"}
        assert set(unasked.requests) == {*late}

    lost = {
        row["caption"]: (row["reason"], row["value"])
        for row in rows(tmp_path / "corpus", "rejects")
    }
    kept = {row["caption"]: row["sha256"] for row in rows(tmp_path / "corpus", "shards")}
    for number, (url, outcome) in enumerate(numbered):
        caption = f"Image number {number}"
        if outcome is None:
            assert caption in kept, (url, lost.get(caption))
            if unasked.host in url:
                own = late[url.rpartition("/")[2].removesuffix(".jpg")]
                assert kept[caption] == hashlib.sha256(own).hexdigest(), "its own bytes"
            continue
        reason, value = outcome
        assert lost[caption][0] == reason, (url, lost[caption])
        assert value is None or lost[caption][1] == value, (url, lost[caption])
    assert len(kept) + len(lost) == len(numbered)
