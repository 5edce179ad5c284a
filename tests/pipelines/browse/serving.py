"""A server of `septet browse` in a thread, and a browser at its pages."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, Page

from septet.pipelines.browse.comparing import open_tables
from septet.pipelines.browse.guard import Guard
from septet.pipelines.browse.models import Trained
from septet.pipelines.browse.site import Site

TOKEN = "a-token"


@contextmanager
def served(
    corpus: str | Path,
    scratch: Path,
    beside: str | Path | None = None,
    model: Trained | None = None,
    codes: str | None = None,
) -> Iterator[str]:
    """Serve a corpus; gives the address without the token."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{sock.getsockname()[1]}"
        tables, compared = open_tables(str(corpus), str(beside) if beside else None, scratch)
        site = Site(tables, model, codes, compared)
        app = Guard(site.app(), TOKEN, [host])
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield f"http://{host}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
            site.end()


class Visitor:
    """A browser that opened the link; notes what it complains of and asks for elsewhere."""

    def __init__(self, browser: Browser, address: str, **options):
        self.page: Page = browser.new_page(**options)
        self.page.set_default_timeout(120_000)  # a model starts slowly where cores are busy
        self.complaints: list[str] = []
        self.outside: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.page.on("request", lambda r: r.url.startswith(address) or self.outside.append(r.url))
        self.page.on("dialog", lambda d: (self.dialogs.append(d.message), d.dismiss()))
        self.address = address
        self.go(f"/?token={TOKEN}")

    def go(self, path: str) -> None:
        self.page.goto(self.address + path)

    def text(self, selector: str) -> str:
        return " ".join(self.page.inner_text(selector).split())

    def until(self, true: str) -> None:
        """Wait for what becomes true of the page (`wait_for_function` is what its policy forbids)."""
        for _ in range(1200):
            if self.page.evaluate(true):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"never: {true}")
