"""What holds for all tests."""

import multiprocessing.util
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# The same examples in every run, on machines of any speed: what passed once passes again.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")

TOGETHER = "tests/distributed/"
"""Of its tests each may start a Spark cluster that takes all cores."""


class ByFile(LoadFileScheduling):
    """A file's tests stay in one process, so that its fixtures are made once; so do a folder's."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER if nodeid.startswith(TOGETHER) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The folder of temporary files, of processes that tests start too: it goes with the run's."""
    multiprocessing.util.get_temp_dir()  # one of its own, which it removes later than this one is
    folder = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield
