"""Annotations of which one worker is killed, as a process of its own runs them."""

import random
import shutil
import signal
import threading
import time
from pathlib import Path

from septet.pipelines.runners import StageFailed, make_runner
from septet.pipelines.runners.local import LocalRunner
from septet.pipelines.runners.processes import may_fork
from tests.corpora import digests, run_annotation
from tests.pipelines.annotate.columns_to_test import WORDS

CHOSEN = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15)
"""Seconds between a worker's fork and its end."""


def annotate_through_kills(corpus: Path) -> None:
    """Make a column forty times, each time with a worker that is killed, and once more after it.

    The command must end: with all values, or told how the worker died. Its process exits with 1
    otherwise.
    """
    assert may_fork()  # as in the command
    run_annotation(corpus, WORDS, name="words")
    whole = digests(corpus)
    rng = random.Random(3)
    died = 0

    def hangs(*_: object) -> None:
        raise TimeoutError(f"annotate waits for a worker that was killed (kill {died})")

    signal.signal(signal.SIGALRM, hangs)
    for after in [*CHOSEN, *CHOSEN, *(rng.uniform(0, 0.15) for _ in range(20))]:
        shutil.rmtree(corpus / "columns")
        with make_runner("local", 2, [], str(corpus)) as runner:
            assert isinstance(runner, LocalRunner)
            runner.check()
            killer = threading.Thread(target=_kill_one, args=(runner, after, rng.randrange(2)))
            killer.start()
            signal.alarm(20)
            try:
                settings = {"seconds": 0.01, "batch_size": 16}
                run_annotation(corpus, WORDS, settings, name="words", runner=runner)
            except StageFailed as failure:
                assert "died" in str(failure) and "SIGKILL" in str(failure)
                died += 1
            signal.alarm(0)
            killer.join()
        run_annotation(corpus, WORDS, name="words")
        assert digests(corpus) == whole
    assert died >= 25, died


def _kill_one(runner: LocalRunner, after: float, which: int) -> None:
    """Kill one of the workers a while after it was forked."""
    started = time.monotonic()
    while runner._processes is None or len(runner._processes.workers) <= which:
        if time.monotonic() - started > 10:
            return
        time.sleep(0.0001)
    worker = runner._processes.workers[which]
    time.sleep(after)
    worker.kill()
