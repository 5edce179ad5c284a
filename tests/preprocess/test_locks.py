"""Locks of folders: by flock, and by leases where there is none."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

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
        (lease,) = (tmp_path / locks.LEASES).iterdir()
        until = json.loads(lease.read_text())["until"]
        time.sleep(0.5)
        assert json.loads(lease.read_text())["until"] > until
        for _ in range(50):  # one that is being renewed comes back once
            lease.unlink(missing_ok=True)
            time.sleep(0.1)
        pytest.fail("the holder went on without its lease")


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
