"""What holds for all tests."""

import multiprocessing.util
import os
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# The same examples in every run, on machines of any speed: what passed once passes again.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")
if "SEPTET_FUZZ" in os.environ:  # other examples in each run, and more of them: `make fuzz`
    settings.register_profile("fuzz", deadline=None, max_examples=int(os.environ["SEPTET_FUZZ"]))
    settings.load_profile("fuzz")

# With it, a fork of a process that has used gRPC (Beam's runners do) lets gRPC restart its threads
# in the child, where they are killed by what they find: 1 to 20 of 100 such children.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

TOGETHER = ("tests/distributed/", "tests/infra/")
"""Of their tests each may start a cluster that takes all cores."""


class ByFile(LoadFileScheduling):
    """A file's tests stay in one process, so that its fixtures are made once; so do a folder's."""

    def _split_scope(self, nodeid: str) -> str:
        together = (folder for folder in TOGETHER if nodeid.startswith(folder))
        return next(together, super()._split_scope(nodeid))


LONGEST = (
    *TOGETHER, "tests/trainers/test_distributed.py", "tests/examples/test_seven.py",
    "tests/pipelines/runners/test_local.py",
    "tests/trainers/flava/test_training.py", "tests/trainers/experts/test_parallel.py",
    "tests/trainers/ofa/test_learning.py", "tests/trainers/beit3/", "tests/trainers/pali/",
    "tests/trainers/m6/", "tests/trainers/test_parallel.py", "tests/trainers/test_run.py",
    "tests/trainers/test_captioner.py", "tests/trainers/test_kills.py",
    "tests/trainers/ernie_vil/", "tests/trainers/ofa/", "tests/pipelines/",
)  # fmt: skip
"""Begun first, so that no process waits for another at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders the tests of a run of several processes; in one process they stay as they are."""

    def place(item: pytest.Item) -> int:
        starts = (n for n, start in enumerate(LONGEST) if item.nodeid.startswith(start))
        return next(starts, len(LONGEST))

    if hasattr(config, "workerinput"):
        items.sort(key=place)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The folder of temporary files and of the cache, of processes that tests start too: it goes
    with the run's."""
    multiprocessing.util.get_temp_dir()  # one of its own, which it removes later than this one is
    folder = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setenv("SEPTET_CACHE", f"{folder}/cache")
        patch.setattr(tempfile, "tempdir", folder)
        yield


NOT_OF_BUILDS = (
    "septet.trainers.",
    *(f"septet.preprocess.{name}" for name in (
        "annotators.", "codes.", "ocr.", "regions.", "scene_graphs.", "weights",
    )),
    "septet.pipelines.dry_run",
    *(f"septet.pipelines.runners.{name}" for name in (
        "beam", "dataflow", "embedded", "flink", "job_server", "measure", "pool", "prism", "spark",
        "workers",
    )),
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def workers_of_builds() -> Iterator[None]:
    """Workers of local runners are born without what only other tests have imported here: torch,
    spaCy and Beam take seconds each."""
    local = sys.modules.get("septet.pipelines.runners.local")
    if local is None:
        yield
        return
    start = local.WorkerProcesses
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            local,
            "WorkerProcesses",
            lambda modules, serve: start(
                [name for name in modules if not name.startswith(NOT_OF_BUILDS)], serve
            ),
        )
        yield
