"""Locks of folders: by flock, and by leases where there is none."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from septet.preprocess import files, locks
from septet.preprocess.locks import FolderBusyError, in_turn, locked
from tests.object_store import object_store

HOLD = """
import sys, time
from septet.preprocess import locks
if sys.argv[3] == "leases":
    locks.fcntl = None
with locks.locked(sys.argv[1], alone=sys.argv[2] == "alone"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with object_store() as url:
        yield url


@pytest.fixture(params=["flock", "leases", "s3", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> str:
    """A folder on each kind of file system; the second has no flock."""
    if request.param == "s3":
        return f"{request.getfixturevalue('store')}/{tmp_path.name}"
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    if request.param == "leases":
        no_flock(monkeypatch, errno.ENOSYS)
    return str(tmp_path / "folder")


def no_flock(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("septet.preprocess.locks.fcntl.flock", flock)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [(True, True, False), (True, False, False), (False, True, False), (False, False, True)],
)
def test_who_may_hold_a_folder_together(
    folder: str, first: bool, second: bool, together: bool
) -> None:
    with locked(folder, first):
        try:
            with locked(folder, second, "a build is at work"):
                pass
        except FolderBusyError as error:
            assert not together and "a build is at work" in str(error)
        else:
            assert together
    with locked(folder, alone=True):
        pass
    assert files.list_folder(files.join(folder, locks.LEASES)) == []


def test_the_holder_of_a_lease_is_named(store: str) -> None:
    with (
        locked(f"{store}/named"),
        pytest.raises(
            FolderBusyError, match=rf"process {os.getpid()} on .*, since 20..-..-.. .*UTC"
        ),
        locked(f"{store}/named"),
    ):
        pass


@pytest.mark.parametrize("code", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EBADF"])
def test_a_file_system_without_flock_is_locked_by_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    no_flock(monkeypatch, getattr(errno, code))
    with locked(str(tmp_path)):
        (lease,) = (tmp_path / locks.LEASES).iterdir()
        assert lease.name.startswith("alone-")
        with pytest.raises(FolderBusyError), locked(str(tmp_path)):
            pass
    assert list(tmp_path.iterdir()) == []


def test_another_error_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_flock(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=str(tmp_path)), locked(str(tmp_path)):
        pass


@pytest.mark.parametrize(
    ("step", "error"),
    [("write", OSError), ("others", OSError), ("others", KeyboardInterrupt),
     ("_pause", KeyboardInterrupt)],
)  # fmt: skip
def test_a_holder_that_fails_on_its_way_leaves_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    no_flock(monkeypatch, errno.ENOSYS)

    def fail(*given: Any) -> None:
        if step == "write":
            write(*given)  # it is there, and the answer got lost
        raise error

    write = locks._Lease.write
    with monkeypatch.context() as patch:
        if step == "_pause":
            patch.setattr(locks._Lease, "others", lambda lease: [{"since": lease.began}])
            patch.setattr(locks, step, fail)
        else:
            patch.setattr(locks._Lease, step, fail)
        with pytest.raises(error), locked(str(tmp_path)):
            pass
    assert list(tmp_path.iterdir()) == []
    with locked(str(tmp_path)):
        pass


@pytest.mark.parametrize("kind", ["flock", "leases", "s3"])
def test_a_killed_holder_gives_the_folder_back(tmp_path: Path, kind: str, store: str) -> None:
    where = f"{store}/killed" if kind == "s3" else str(tmp_path)
    command = [sys.executable, "-c", HOLD, where, "alone", kind]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.MonkeyPatch.context() as patch:
            if kind == "leases":
                no_flock(patch, errno.ENOSYS)
            with pytest.raises(FolderBusyError), locked(where):
                pass
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            with locked(where):  # its lease says which process wrote it, and that one is gone
                pass
    finally:
        holder.kill()
        holder.wait()


def test_a_lease_of_another_machine_ends_when_it_is_not_renewed(store: str) -> None:
    folder = f"{store}/elsewhere"
    lease = files.join(folder, locks.LEASES, "alone-00ff.json")
    holder = {"host": "another", "name": "worker-7", "pid": 1, "started": "1", "since": time.time()}
    files.write_bytes(lease, json.dumps({**holder, "until": time.time() + 60}).encode())
    with pytest.raises(FolderBusyError, match="process 1 on worker-7"), locked(folder):
        pass
    assert files.exists(lease)
    files.write_bytes(lease, json.dumps({**holder, "until": time.time() - 1}).encode())
    with locked(folder):
        assert not files.exists(lease)


def test_of_many_that_start_at_once_never_two_hold_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_flock(monkeypatch, errno.ENOSYS)
    inside, most, got = [], [], []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        try:
            with locked(str(tmp_path)):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.05)
                inside.pop()
                got.append(1)
        except FolderBusyError:
            pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got and set(most) == {1}


def test_a_lease_is_renewed_and_a_lost_one_ends_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_flock(monkeypatch, errno.ENOSYS)
    monkeypatch.setattr(locks, "_RENEW_SECONDS", 0.05)
    with pytest.raises(FolderBusyError, match="could not renew"), locked(str(tmp_path)):
        (first,) = (tmp_path / locks.LEASES).glob("*.0.json")
        until = json.loads(first.read_text())["until"]
        while not (later := [*(tmp_path / locks.LEASES).glob("alone-*.[1-9].json")]):
            time.sleep(0.01)
        assert json.loads(later[0].read_text())["until"] > until
        for _ in range(50):  # one that is just being renewed has another name by then
            for lease in (tmp_path / locks.LEASES).glob("*.json"):
                lease.unlink(missing_ok=True)
            time.sleep(0.1)
        pytest.fail("the holder went on without its lease")


LOSE = """
import signal, sys, threading, time
from septet.preprocess import locks

def wait(kind):
    with locks.locked(sys.argv[1]):
        print("held", flush=True)
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                if kind != "goes on":
                    raise

if sys.argv[2] != "background":  # tests in the background of a shell were told to ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
locks.fcntl = None
locks._RENEW_SECONDS, locks._GRACE_SECONDS = 0.05, float(sys.argv[3])
if sys.argv[2] == "notes":
    signal.signal(signal.SIGINT, lambda number, frame: None)
if sys.argv[2] == "thread":
    threading.Thread(target=wait, args=("thread",)).start()
else:
    assert (signal.getsignal(signal.SIGINT) == signal.SIG_IGN) == (sys.argv[2] == "background")
    wait(sys.argv[2])
"""


@pytest.mark.parametrize(
    ("kind", "grace", "told"),
    [
        ("background", 60, "FolderBusyError: FOLDER: this process could not renew"),
        ("notes", 60, "FolderBusyError: FOLDER: this process could not renew"),
        (
            "goes on",
            0.1,
            "FOLDER: this process could not renew .*; interrupted 0 s ago, it is ended",
        ),
        (
            "thread",
            0.1,
            "FOLDER: this process could not renew .*; interrupted 0 s ago, it is ended",
        ),
    ],
)
def test_a_lost_lease_ends_whoever_holds_it(
    tmp_path: Path, kind: str, grace: float, told: str
) -> None:
    """The background job of a script, which ignores SIGINT; one to which that means something else;
    one that goes on after an interrupt; one that holds the folder in a thread."""
    job = [sys.executable, "-c", LOSE, str(tmp_path), kind, str(grace)]
    command = ["sh", "-c", '"$@" & wait $!', "sh", *job] if kind == "background" else job
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        while holder.poll() is None:  # one that is just being renewed has another name by then
            for lease in (tmp_path / locks.LEASES).glob("*.json"):
                lease.unlink(missing_ok=True)
            time.sleep(0.05)
        _, said = holder.communicate(timeout=60)
    finally:
        holder.kill()
        holder.wait()
    assert holder.returncode == 1
    assert re.search(told.replace("FOLDER", re.escape(str(tmp_path))), said), said


def test_leases_of_blocks_in_each_other_are_lost_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the outer one is lost the inner one is given back, and says nothing."""
    no_flock(monkeypatch, errno.ENOSYS)
    monkeypatch.setattr(locks, "_RENEW_SECONDS", 0.05)
    inner, outer = (tmp_path / name for name in ("inner", "outer"))
    before = signal.getsignal(locks._INTERRUPT)
    with (
        pytest.raises(FolderBusyError, match=f"{outer}: this process could not renew"),
        locked(str(outer)),
        locked(str(inner)),
    ):
        for _ in range(600):
            for lease in (outer / locks.LEASES).glob("*.json"):
                lease.unlink(missing_ok=True)
            time.sleep(0.05)
    assert list(inner.iterdir()) == [] and signal.getsignal(locks._INTERRUPT) == before


class Watched:
    """`files` whose operations are counted; something else happens before one of them."""

    def __init__(self, at: int, other: Callable[[], None]):
        self.at, self.other, self.count = at, other, 0

    def __getattr__(self, name: str) -> Any:
        operation = getattr(files, name)
        if name not in ("list_folder", "read_bytes", "write_bytes", "take_away"):
            return operation

        def counted(*arguments: Any) -> Any:
            self.count += 1
            if self.count == self.at + 1:
                self.other()
            return operation(*arguments)

        return counted


@pytest.mark.parametrize("first", ["holder", "successor"])
@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_holder_that_renews_too_late_never_goes_on_beside_its_successor(
    kind: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every moment in which the one may come between two operations of the other."""
    monkeypatch.setattr(locks, "_pause", lambda: None)
    ends = set()
    for moment in range(30):
        name = f"{tmp_path.name}-{first}/{moment}"
        folder = f"memory://{name}" if kind == "memory" else str(tmp_path / name)
        holder = locks._Lease(folder, alone=True)
        with monkeypatch.context() as past:
            past.setattr(time, "time", lambda: 1e9)
            holder.began = 1e9
            holder.write()
        held = []
        with ExitStack() as leases, monkeypatch.context() as patch:

            def renew(holder: locks._Lease = holder, held: list[str] = held) -> None:
                if holder.renew():
                    held.append("holder")

            def succeed(
                leases: ExitStack = leases, folder: str = folder, held: list[str] = held
            ) -> None:
                try:
                    leases.enter_context(locks._leased(folder, True, "busy"))
                except FolderBusyError:
                    return
                held.append("successor")

            one, other = (renew, succeed) if first == "holder" else (succeed, renew)
            watched = Watched(moment, other)
            patch.setattr(locks, "files", watched)
            one()
            if watched.count <= moment:  # the other one did not come
                break
            assert len(held) == 1, (moment, held)
            (lease,) = files.list_folder(files.join(folder, locks.LEASES))
            assert (lease.partition(".")[0] == holder.token) == (held == ["holder"])
            ends |= {*held}
            holder.remove()
        assert files.list_folder(files.join(folder, locks.LEASES)) == []
    # On a file system one that renews before its successor took its lease away has won.
    both = kind == "memory" or first == "holder"
    assert moment >= 2 and ends == ({"holder", "successor"} if both else {"holder"})


def test_a_lease_is_not_taken_for_lost_while_others_ask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(locks, "_pause", lambda: None)
    folder = f"memory://{tmp_path.name}"
    holder = locks._Lease(folder, alone=True)
    holder.began -= 60
    holder.write()

    def ask() -> None:
        with pytest.raises(FolderBusyError), locks._leased(folder, True, "busy"):
            pass

    for moment in range(4):
        with monkeypatch.context() as patch:
            patch.setattr(locks, "files", Watched(moment, ask))
            assert holder.renew()
    asking = locks._Lease(folder, alone=True)
    asking.write()  # seen once
    monkeypatch.setattr(locks, "_pause", asking.remove)
    assert holder.renew()


@pytest.mark.parametrize("code", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EBADF"])
def test_work_that_would_only_be_done_twice_does_not_need_locks(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_flock(monkeypatch, getattr(errno, code))
    with in_turn(tmp_path / "turn"), in_turn(tmp_path / "turn"):
        pass
    no_flock(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="error"), in_turn(tmp_path / "turn"):
        pass


def test_work_in_turn_waits_for_who_came_first(tmp_path: Path) -> None:
    done: list[str] = []
    first = in_turn(tmp_path / "turn")
    first.__enter__()

    def second() -> None:
        with in_turn(tmp_path / "turn"):
            done.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.2)
    done.append("first")
    first.__exit__(None, None, None)
    thread.join(10)
    assert done == ["first", "second"]
