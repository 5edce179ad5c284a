"""A corpus with everything that a build leaves, and a browser."""

import shutil
from pathlib import Path

import pytest

from tests.browser import browser as browser
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
