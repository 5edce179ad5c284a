"""The progress of a build, on a terminal or in a log: bars while a pass runs, a line for each
stage.

The local runner tells the figures of its tasks while they run. Where a runner tells nothing, the
files that appear are counted: names only, and never for more than a twentieth of the time.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from septet.pipelines.runners.base import Told
from septet.pipelines.stages.counts import EVALUATION_HITS, HOSTS_WAITING, Counts
from septet.pipelines.stages.stage import Pass

_PAUSE = 2.0
"""Seconds between two counts of files, at least."""
_WARN = 10.0
"""Seconds between two looks at what goes wrong."""


class BuildProgress:
    """Progress bars and a line for each finished stage, on a terminal or in a log."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self._warned: set[str] = set()

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.console.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)

    def skip(self, stage: str, counts: Counts) -> None:
        """Print that a stage was up to date."""
        self.console.print(
            f"[dim]{stage:<8}[/] {_figures(counts)}  [dim]up to date[/]", soft_wrap=True
        )

    def finish(self, stage: str, counts: Counts, seconds: float) -> None:
        """Print the figures of a stage that is complete now."""
        self.console.print(
            f"[bold]{stage:<8}[/] {_figures(counts)}  [cyan]{seconds:.1f} s[/]", soft_wrap=True
        )

    @contextmanager
    def watch(self, one: Pass, todo: int) -> Iterator[Told]:
        """Show the progress of a pass while the block runs: tasks or rows done, the time that is
        left, rows a second, what is rejected, and hosts that have URLs without a result.

        Args:
            one: The pass.
            todo: How many of its tasks are to be run.

        Yields:
            What a runner calls with the figures of its tasks.
        """
        columns = (
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[news]}  {task.fields[within]}"),
        )  # fmt: skip
        over, has_told = threading.Event(), threading.Event()
        before = len(one.outputs) - todo
        rows_before = 0 if one.rows is None else one.poll().rows_in
        start = time.monotonic()
        quiet = not self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=quiet) as bar:
            task = bar.add_task(
                one.label, total=len(one.outputs), completed=before, news="", within=""
            )

            def told(tasks: int, counts: Counts) -> None:
                has_told.set()
                seconds = max(0.1, time.monotonic() - start)
                news = f"{counts.rows_in / seconds:,.0f} rows/s  {_reasons(counts)}"
                if hosts := counts.other[HOSTS_WAITING]:
                    news += f"  {hosts:,} hosts wait"
                if one.rows is None:
                    bar.update(task, completed=before + tasks, news=news)
                else:
                    done = rows_before + counts.rows_in
                    bar.update(task, total=one.rows, completed=done, news=news)

            def count_files() -> None:
                pause = _PAUSE
                while not over.wait(pause) and not has_told.is_set():
                    begun = time.monotonic()
                    bar.update(task, completed=len(one.outputs) - len(one.todo()))
                    pause = max(_PAUSE, 20 * (time.monotonic() - begun))

            def tell_news() -> None:
                while one.news is not None and not over.wait(_PAUSE):
                    bar.update(task, within=one.news())

            def warn() -> None:
                while one.warning is not None and not over.wait(_WARN):
                    self._warn(one.warning())

            threading.Thread(target=warn, daemon=True).start()
            if not quiet:
                threading.Thread(target=count_files, daemon=True).start()
                threading.Thread(target=tell_news, daemon=True).start()
            try:
                yield told
            finally:
                over.set()
            if one.warning is not None:
                self._warn(one.warning())

    def _warn(self, text: str | None) -> None:
        """Print a warning, unless its first words were printed: figures in it go on changing."""
        if text is not None and (key := text.partition(":")[0]) not in self._warned:
            self._warned.add(key)
            self.warn(text)


def _figures(counts: Counts) -> str:
    text = f"{counts.rows_in:>9,} in {counts.rows_out:>9,} out"
    told = [one for one in (_reasons(counts), _evaluation_sets(counts)) if one]
    return f"{text}  [yellow]{'; '.join(told)}[/]" if told else text


def _evaluation_sets(counts: Counts) -> str:
    """How much was dropped for each evaluation set, most first."""
    sets = [
        f"{name.removeprefix(EVALUATION_HITS).strip()} {count:,}"
        for name, count in counts.other.most_common()
        if name.startswith(EVALUATION_HITS)
    ]
    return f"evaluation sets: {', '.join(sets)}" if sets else ""


def _reasons(counts: Counts) -> str:
    top = counts.rejected.most_common(4)
    rest = counts.rejected.total() - sum(count for _, count in top)
    parts = [f"{reason} {count:,}" for reason, count in top]
    return ", ".join([*parts, f"other {rest:,}"] if rest else parts)
