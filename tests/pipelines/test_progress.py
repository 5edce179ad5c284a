"""What a build tells while a pass runs, with and without a runner that tells its figures."""

import io
import time
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from septet.pipelines import progress
from septet.pipelines.progress import BuildProgress
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.stage import Pass


def watched(tmp_path: Path, tell: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[int]]:
    """What a terminal is shown, and how often the folder was listed."""
    monkeypatch.setattr(progress, "_PAUSE", 0.05)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    outputs = {number: str(tmp_path / f"{number}.parquet") for number in range(4)}
    one = Pass("filter", outputs, lambda todo: pytest.fail("not run here"))
    listed: list[int] = []

    def todo() -> list[int]:
        listed.append(1)
        return [number for number, path in outputs.items() if not Path(path).exists()]

    monkeypatch.setattr(one, "todo", todo)
    (tmp_path / "0.parquet").touch()
    with BuildProgress(console).watch(one, 3) as told:
        if tell:
            told(2, Counts(1000, 990, Counter(too_short=10)))
        for number in (1, 2):
            (tmp_path / f"{number}.parquet").touch()
        time.sleep(0.4)
    return out.getvalue(), listed


def test_figures_that_a_runner_tells_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, listed = watched(tmp_path, True, monkeypatch)
    assert "3/4" in text and "rows/s" in text and "too_short 10" in text
    assert len(listed) == 0


def test_files_are_counted_where_a_runner_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, listed = watched(tmp_path, False, monkeypatch)
    assert "3/4" in text and 1 <= len(listed) <= 8
