"""Worker processes of the local runner: started once a build, forked after the imports.

A *nursery* is a process without threads that forks the workers, so that a worker costs
milliseconds. It is forked from the driver when a build begins, with all that is imported by then;
from a driver with threads, whose locks a fork would freeze, it is a fresh Python process that
imports the same once a worker is wanted. Each worker talks to the driver over a socket pair that it
is born with: there is no moment before it is connected, and its death, whenever it comes, is the
socket's end. Workers end with the driver, even when that is killed: nothing goes on writing into a
corpus behind the back of the next build.
"""

import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from septet.preprocess.bounded import how_ended

_START = "from septet.pipelines.runners.processes import _nursery; _nursery({}, {})"


CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
"""The signals by which code in C ends its process."""


class WorkerDied(RuntimeError):
    """Raised when a worker process ended; the message says how.

    Args:
        message: See there.
        has_crashed: Whether its own code ended it, by one of `CRASHES`.
    """

    def __init__(self, message: str, has_crashed: bool = False):
        super().__init__(message)
        self.has_crashed = has_crashed


def how_it_died(status: int) -> str:
    """What a person is told of a worker's status."""
    how = how_ended(status)
    return f"{how}: out of memory, or killed by hand" if status == -signal.SIGKILL else how


class Worker:
    """One worker process, as the driver sees it."""

    def __init__(self, pid: int, line: Connection, owner: "WorkerProcesses"):
        self.pid, self.line, self._owner = pid, line, owner

    def bury(self) -> int:
        """Forget the worker, whose line has ended; the status with which its process ended."""
        return self._owner.bury(self)

    def kill(self) -> None:
        """End the process at once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class WorkerProcesses:
    """The workers of one driver and the nursery that forks them. Not for use from several threads
    at once.

    Args:
        modules: The modules that the nursery imports; one that cannot be imported is passed over.
        serve: "module:function" that each worker runs with its end of the line.
    """

    def __init__(self, modules: Sequence[str], serve: str):
        ours, theirs = socket.socketpair()
        # The nursery and its workers hold the reading end; it ends when the driver does.
        lifeline, self._alive = os.pipe()
        self.is_forked = may_fork()
        """Whether the nursery has what the driver has imported; else a first worker costs that."""
        self._nursery = (
            _fork(theirs.fileno(), lifeline, (ours.fileno(), self._alive))
            if self.is_forked
            else _spawn(theirs.fileno(), lifeline)
        )
        self._status: int | None = None
        theirs.close()
        os.close(lifeline)
        self._control = ours
        self._answers = ours.makefile("rb")
        self._tell((list(sys.path), list(modules), serve))
        self.workers: list[Worker] = []

    def ensure(self, count: int) -> list[Worker]:
        """`count` workers, the living ones first; new ones where there are fewer.

        Raises:
            WorkerDied: the nursery ended, as by an import that ends the process.
        """
        while len(self.workers) < count:
            ours, theirs = socket.socketpair()
            with theirs:
                self._tell("fork")
                socket.send_fds(self._control, [b"f"], [theirs.fileno()])
            pid = self._answer()
            self.workers.append(Worker(pid, Connection(ours.detach()), self))
        return self.workers[:count]

    def bury(self, worker: Worker) -> int:
        """Forget a worker whose line has ended; the status with which the process ended, below
        zero for a signal."""
        worker.kill()
        worker.line.close()
        self.workers.remove(worker)
        self._tell(("reap", worker.pid))
        return self._answer()

    def close(self) -> None:
        """End the workers and the nursery at once."""
        for worker in self.workers:
            worker.kill()
            worker.line.close()
        self.workers = []
        if self._status is None:
            os.kill(self._nursery, signal.SIGKILL)
            self._nursery_ended()
        self._answers.close()
        self._control.close()
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1

    def _tell(self, message: Any) -> None:
        try:
            data = pickle.dumps(message)
            self._control.sendall(len(data).to_bytes(4, "little") + data)
        except OSError as error:
            raise WorkerDied(self._nursery_ended()) from error

    def _answer(self) -> int:
        try:
            line = self._answers.readline()
        except OSError:  # it was reset: killed before it read what it was told
            line = b""
        if not line:
            raise WorkerDied(self._nursery_ended())
        return int(line)

    def _nursery_ended(self) -> str:
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self._nursery, 0)[1])
        return f"the process that forks workers ended with status {self._status}"


def may_fork() -> bool:
    """Whether this process can be forked: it has one thread, and no library that forks break."""
    return threading.active_count() == 1 and not {"torch", "grpc"} & sys.modules.keys()


def _fork(control: int, lifeline: int, ours: tuple[int, ...]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            for descriptor in ours:
                os.close(descriptor)
            _nursery(control, lifeline)
        finally:
            os._exit(1)
    return pid


def _spawn(control: int, lifeline: int) -> int:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _START.format(control, lifeline)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        pass_fds=(control, lifeline),
        stdin=subprocess.DEVNULL,
    )
    process.returncode = 0  # waited for here, not by subprocess
    return process.pid


def ready(workers: Sequence[Worker], timeout: float | None) -> list[Worker]:
    """Wait for workers that have something to say or have ended; returns them."""
    lines = {worker.line: worker for worker in workers}
    return [lines[line] for line in wait(list(lines), timeout)]  # type: ignore[index]


def _nursery(control: int, lifeline: int) -> None:
    """The loop of the nursery: it imports, then forks workers and says how they ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    line = socket.socket(fileno=control)
    path, modules, serve = _told(line)
    sys.path[:] = path
    module, _, function = serve.partition(":")
    life: Callable[[Connection], None] = getattr(importlib.import_module(module), function)
    while True:
        message = _told(line)
        if message is None:
            os._exit(0)
        if message == "fork":
            while modules:  # not before a worker is wanted: many builds want none
                with suppress(Exception):  # whoever needs it is told in the worker
                    importlib.import_module(modules.pop())
            _, (descriptor,), *_ = socket.recv_fds(line, 1, 1)
            pid = os.fork()
            if pid == 0:
                line.close()
                _worker(life, descriptor, lifeline)
            os.close(descriptor)
            answer = pid
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(message[1], 0)[1])
        line.sendall(f"{answer}\n".encode())


def _told(line: socket.socket) -> Any:
    """Read the driver's next message to the nursery; None once the driver has ended."""
    head = _exactly(line, 4)
    return pickle.loads(_exactly(line, int.from_bytes(head, "little"))) if head else None


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = line.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data


def _worker(life: Callable[[Connection], None], descriptor: int, lifeline: int) -> None:
    """The main function of a worker process; it never returns into the nursery's loop."""
    status = 1
    try:
        threading.Thread(target=_die_with_driver, args=(lifeline,), daemon=True).start()
        life(Connection(descriptor))
        status = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        status = 0  # the driver has closed the line
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _die_with_driver(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGKILL)
