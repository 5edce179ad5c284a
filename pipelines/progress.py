"""The progress of a build, on a terminal or in a log: bars while a pass runs, a line for each
stage.

The local runner tells the figures of its tasks while they run. Where a runner tells nothing, the
files that appear are counted: names only, and never for more than a twentieth of the time.
"""

import threading
import time
from collections.abc import Callable, Iterator
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
from septet.preprocess.log import JsonConsole, make_console, tell

_PAUSE = 2.0
"""Seconds between two counts of files, at least."""
_WARN = 10.0
"""Seconds between two looks at what goes wrong."""


class BuildProgress:
    """Progress bars and a line for each finished stage, on a terminal or in a log."""

    def __init__(self, console: Console | None = None):
        self.console = console or make_console(stderr=True)
        self._warned: set[str] = set()

    def warn(self, text: str) -> None:
        """Print a warning."""
        tell(self.console, f"[yellow]{escape(text)}[/]", True, level="warning")

    def skip(self, stage: str, counts: Counts) -> None:
        """Print that a stage was up to date."""
        self._tell_stage(
            f"[dim]{stage:<8}[/] {_figures(counts)}  [dim]up to date[/]", stage, counts
        )

    def finish(self, stage: str, counts: Counts, seconds: float, **used: float) -> None:
        """Print the figures of a stage that is complete now; a log in JSON also has what its tasks
        used."""
        text = f"[bold]{stage:<8}[/] {_figures(counts)}  [cyan]{seconds:.1f} s[/]"
        self._tell_stage(text, stage, counts, seconds=round(seconds, 3), **used)

    def _tell_stage(self, text: str, stage: str, counts: Counts, **more: float) -> None:
        told = {"rows_in": counts.rows_in, "rows_out": counts.rows_out, **more}
        rejected = dict(counts.rejected.most_common())
        tell(self.console, text, True, stage=stage, **told, rejected=rejected)

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
        lines = _ShardLines(one, self.console) if isinstance(self.console, JsonConsole) else None
        with Progress(*columns, console=self.console, transient=True, disable=quiet) as bar:
            task = bar.add_task(
                one.label, total=len(one.outputs), completed=before, news="", within=""
            )

            def told(tasks: int, counts: Counts) -> None:
                has_told.set()
                seconds = max(0.1, time.monotonic() - start)
                if lines is not None:
                    lines.rows_per_second = round(counts.rows_in / seconds, 1)
                news = f"{counts.rows_in / seconds:,.0f} rows/s  {_reasons(counts)}"
                if hosts := counts.other[HOSTS_WAITING]:
                    news += f"  {hosts:,} hosts wait"
                if one.rows is None:
                    bar.update(task, completed=before + tasks, news=news)
                else:
                    done = rows_before + counts.rows_in
                    bar.update(task, total=one.rows, completed=done, news=news)

            def now_and_then(least: float, do: Callable[[], None]) -> None:
                """Do it in a thread, again and again, for at most a twentieth of the time."""

                def go_on() -> None:
                    pause = least
                    while not over.wait(pause):
                        begun = time.monotonic()
                        do()
                        pause = max(least, 20 * (time.monotonic() - begun))

                threading.Thread(target=go_on, daemon=True).start()

            def count_files() -> None:
                if not has_told.is_set():
                    bar.update(task, completed=len(one.outputs) - len(one.todo()))

            if (warning := one.warning) is not None:
                now_and_then(_WARN, lambda: self._warn(warning()))
            if not quiet:
                now_and_then(_PAUSE, count_files)
                if (news_within := one.news) is not None:
                    now_and_then(_PAUSE, lambda: bar.update(task, within=news_within()))
            if lines is not None:
                lines.start()
            try:
                yield told
            finally:
                over.set()
                if lines is not None:
                    lines.stop()
            if one.warning is not None:
                self._warn(one.warning())

    def _warn(self, text: str | None) -> None:
        """Print a warning, unless its first words were printed: figures in it go on changing."""
        if text is not None and (key := text.partition(":")[0]) not in self._warned:
            self._warned.add(key)
            self.warn(text)


class _ShardLines:
    """A JSON line for each shard (task) of a pass that was completed."""

    def __init__(self, one: Pass, console: JsonConsole):
        self._pass, self._console = one, console
        self._left = set(one.todo())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.rows_per_second: float | None = None
        """Of all tasks together, where the runner tells it."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Tell what is left to tell."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        stage, _, part = self._pass.label.partition(": ")
        pause, ended = _PAUSE, False
        while not ended:
            ended = self._over.wait(pause)
            begun = time.monotonic()
            left = set(self._pass.todo())
            for shard in sorted(self._left - left, key=str):
                self._left.discard(shard)
                total = len(self._pass.outputs)
                self._console.write(
                    {
                        "stage": stage,
                        "pass": part or stage,
                        "shard": shard,
                        "done": total - len(self._left),
                        "of": total,
                        "rows_per_second": self.rows_per_second,
                    },
                    f"{self._pass.label}: shard {shard} is complete",
                )
            pause = max(_PAUSE, 20 * (time.monotonic() - begun))


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
