import os
import signal
import time
from pathlib import Path

import pytest

from septet.preprocess import locks
from septet.preprocess.locks import FolderBusyError
from tests.trainers.conftest import fit_alone, run_of, settings, train
from tests.trainers.ranks import run_ranks, start
from tests.trainers.runs import completed, figures


def train_long(corpus: Path, out: Path) -> None:
    train(settings("train.steps=100000", "train.save_every=2"), corpus, out)


def refused(corpus: Path, out: Path) -> str:
    with pytest.raises(FolderBusyError) as error:
        train(settings(), corpus, out)
    return str(error.value)


def test_a_second_run_in_a_folder_is_refused_within_a_second(scenes, tmp_path, capsys):
    first = start(train_long, scenes, tmp_path)
    deadline = time.monotonic() + 120
    while not completed(tmp_path / "checkpoints") and time.monotonic() < deadline:
        time.sleep(0.05)
    run = run_of(settings(), scenes, tmp_path)
    before = time.monotonic()
    who = rf"another run trains in .* \(process {first.pid} on .*, since 20..-.* UTC\)"
    with pytest.raises(FolderBusyError, match=who):
        fit_alone(run)
    assert time.monotonic() - before < 1
    # All ranks of a second run leave, with the same words.
    assert len({*run_ranks(2, refused, scenes, tmp_path)}) == 1
    had = [path.name for path in completed(tmp_path / "checkpoints")]
    os.kill(first.pid, signal.SIGSTOP)  # A process that hangs still holds it.
    with pytest.raises(FolderBusyError, match=who):
        fit_alone(run)
    os.kill(first.pid, signal.SIGCONT)
    while [path.name for path in completed(tmp_path / "checkpoints")] == had:
        time.sleep(0.05)  # The first one goes on.
    first.kill()
    first.join()
    done = max(figures(tmp_path))
    longer = settings(f"train.steps={done + 1}", "train.save_every=2")
    assert train(longer, scenes, tmp_path) == 0  # A lock whose process is gone is none.
    assert "resuming after step" in capsys.readouterr().out


def test_where_the_file_system_has_no_locks_a_lease_holds(scenes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    assert train(settings("train.steps=2"), scenes, tmp_path) == 0
    assert "as its file system has no locks" in capsys.readouterr().out
    assert not list(tmp_path.glob(f"{locks.LEASES}/*"))
    with (
        locks.locked(str(tmp_path)),
        pytest.raises(FolderBusyError, match=f"process {os.getpid()}"),
    ):
        train(settings("train.steps=4"), scenes, tmp_path)
    assert train(settings("train.steps=4"), scenes, tmp_path) == 0
