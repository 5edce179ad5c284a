"""A site on two hosts of loopback, of some hundred pages, with what leads crawlers astray.

`WANTED` are the pages that a polite crawl of depth 4 finds; each has one captioned image.
"""

import asyncio
import re
import threading
import time
from collections import Counter

from aiohttp import web

from tests.corpora import random_image

ARTICLES = 60
OTHER = 20
CALENDAR = 6
"""Pages of the calendar that the tests' budget allows."""

ROBOTS = """User-agent: *
Disallow: /private/
Sitemap: {base}/sitemaps/index.xml
"""


def page(title: str, *links: str, head: str = "", image: int | None = None) -> str:
    figure = (
        f'<img src="/img/{image}.jpg" alt="A photograph of {title}">' if image is not None else ""
    )
    anchors = "".join(
        f"<a href='{link}'>to {n}</a> " if " " not in link else f"<a {link}>x</a>"
        for n, link in enumerate(links)
    )
    return f"<!doctype html><html lang=en><head><title>{title}</title>{head}</head><body><h1>{title}</h1>{figure}{anchors}</body></html>"


class Site:
    """Two servers in one thread. `log` holds (seconds, host, path with query) of every request."""

    def __init__(self, pause: float = 0.0):
        self.pause = pause
        self.log: list[tuple[float, str, str]] = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._loop = asyncio.new_event_loop()

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *exc):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self):
        self._stop = asyncio.Event()
        runners = []
        for number in range(2):
            app = web.Application()
            app.router.add_get("/{path:.*}", self._first if number == 0 else self._second)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            runners.append(runner)
        self.ports = [runner.addresses[0][1] for runner in runners]
        self._started.set()
        await self._stop.wait()
        for runner in runners:
            await runner.cleanup()

    @property
    def first(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def second(self) -> str:
        return f"http://localhost:{self.ports[1]}"

    def asked(self) -> Counter[str]:
        """Requests by URL, robots.txt and the like aside."""
        rules = ("/robots.txt", "/ai.txt", "/.well-known/tdmrep.json")
        bases = {"first": self.first, "second": self.second}
        return Counter(bases[host] + path for _, host, path in self.log if path not in rules)

    def wanted(self) -> set[str]:
        """The pages that a crawl of both hosts stores."""
        first = [
            "/",
            "/trap/",
            "/calendar",
            "/real",
            "/noise",
            "/listed/1.html",
            "/listed/2.html",
            "/moved-to",
        ]
        first += [f"/a/{n}.html" for n in range(ARTICLES)]
        second = ["/", *(f"/b/{n}.html" for n in range(OTHER))]
        return {self.first + path for path in first} | {self.second + path for path in second}

    async def _answer(self, request: web.Request, host: str, found: web.Response | str | None):
        self.log.append((time.monotonic(), host, request.path_qs))
        await asyncio.sleep(self.pause)
        if isinstance(found, str):
            found = web.Response(text=found, content_type="text/html", charset="utf-8")
            found.enable_compression()
        return found or web.Response(status=404, text=page("Nothing"), content_type="text/html")

    async def _first(self, request: web.Request) -> web.Response:
        return await self._answer(request, "first", self._page_of_first(request))

    def _page_of_first(self, request: web.Request) -> web.Response | str | None:
        path = request.path
        if path == "/robots.txt":
            return web.Response(text=ROBOTS.format(base=self.first))
        if path == "/":
            return page(
                "the first page", "/a/0.html", "/trap/", "/calendar?month=0", "/private/1.html", "/old", "/loop/1",
                "rel=nofollow href=/hidden.html", "rel='noopener UGC' href=/hidden2.html", "/noise?ref=top", "/file.zip",
                "/gone.html", "mailto:a@e.org", "http://elsewhere.test/", self.second + "/", "#top", "/real", image=1000,
            )  # fmt: skip
        if found := re.fullmatch(r"/a/(\d+)\.html", path):
            n = int(found[1])
            if n >= ARTICLES:
                return None
            links = [f"/a/{4 * n + k}.html" for k in range(1, 5)]
            return page(f"article {n}", *links, "/", f"/a/{n}.html#section", image=n)
        if path.startswith("/trap/"):  # each page links into a deeper one
            return page(f"the trap {path}", "sub/", "../trap/sub/", image=1001)
        if path == "/calendar":
            month = int(request.query["month"])
            return page(f"month {month}", f"/calendar?month={month + 1}", image=2000 + month)
        if path == "/noise":  # one page under many addresses
            more = "".join(f"<a href='/noise?ref={n}'>{n}</a>" for n in range(3))
            return page("noise", head="<link rel=canonical href=/noise>", image=1002) + more
        if path == "/real":
            return page(
                "unfollowed",
                "/from-nofollow.html",
                head="<meta name=robots content='nofollow'>",
                image=1003,
            )
        if path.startswith("/loop/"):
            return web.Response(
                status=302, headers={"Location": "/loop/2" if path.endswith("1") else "/loop/1"}
            )
        if path == "/old":
            return web.Response(status=301, headers={"Location": "/moved-to"})
        if path == "/moved-to":
            return page("what has moved", image=1004)
        if path == "/file.zip":
            return web.Response(body=b"PK" * 100, content_type="application/zip")
        if path == "/sitemaps/index.xml":
            one = f"<sitemap><loc>{self.first}/sitemaps/1.xml.gz</loc></sitemap>"
            return web.Response(
                text=f"<?xml version='1.0'?><sitemapindex xmlns='x'>{one}</sitemapindex>"
            )
        if path == "/sitemaps/1.xml.gz":
            import gzip

            urls = [f"{self.first}/listed/{n}.html" for n in (1, 2)] + [
                "http://elsewhere.test/",
                f"{self.first}/private/2.html",
            ]
            text = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
            return web.Response(body=gzip.compress(f"<urlset>{text}</urlset>".encode()))
        if found := re.fullmatch(r"/listed/([12])\.html", path):
            return page(f"listed page {found[1]}", image=1004 + int(found[1]))
        if found := re.fullmatch(r"/img/(\d+)\.jpg", path):
            return web.Response(body=random_image(int(found[1]), 64, 48), content_type="image/jpeg")
        return (
            page("never")
            if path
            in (
                "/hidden.html",
                "/hidden2.html",
                "/from-nofollow.html",
                "/private/1.html",
                "/private/2.html",
            )
            else None
        )

    async def _second(self, request: web.Request) -> web.Response:
        found: web.Response | str | None = None
        if request.path == "/":
            found = page("the second host", "/b/0.html", self.first + "/", image=3000)
        elif match := re.fullmatch(r"/b/(\d+)\.html", request.path):
            n = int(match[1])
            found = page(
                f"other {n}",
                *(f"/b/{k}.html" for k in (2 * n + 1, 2 * n + 2) if k < OTHER),
                image=3001 + n,
            )
        elif match := re.fullmatch(r"/img/(\d+)\.jpg", request.path):
            found = web.Response(
                body=random_image(int(match[1]), 64, 48), content_type="image/jpeg"
            )
        return await self._answer(request, "second", found)
