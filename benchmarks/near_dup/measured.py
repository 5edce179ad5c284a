"""The measure of one run: wall seconds, CPU seconds of the process and its children, peak memory.

Imports nothing but the standard library: peers' environments run it too.
"""

import json
import resource
import time


class Measured:
    """A clock that prints what it measured, one JSON line, when told to."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), self._used()

    @staticmethod
    def _used() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(one.ru_utime + one.ru_stime for one in both)

    def stop(self, elsewhere: float = 0) -> None:
        """Note what was taken until now; `elsewhere` is CPU time of processes that still run."""
        self._wall = time.monotonic() - self._wall
        self._cpu = self._used() - self._cpu + elsewhere

    def show(self, peak_mb: int = 0) -> None:
        """Print the figures; peak memory is that of the largest process, or the one given."""
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        peak = max(resource.getrusage(who).ru_maxrss for who in kinds) // 1024
        figures = {"seconds": self._wall, "cpu": self._cpu, "peak_mb": peak_mb or peak}
        print(json.dumps(figures), flush=True)
