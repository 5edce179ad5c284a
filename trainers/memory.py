"""What a process does with memory that is freed, and when it looks for some."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Numbers of glibc's `mallopt`."""


def keep_freed_memory() -> None:
    """Have the process use freed memory again, where it would give each block of more than 32 MiB
    back to the kernel, which clears it page by page when it comes anew: of a CPU's tensors, of
    gradients above all, the greater part of what they cost. Does nothing but on glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """Keep the garbage collector still, and afterwards from what there is. What an import makes
    stays, and torch makes so much that to look through it again and again takes a sixth of the time
    to the first step."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
