"""Sites that do a crawl harm: each address ends in its outcome, and the crawl ends."""

import asyncio
import gzip

from aiohttp import web

import septet
from septet.pipelines.crawl.journal import read_journal
from tests.http_server import HostileServer

BOMB = gzip.compress(bytes(64 * 2**20))


def typed(body: bytes, **headers: str):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": "text/html", **headers})

    return answer


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/html"})
    await response.prepare(request)
    while True:
        await response.write(b"<a href=/x>x</a>" * 4096)


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/html"})
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.02)


LINKS = {
    "/big": "too_large",
    "/endless-page": "too_large",
    "/drip-page": "timeout",
    "/bomb-page": "too_large",
    "/cut-page": "truncated",
    "/strange": "encoding",
    "/status/500": "http_status",
    "/status/404": "http_status",
    "/reset": "connect",
    "/garbage": "protocol",
    "/long-header": "protocol",
    "/loop": "redirect",
    "/redirect?to=file:///etc/passwd": "scheme",
    "/redirect?to=http://10.0.0.1/": "redirect",
    "/archive-me-not": "noarchive",
    "/follow-me-not": "stored",
    "/private-page": "robots",
    "/bad-charset": "stored",
    "/empty": "stored",
}


def test_each_ends_in_its_outcome(tmp_path):
    with HostileServer() as server:
        anchors = "".join(f"<a href='{path}'>x</a>" for path in LINKS)
        server.answers |= {
            "/": typed(anchors.encode()),
            "/robots.txt": typed(b"User-agent: *\nDisallow: /private\nSitemap: /endless-map\nSitemap: ::"),
            "/endless-map": drip,
            "/big": typed(b"x" * 300_000),
            "/endless-page": endless,
            "/drip-page": drip,
            "/bomb-page": typed(BOMB, **{"Content-Encoding": "gzip"}),
            "/cut-page": typed(gzip.compress(b"<a href=/y>y</a>" * 99)[:-20], **{"Content-Encoding": "gzip"}),
            "/strange": typed(b"abc", **{"Content-Encoding": "lzma"}),
            "/archive-me-not": typed(b"<html>mine</html>", **{"X-Robots-Tag": "noarchive"}),
            "/follow-me-not": typed(b"<a href=/never>x</a>", **{"X-Robots-Tag": "nofollow"}),
            "/bad-charset": typed(b"\xff\xfe\x00<a href=/\xff>x</a>", **{"Content-Type": "text/html; charset=nope"}),
            "/empty": typed(b""),
        }  # fmt: skip
        limits = {"retries": 0, "total_timeout": 1.5, "first_byte_timeout": 1, "give_up_after": 0}
        settings = {
            "max_page_bytes": 200_000,
            "fetch": {"allowed_hosts": [server.host], "contact": "a@e.org", **limits},
        }
        figures = septet.crawl([server.url("/")], tmp_path, settings)
        found = {
            entry.url.removeprefix(server.url("")): entry.outcome
            for entry in read_journal(tmp_path)
        }
    assert figures.ended == "all"
    assert {path: found.get(path) for path in LINKS} == LINKS
    assert found["/endless-map"] == "timeout"
    assert "http://10.0.0.1/" not in found, "another host"
    assert "/private-page" not in server.hits and "/never" not in server.hits
