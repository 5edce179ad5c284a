"""What a build tells the person who waits for it.

Progress is read from the files that appear, so it is the same on every runner, and right after a
resume.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.stage import Pass
from septet.preprocess import files


class BuildProgress:
    """Progress bars and a line for each finished stage, on a terminal or in a log."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)

    def skip(self, stage: str, counts: Counts) -> None:
        """A stage was whole already."""
        self.console.print(
            f"[dim]{stage:<8}[/] {_figures(counts)}  [dim]whole already[/]", soft_wrap=True
        )

    def finish(self, stage: str, counts: Counts, seconds: float) -> None:
        """A stage is whole now."""
        self.console.print(
            f"[bold]{stage:<8}[/] {_figures(counts)}  [cyan]{seconds:.1f} s[/]", soft_wrap=True
        )

    @contextmanager
    def watch(self, one: Pass) -> Iterator[None]:
        """Show a pass while its block runs: tasks done, rows a second, what is rejected."""
        columns = (
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("[dim]{task.fields[news]}"),
        )  # fmt: skip
        over = threading.Event()
        quiet = not self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=quiet) as bar:
            task = bar.add_task(one.label, total=len(one.outputs), news="")
            poll = 0.5 if all(map(files.is_local, one.outputs.values())) else 5.0

            def look() -> None:
                while not over.wait(poll):
                    total = one.poll()
                    seconds = bar.tasks[0].elapsed or 1.0
                    news = f"{total.rows_in / seconds:,.0f} rows/s  {_reasons(total)}"
                    bar.update(task, completed=len(one.counts), news=news)

            watcher = threading.Thread(target=look, daemon=True)
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()


def _figures(counts: Counts) -> str:
    text = f"{counts.rows_in:>9,} in {counts.rows_out:>9,} out"
    reasons = _reasons(counts)
    return f"{text}  [yellow]{reasons}[/]" if reasons else text


def _reasons(counts: Counts) -> str:
    top = counts.rejected.most_common(4)
    rest = counts.rejected.total() - sum(count for _, count in top)
    parts = [f"{reason} {count:,}" for reason, count in top]
    return ", ".join([*parts, f"other {rest:,}"] if rest else parts)
