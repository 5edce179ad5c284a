"""The progress of a crawl: a live line on a terminal, a line now and then in a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from septet.pipelines.crawl.crawl import Figures, Told

_LOG_SECONDS = 30.0


@contextmanager
def watch(console: Console) -> Iterator[Told]:
    """Show how far a crawl is while the block runs.

    Yields:
        What takes the figures.
    """
    start = time.monotonic()
    shown = start
    quiet = not console.is_terminal
    columns = (
        SpinnerColumn(),
        TextColumn("crawl"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=None)
        before = -1

        def told(figures: Figures) -> None:
            nonlocal before, shown
            done = figures.outcomes.total()
            before = done - 1 if before < 0 else before
            now = time.monotonic()
            rate = (done - before) / max(1.0, now - start)
            text = line(figures, rate)
            bar.update(task, description=text)
            if quiet and now - shown >= _LOG_SECONDS:
                shown = now
                console.print(f"crawl {text}", markup=False, soft_wrap=True)

        yield told


def line(figures: Figures, rate: float) -> str:
    """The figures in a line: what is stored, the rate, what waits, and what was lost."""
    lost = [(name, n) for name, n in figures.outcomes.most_common(5) if name != "stored"]
    text = (
        f"{figures.pages:,} pages, {figures.images:,} images, {figures.bytes / 1e6:,.1f} MB  "
        f"{rate:,.1f}/s  {figures.waiting:,} addresses of {figures.hosts:,} hosts wait"
    )
    return "  ".join([text, ", ".join(f"{name} {n:,}" for name, n in lost)]).strip()
