"""Locks of folders between processes, on this machine's disks and on object stores.

A local folder is locked by the kernel (`flock`), and the lock ends with the process. Where there is
no `flock` (some network file systems, object stores) each holder leaves a *lease*: a small file
below `.septet-locks/` that says who holds the folder, renewed while it is held. A holder first
leaves its lease and then looks for others; so of two that start at once at most one goes on, on
any store whose listings show what was written before. A lease ends when it is not renewed for
`LEASE_SECONDS`, or at once when its process was on this machine and has ended; whoever finds it
then takes it away, and the folder over.

A holder that comes too late with its renewal must not renew a lease that it has lost. It writes
the renewed lease under a new name, then takes the old one away. A file system lets one process
alone remove a file: where the successor did, the holder has lost; where the holder did, the
successor finds nothing to take, looks again and sees the new lease. An object store does not say
who removed a file. There the holder looks for others after each renewal, and gives way to one that
came later and stays: for a second or two both leases may be there.

What a lease cannot prevent: a holder that cannot renew (its machine sleeps, the store does not
answer) learns of its loss when it tries again, and is at work beside its successor until then. It
is interrupted by a signal of this module's own, as SIGINT may be ignored (a shell starts the
background jobs of a script so) or mean something else (a run of training saves and leaves). Who has
not left its block `_GRACE_SECONDS` later is ended with its process: one that is in a long call,
goes on after an interrupt, or holds the folder in another thread than the main one.
"""

import errno
import json
import math
import os
import random
import secrets
import signal
import socket
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from septet.preprocess import files

try:
    import fcntl
except ImportError:  # Windows: leases serve there
    fcntl = None  # type: ignore[assignment]

LEASES = ".septet-locks"
LEASE_SECONDS = 180.0
_RENEW_SECONDS = 30.0
_GRACE_SECONDS = 60.0
_INTERRUPT = getattr(signal, "SIGRTMAX", getattr(signal, "SIGUSR2", None))
"""The signal by which a process tells its main thread that a lease is lost; Windows has none."""
_TRIES = 4

_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF, errno.EINVAL}
"""The errors that `flock` raises where a file system has no locks (EBADF: NFS wants a file open for
writing, and a folder cannot be)."""


class FolderBusyError(ValueError):
    """Raised when another process holds the folder."""


class _LostError(KeyboardInterrupt):
    """Raised wherever the main thread is when its lease is lost: all that tidies up after an
    interrupt does so, and what goes on after mere errors does not."""


def unless_lost(
    do: Callable[[], object],
) -> Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], None]:
    """A function for `ExitStack.push` that calls `do` at the end of a locked block, but not where
    the lock was lost: the folder's files are the successor's then."""

    def leave(kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, _LostError):
            do()

    return leave


@contextmanager
def locked(folder: str, alone: bool = True, busy: str = "") -> Iterator[None]:
    """Hold a folder while the block runs.

    Args:
        folder: Local folder or URL; a local one is made where it is missing.
        alone: Whether nobody else may hold it; those that are not alone share it.
        busy: The message where it is held already; the holder is added where it is known.

    Raises:
        FolderBusyError: another process holds it, or took it over while the block ran because
            this one could not renew its lease.
        OSError: the folder cannot be made or read.
    """
    busy = busy or f"another process is at work in {folder}"
    with ExitStack() as held:
        if not files.is_local(folder):
            held.enter_context(_leased(folder, alone, busy))
        else:
            path = Path(files.local_path(folder))
            path.mkdir(parents=True, exist_ok=True)
            if not held.enter_context(_flocked(path, alone, busy)):
                held.enter_context(_leased(str(path), alone, busy))
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Wait until no other process is in a block for `path`. Without locks in its file system it
    does not wait: for work that would only be done twice."""
    with path.open("a") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
        yield


@contextmanager
def _flocked(folder: Path, alone: bool, busy: str) -> Iterator[bool]:
    """Hold a local folder by `flock`; False where its file system has none."""
    if fcntl is None:
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _flock(handle, alone, busy, folder)
    finally:
        os.close(handle)


def _flock(handle: int, alone: bool, busy: str, folder: Path) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderBusyError(f"{busy}: wait for it, or end it first") from None
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise OSError(error.errno, os.strerror(error.errno or 0), str(folder)) from error
    return True


@contextmanager
def _leased(folder: str, alone: bool, busy: str) -> Iterator[None]:
    """Hold a folder by a lease."""
    lease = _Lease(folder, alone)
    try:
        for attempt in range(_TRIES):
            lease.write()
            others = lease.others()
            if not others:
                break
            lease.remove()
            # Two that started at once may each have seen the other.
            if attempt == _TRIES - 1 or any(other["since"] < lease.began - 5 for other in others):
                left = max(0, math.ceil(others[0]["until"] - time.time()))
                raise FolderBusyError(
                    f"{busy} ({_who(others[0])}): wait for it, or end it. The file system "
                    f"has no locks: if that process was cut off, the folder is free in {left} s"
                )
            _pause()
        with lease.renewed():
            yield
    except KeyboardInterrupt:
        if lease.lost:
            raise FolderBusyError(_loss(folder)) from None
        raise
    finally:
        lease.remove()


class _Lease:
    """One holder's lease: a file `alone-TOKEN.N.json` or `shared-TOKEN.N.json` below
    `.septet-locks/`, N the number of its renewal; two of them for a moment while it is renewed."""

    def __init__(self, folder: str, alone: bool):
        self.held, self.folder, self.alone = folder, files.join(folder, LEASES), alone
        self.token = f"{'alone' if alone else 'shared'}-{secrets.token_hex(8)}"
        self.number = 0
        self.began = time.time()
        self.lost = False

    @property
    def path(self) -> str:
        """The path of the newest file."""
        return files.join(self.folder, f"{self.token}.{self.number}.json")

    def write(self) -> None:
        """Write the newest file."""
        now = time.time()
        holder = {**_this_process(), "since": self.began, "until": now + LEASE_SECONDS}
        files.write_bytes(self.path, json.dumps(holder).encode())

    def renew(self) -> bool:
        """Renew the lease; returns False where it was lost, and gives it back then."""
        old = self.path
        self.number += 1
        try:
            self.write()
        except BaseException:
            self.number -= 1
            raise
        if files.take_away(old) and (files.is_local(self.folder) or not self._is_overtaken()):
            return True
        self.remove()
        return False

    def remove(self) -> None:
        """Give the folder back."""
        for name in files.list_folder(self.folder):
            if name.startswith(f"{self.token}."):
                files.take_away(files.join(self.folder, name))
        if files.is_local(self.folder):
            with suppress(OSError):  # another lease is there
                files.local_path(self.folder).rmdir()

    def others(self) -> list[dict[str, Any]]:
        """Find the live leases that exclude this one, with the `token` of each; those that have
        ended are taken away."""
        while True:
            found: dict[str, dict[str, Any]] = {}
            ended: list[tuple[str, str]] = []
            gone = False
            for name in files.list_folder(self.folder):
                token = name.partition(".")[0]
                if token == self.token or not (self.alone or name.startswith("alone-")):
                    continue
                try:
                    holder = json.loads(files.read_bytes(files.join(self.folder, name)))
                    if _ended(holder):
                        ended.append((token, name))
                    else:
                        found[token] = {**holder, "token": token}
                except FileNotFoundError:
                    gone = True
                except (ValueError, KeyError, TypeError):
                    continue  # not a lease
            for token, name in ended:
                if token not in found and not files.take_away(files.join(self.folder, name)):
                    gone = True
            if not gone:  # else it was renewed under a new name, or given back: look again
                return list(found.values())

    def _is_overtaken(self) -> bool:
        """Whether another holder that came later stays: one that only asks is gone at once."""
        staying: set[str] | None = None
        for _ in range(_TRIES):
            later = {one["token"] for one in self.others() if one["since"] >= self.began}
            staying = later if staying is None else staying & later
            if not staying:
                return False
            _pause()
        return True

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the lease while the block runs; interrupt it where the lease is lost."""
        over = threading.Event()

        def renew() -> None:
            while not self.lost:
                if over.wait(_RENEW_SECONDS):
                    return
                with suppress(Exception):  # the store may answer again before the lease ends
                    self.lost = not self.renew()
            interrupt()
            if not over.wait(_GRACE_SECONDS):
                told = f"{_loss(self.held)}; interrupted {_GRACE_SECONDS:.0f} s ago, it is ended"
                os.write(2, f"{told}\n".encode())
                os._exit(1)

        thread = threading.Thread(target=renew, name="septet-lease", daemon=True)
        with self._interrupted() as interrupt:
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()

    @contextmanager
    def _interrupted(self) -> Iterator[Callable[[], None]]:
        """Gives what interrupts the block, from another thread, once the lease is lost."""
        if _INTERRUPT is None or threading.current_thread() is not threading.main_thread():
            yield interrupt_main
            return

        def arrive(number: int, frame: FrameType | None) -> None:
            if self.lost:
                raise _LostError
            if callable(before):  # The lease of a block around this one is.
                before(number, frame)

        before = signal.signal(_INTERRUPT, arrive)
        try:
            yield partial(signal.pthread_kill, threading.get_ident(), _INTERRUPT)
        finally:
            signal.signal(_INTERRUPT, before)


def _loss(folder: str) -> str:
    return (
        f"{folder}: this process could not renew its lock for {LEASE_SECONDS:.0f} s, and another "
        "took the folder over"
    )


def _pause() -> None:
    """Wait for a moment that differs between processes."""
    time.sleep(random.uniform(0.1, 1.0))


def _this_process() -> dict[str, Any]:
    return {"host": _machine(), "name": socket.gethostname(), "pid": os.getpid(),
            "started": _started(os.getpid())}  # fmt: skip


def _machine() -> str:
    """The identity of this machine and its space of process numbers: a boot's id, and the
    namespace's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """The time when a process of this machine started, in the kernel's count; None where there is
    none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]
    except (OSError, IndexError):
        return None


def _ended(holder: dict[str, Any]) -> bool:
    """Whether a lease has run out, or its process on this machine is gone."""
    if holder["until"] < time.time():
        return True
    here = holder["host"] == _machine() and Path("/proc/self/stat").exists()
    return here and _started(int(holder["pid"])) != holder["started"]


def _who(holder: dict[str, Any]) -> str:
    since = datetime.fromtimestamp(holder["since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {holder['pid']} on {holder['name']}, since {since}"
