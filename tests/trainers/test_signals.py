"""Signals that ask a run to leave."""

import os
import signal

import pytest

from septet.trainers.engine.schedule import LEAVE_ON, Signals
from tests.trainers.conftest import settings, train
from tests.trainers.corpora import scenes_corpus
from tests.trainers.runs import completed


@pytest.mark.parametrize("number", LEAVE_ON)
def test_a_run_leaves_with_the_status_of_the_signal_once_it_is_saved(tmp_path, number):
    corpus = scenes_corpus(tmp_path / "corpus", 1, 40)
    preset = settings()
    task = preset.task()
    task.after_step = lambda module: os.kill(os.getpid(), number)
    object.__setattr__(preset, "task", lambda: task)
    before = signal.getsignal(number)
    assert train(preset, corpus, tmp_path / "run") == 128 + number
    assert [p.name for p in completed(tmp_path / "run/checkpoints")] == ["step-00000001"]
    assert signal.getsignal(number) == before


def test_a_second_interrupt_leaves_at_once():
    with Signals().caught() as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
