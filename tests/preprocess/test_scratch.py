"""Scratch folders: removed with their process, and swept where it was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WRITES = """
import sys, time
from septet.preprocess import files
with files.open_atomic("memory://x/y.tar") as out:
    out.write(b"0" * 5_000_000)
    out.flush()
    print("in", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def write(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that has begun to write a file of a remote corpus."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(seconds)],
        env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "in\n"
    return process


def held(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
def test_what_a_killed_writer_left_is_swept_by_the_next(
    tmp_path: Path, how: signal.Signals | None
) -> None:
    first = write(tmp_path, 60 if how else 0)
    if how:
        first.send_signal(how)
    first.wait()
    assert held(tmp_path) == (5_000_000 if how else 0)
    second = write(tmp_path, 0)
    second.wait()
    assert held(tmp_path) == 0
    (root,) = tmp_path.iterdir()
    assert root.name == f"septet-{os.getuid()}" and [*root.iterdir()] == []


def test_the_folder_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    first = write(tmp_path, 60)
    try:
        write(tmp_path, 0).wait()
        assert held(tmp_path) == 5_000_000
    finally:
        first.kill()
        first.wait()
