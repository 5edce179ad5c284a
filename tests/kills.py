"""Builds that kill themselves (SIGKILL) once in the first and once in the last moment of each pass."""

import importlib
import os
import random
import signal
import threading
import time
from pathlib import Path

from septet.pipelines.report import page
from septet.pipelines.runners.base import Job, Told
from septet.pipelines.runners.local import _PRELOAD, LocalRunner
from septet.pipelines.runners.usage import Usage
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Graph
from tests.corpora import run_build
from tests.forks import Forks

IMPORTED = [page, *map(importlib.import_module, _PRELOAD)]
"""By the process that builds are forked from, so that each costs what it does and no imports."""
page.templates().get_template("report.html.j2")  # compiled, too

FORKS = Forks("tests.kills", "septet.pipelines.annotate.annotate")
"""Forks builds and annotations that are to be killed."""

MOMENT = 0.01
"""Seconds within which the kill comes."""


class Killed(LocalRunner):
    """The local runner, ended by a kill that the log does not hold yet."""

    def __init__(self, job: Job, log: Path):
        super().__init__(job)
        self._log = log
        self._random = random.Random(len(self._known()))

    def _known(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def _kill(self, what: str) -> threading.Thread:
        with self._log.open("a") as log:
            log.write(what + "\n")

        def end(after: float = self._random.uniform(0, MOMENT)) -> None:
            time.sleep(after)
            os.kill(os.getpid(), signal.SIGKILL)

        killer = threading.Thread(target=end)
        killer.start()
        return killer

    def run(self, name: str, graph: Graph, told: Told | None = None, notes: str = "") -> Usage:
        known = self._known()
        first, last = f"{name}: first", f"{name}: last"
        count = graph.told_tasks
        killer = None if first in known else self._kill(first)

        def tell(tasks: int, counts: Counts) -> None:
            if tasks == count and killer:  # so short a pass that one moment is both
                with self._log.open("a") as log:
                    log.write(last + "\n")
            elif tasks == count and last not in known:
                self._kill(last)
            if told:
                told(tasks, counts)

        used = super().run(name, graph, tell)
        if killer:
            killer.join()
        return used


def run_killed_build(recipe: Path, corpus: Path, workers: int, log: Path) -> None:
    """Build on where the last kill left it, up to the next kill, if one is left."""
    run_build(recipe, corpus, runner=Killed(Job(workers, corpus=str(corpus)), log))


def build_through_kills(recipe: Path, corpus: Path, log: Path) -> list[int | None]:
    """Build with two workers, again and again until nothing kills it; returns the exit codes, of
    which all but the last are those of a kill. The log then holds the moments of the kills."""
    codes: list[int | None] = []
    while not codes or codes[-1] == -signal.SIGKILL:
        child = FORKS.start(run_killed_build, recipe, corpus, 2, log)
        child.join()
        codes.append(child.exitcode)
    return codes
