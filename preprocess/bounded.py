"""Calls that can be stopped: a function runs in a process of its own, within limits of time and
memory.

Parsers and decoders in C hold on for as long as their input makes them, and some inputs make them
for hours or for gigabytes. The process is started at the first call and kept; when it breaks a
bound it is killed, and the next call starts another. A call costs about 0.2 ms and copies its
arguments, so it is for inputs that look dangerous (large, deep), not for all.
"""

import importlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Self

_LENGTH = struct.Struct("<Q")
_WALL_FACTOR = 10  # wall time allowed for each second of CPU time: machines may be busy
_START_SECONDS = 120.0


class BoundError(Exception):
    """Raised when a call did not end within its limits."""


class TimeLimitError(BoundError):
    """Raised when a call took too long."""


class MemoryLimitError(BoundError):
    """Raised when a call needed too much memory."""


class CrashError(BoundError):
    """Raised when the process of a call died; says how."""


class BoundedCall:
    """A function that runs in another process, one process for each thread that calls.

    Args:
        function: "module:name". Arguments and result must be picklable.
        seconds: CPU time of one call; ten times as much on the clock.
        memory: Bytes that the process may map beyond what it has after its imports.
    """

    def __init__(self, function: str, seconds: float, memory: int):
        self._function, self._seconds, self._memory = function, seconds, memory
        self._local = threading.local()

    def __call__(self, *arguments: Any) -> Any:
        """Call the function; returns its result.

        Raises:
            TimeLimitError: it took longer than allowed.
            MemoryLimitError: it needed more memory than allowed.
            CrashError: its process died.
            Exception: what the function raised.
        """
        worker = getattr(self._local, "worker", None)
        if worker is None or not worker.is_alive() or worker.owner != os.getpid():
            worker = _Worker(self._function, self._seconds, self._memory)
            self._local.worker = worker
        return worker.call(arguments)

    def __reduce__(self) -> Any:
        return BoundedCall, (self._function, self._seconds, self._memory)


class Patience:
    """A bound on the time of calls in this process, which cannot be stopped alone: where one takes
    longer, the process ends itself by SIGABRT. A context manager.

    Args:
        seconds: The time of one call on the clock.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._since: dict[int, float] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="patience", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call of this thread."""
        mine = threading.get_ident()
        self._since[mine] = time.monotonic()
        try:
            yield
        finally:
            del self._since[mine]

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._seconds)):
            oldest = min([*self._since.values()], default=float("inf"))
            if time.monotonic() - oldest > self._seconds:
                os.abort()


class _Worker:
    """One process and the pipes to it."""

    def __init__(self, function: str, seconds: float, memory: int):
        self.owner = os.getpid()
        self._wall = seconds * _WALL_FACTOR
        self._seconds = seconds
        # Not a fork: the caller has threads, and locks that they hold.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, function, str(seconds), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._started = False

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def call(self, arguments: tuple[Any, ...]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            if not self._started:  # its imports are not the call's time
                self._receive(_START_SECONDS)
                self._started = True
            _send(self._process.stdin, arguments)
            is_result, value = self._receive(self._wall)
        except (EOFError, BrokenPipeError) as error:
            code = self.stop()
            if code in (-24, -9):  # SIGXCPU, and SIGKILL where it was not heard
                raise TimeLimitError(f"more than {self._seconds:g} s") from error
            raise CrashError(how_ended(code)) from error
        except BaseException:  # killed in the middle of an answer, it must not give it to the next
            self.stop()
            raise
        if is_result:
            return value
        raise value

    def _receive(self, seconds: float) -> Any:
        stdout = self._process.stdout
        assert stdout is not None
        end = time.monotonic() + seconds
        data = bytearray()
        needed = _LENGTH.size
        while len(data) < needed:
            left = max(0.0, end - time.monotonic())
            if not select.select([stdout], [], [], left)[0]:
                raise TimeLimitError(f"more than {seconds:g} s")
            piece = os.read(stdout.fileno(), min(needed - len(data), 2**20))
            if not piece:
                raise EOFError
            data += piece
            if len(data) == _LENGTH.size and needed == _LENGTH.size:
                needed += _LENGTH.unpack(data)[0]
        return pickle.loads(memoryview(data)[_LENGTH.size :])

    def stop(self) -> int:
        """Kill the process; returns its exit status."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        return self._process.wait()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None and self.owner == os.getpid():
            self.stop()


def how_ended(status: int) -> str:
    """What an exit status says: the signal's name where one ended the process."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _send(pipe: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _serve(function: str, seconds: float, memory: int) -> None:
    """The loop of the other process: it answers calls until the caller is gone."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    _bound_memory(memory)
    _send(answers, None)
    while head := asked.read(_LENGTH.size):
        arguments = pickle.loads(asked.read(_LENGTH.unpack(head)[0]))
        _bound_time(seconds)
        answer: tuple[bool, Any]
        try:
            answer = True, call(*arguments)
        except MemoryError:
            answer = False, MemoryLimitError(f"more than {memory} bytes")
        except Exception as error:
            answer = False, _portable(error)
        _send(answers, answer)


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _bound_memory(memory: int) -> None:
    import resource

    if not sys.platform.startswith("linux"):
        return
    with open("/proc/self/statm") as file:  # noqa: PTH123
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))


def _bound_time(seconds: float) -> None:
    import resource

    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, hard))


if __name__ == "__main__":
    from septet.preprocess import bounded  # not this module, whose classes are those of __main__

    bounded._serve(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
