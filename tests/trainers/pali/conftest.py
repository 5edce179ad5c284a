from pathlib import Path

import pytest

from tests.trainers.pali.corpora import pali_corpus


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """Sixty scenes in five languages with all of PaLI's columns."""
    return pali_corpus(tmp_path_factory.mktemp("pali"), 60)
