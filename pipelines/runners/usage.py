"""What the tasks of a pass used: time, CPU, bytes, memory, and attempts that came to nothing.

Each runner measures in the process that does the work. The local runner's workers send their
figures with their answers. On clusters a worker leaves them as a small file in the corpus, where
the driver reads them when the pass is complete: the counters of engines differ, and some end with
the worker that counted.
"""

import json
import resource
import secrets
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from septet.preprocess import files

_READERS = 32
"""The number of threads that read what workers left."""


@dataclass
class Usage:
    """What some tasks used, their processes together."""

    worker_seconds: float = 0.0
    """Time in which a worker had a task, waits included."""
    cpu_seconds: float = 0.0
    """CPU time of those processes, and of what they started and awaited, in that time."""
    bytes_written: int = 0
    """Bytes of the files that tasks wrote, intermediate ones too."""
    bytes_shuffled: int = 0
    """Bytes that tasks gave to shuffles, before any compression."""
    peak_rss: int = 0
    """The most bytes of memory that one of the processes has had; a local worker's since the
    pass began, on Linux."""
    retries: int = 0
    """Attempts that did not end: a worker died or an engine gave them up. What those used is
    not known."""

    def add(self, more: "Usage") -> None:
        """Add what other tasks used."""
        self.worker_seconds += more.worker_seconds
        self.cpu_seconds += more.cpu_seconds
        self.bytes_written += more.bytes_written
        self.bytes_shuffled += more.bytes_shuffled
        self.peak_rss = max(self.peak_rss, more.peak_rss)
        self.retries += more.retries

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data, times to the millisecond."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


class Meter:
    """A meter of what this process uses while it has tasks; `used` is the sum so far."""

    def __init__(self) -> None:
        self.used = Usage()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure while the block runs."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        """Begin to measure."""
        self._before = (time.monotonic(), _cpu_seconds(), files.bytes_written())

    def end(self) -> None:
        """Add what was used since `begin`."""
        began, cpu, written = self._before
        self.used.worker_seconds += time.monotonic() - began
        self.used.cpu_seconds += _cpu_seconds() - cpu
        self.used.bytes_written += files.bytes_written() - written
        self.used.peak_rss = max(self.used.peak_rss, _peak_rss())

    def take(self) -> Usage:
        """What was used since the last call."""
        used, self.used = self.used, Usage()
        return used


def forget_peak() -> None:
    """Let this process's peak of memory begin anew, where the kernel can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _cpu_seconds() -> float:
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent)


def _peak_rss() -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class Note:
    """The file in which one worker's instance of a step notes what its bundles used: written as
    each begins, so that one that does not end is known of, and as it ends.

    Args:
        folder: Where notes are left.
    """

    def __init__(self, folder: str):
        self._path = files.join(folder, secrets.token_hex(8) + ".json")
        self._meter = Meter()
        self._begun = self._ended = 0

    def begin(self) -> None:
        """Note that a bundle begins."""
        self._begun += 1
        self._write()
        self._meter.begin()

    def shuffled(self, data: bytes) -> None:
        """Count what goes to a shuffle."""
        self._meter.used.bytes_shuffled += len(data)

    def end(self) -> None:
        """Note what the bundle used."""
        self._meter.end()
        self._ended += 1
        self._write()

    def _write(self) -> None:
        note = {"begun": self._begun, "ended": self._ended, "used": self._meter.used.to_dict()}
        files.write_bytes(self._path, json.dumps(note).encode())


def read_notes(folder: str) -> Usage:
    """The sum of what workers noted in a folder."""
    total = Usage()
    paths = [files.join(folder, name) for name in files.list_folder(folder)]
    with ThreadPoolExecutor(_READERS) as pool:
        for note in map(json.loads, pool.map(files.read_bytes, paths)):
            total.add(Usage(**note["used"]))
            total.retries += note["begun"] - note["ended"]
    return total
