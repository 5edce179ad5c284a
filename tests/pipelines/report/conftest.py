"""A corpus with everything that a build leaves, and a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.pipelines.report.corpora import Truth, build_corpus


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """A corpus of 180 samples in three shards; tests only read it."""
    return build_corpus(tmp_path_factory.mktemp("harbour"))


@pytest.fixture
def own(truth: Truth, tmp_path: Path) -> Truth:
    """A copy of it that a test may change."""
    shutil.copytree(truth.path, tmp_path / "corpus")
    return Truth(str(tmp_path / "corpus"), truth.rows, truth.rejects)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on PATH: install the package 'chromium'")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        yield started
        started.close()
