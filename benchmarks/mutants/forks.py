"""Test runs in a copy of the repository, in forks of a process that has imported libraries."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_FORKS = multiprocessing.get_context("forkserver")

PRELOAD = {
    "data": ["aiohttp", "coverage", "fsspec", "hypothesis", "numpy", "PIL.Image", "pyarrow.dataset",
             "pyarrow.parquet", "pydantic", "pytest", "rich.console", "selectolax.lexbor",
             "simplejpeg", "tldextract", "typer", "xdist", "yaml"],
    "trainers": ["aiohttp", "coverage", "cv2", "fsspec", "hypothesis", "numpy", "pandas",
                 "PIL.Image", "pyarrow.dataset", "pyarrow.parquet", "pydantic", "pytest",
                 "rich.console", "safetensors.torch", "simplejpeg", "tokenizers", "torch",
                 "torch._dynamo", "torch.distributed.checkpoint", "torch.distributed.fsdp",
                 "torch.utils.flop_counter", "torch.utils.tensorboard", "typer.testing", "xdist",
                 "yaml"],
}  # fmt: skip
"""Nothing of Septet; and no torch for the data code, whose runner forks no process that has it."""

NOT_RUN = (
    "not killed_at_any_moment and not killed_in_the_first and not browser and "
    "not worker_counts_make_no_difference"
)
"""Tests of minutes that hold no single line."""


def preload(what: str) -> None:
    """Have the process that is forked import what its tests need; before the first run."""
    _FORKS.set_forkserver_preload(PRELOAD[what])


class Order:
    """A pytest plugin: only the chosen tests run, in the given order, each within its time."""

    def __init__(self, seconds: dict[str, float]):
        self._seconds = seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose and sort."""
        place = {name: number for number, name in enumerate(self._seconds)}
        items[:] = sorted(
            (item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid]
        )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """SIGALRM ends the process: a change that makes a loop endless is noticed."""
        signal.setitimer(signal.ITIMER_REAL, 30 + 10 * self._seconds[nodeid])

    def pytest_runtest_logfinish(self) -> None:
        """The test ended in time."""
        signal.setitimer(signal.ITIMER_REAL, 0)


def _chosen(files: list[str], seconds: dict[str, float]) -> int:
    options = ["-q", "-x", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
    return pytest.main([*options, *files], plugins=[Order(seconds)])


def _in_copy(folder: str, run: Callable[..., int], arguments: tuple) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "SEPTET_MUTANTS": "1"}
    sys.path.insert(0, folder)
    nowhere = os.open(os.devnull, os.O_RDWR)
    log = os.open("mutants.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor, target in ((0, nowhere), (1, log), (2, log)):
        os.dup2(target, descriptor)
    sys.exit(run(*arguments))


class Copy:
    """A copy of the repository in which files are changed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
        for name in names.splitlines():
            if Path(name).exists() or Path(name).is_symlink():
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(name, target, follow_symlinks=False)

    def run(self, run: Callable[..., int], *arguments: object, limit: float) -> int | None:
        """The exit status of `run(*arguments)` in a fork whose folder is the copy; None: killed."""
        process = _FORKS.Process(target=_in_copy, args=(str(self.folder), run, arguments))
        process.start()
        process.join(limit)
        status = process.exitcode
        assert process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return status

    def run_tests(self, seconds: dict[str, float]) -> str:
        """`passed`, `failed` or `timeout`: these tests, in this order, each with its usual time."""
        if not seconds:
            return "passed"
        files = list(dict.fromkeys(name.split("::")[0] for name in seconds))
        limit = 120 + 10 * sum(seconds.values())
        status = self.run(_chosen, files, seconds, limit=limit)
        return {None: "timeout", -signal.SIGALRM: "timeout", 0: "passed"}.get(status, "failed")

    @contextlib.contextmanager
    def changed(self, name: str, text: str) -> Iterator[None]:
        """The file has another text for a while."""
        path = self.folder / name
        before = path.read_bytes()

        def write(data: bytes) -> None:
            path.write_bytes(data)
            # A cached module is known by size and second of change: two changes may share both.
            for cached in path.parent.glob(f"__pycache__/{path.stem}.*"):
                cached.unlink()

        write(text.encode())
        try:
            yield
        finally:
            write(before)

    def remove(self) -> None:
        """Take the copy away."""
        shutil.rmtree(self.folder, ignore_errors=True)
