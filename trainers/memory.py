"""What a process does with memory that is freed."""

import ctypes
import sys

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
