"""A real browser, and a page that it opens, for tests of pages that Septet writes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on PATH: install the package 'chromium'")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        yield started
        started.close()


class Opened:
    """A page's file in a browser that notes all that it asks for and complains of."""

    def __init__(self, browser: Browser, path: str | Path, **options):
        viewport = options.pop("viewport", {"width": 1280, "height": 900})
        self.page: Page = browser.new_page(viewport=viewport, **options)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.address = Path(path).as_uri()
        self.page.goto(self.address, timeout=120_000)  # where other work has the cores

    @property
    def outside(self) -> list[str]:
        """What it asked for beside itself."""
        return [url for url in self.requests if not url.startswith("data:") and url != self.address]

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
