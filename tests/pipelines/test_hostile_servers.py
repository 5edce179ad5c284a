"""One build from servers that break HTTP, TLS and names: each image ends in its reject, and the
build ends."""

import json
import time
from email.utils import formatdate
from pathlib import Path

from tests.corpora import picture, rows, run_build
from tests.http_server import HostileServer
from tests.preprocess.http.test_fetch_tls import certificate


def test_each_server_has_its_outcome(tmp_path: Path) -> None:
    names = ["a", "once", "date", "gzip", "hops"]
    images = {f"/{name}.jpg": picture(n) for n, name in enumerate(names)}
    _, context = certificate(tmp_path, "unknown")
    later = formatdate(time.time() + 3600, usegmt=True)
    soon = formatdate(time.time() - 5, usegmt=True)
    with HostileServer(images) as server, HostileServer(images, tls=context) as secure:

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
        }
        numbered = list(outcomes.items())
        with (tmp_path / "a.jsonl").open("w") as file:
            for number, (url, _) in enumerate(numbered):
                file.write(json.dumps({"url": url, "caption": f"Image number {number}"}) + "\n")
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            "name: servers\nsources: [{kind: list, paths: [a.jsonl]}]\n"
            f"fetch: {{allowed_hosts: {json.dumps([server.host, secure.host])}, retries: 1, "
            "backoff: 0.01, first_byte_timeout: 1, total_timeout: 3, max_bytes: 2000000, "
            "contact: a@example.org}\n"
        )
        run_build(recipe, tmp_path / "corpus")
        assert not secure.hits

    lost = {
        row["caption"]: (row["reason"], row["value"])
        for row in rows(tmp_path / "corpus", "rejects")
    }
    kept = {row["caption"] for row in rows(tmp_path / "corpus", "shards")}
    for number, (url, outcome) in enumerate(numbered):
        caption = f"Image number {number}"
        if outcome is None:
            assert caption in kept, (url, lost.get(caption))
            continue
        reason, value = outcome
        assert lost[caption][0] == reason, (url, lost[caption])
        assert value is None or lost[caption][1] == value, (url, lost[caption])
    assert len(kept) + len(lost) == len(numbered)
