"""Memory that a process keeps for what it allocates next."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from septet.preprocess.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range(100):
    bytearray(b"x") * (2**20 + 4096 * number)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of 100 blocks of a MiB, each a page larger than the last, which is freed."""
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_blocks_that_are_freed_are_not_mapped_anew() -> None:
    assert faults("kept") < faults("given back") / 10
