import pytest

from septet.preprocess.scene_graphs.parsers import SeptetParser, SngParser


@pytest.fixture(scope="session")
def septet() -> SeptetParser:
    return SeptetParser()


@pytest.fixture(scope="session")
def sng() -> SngParser:
    return SngParser()
