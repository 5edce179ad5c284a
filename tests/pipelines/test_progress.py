"""What a build tells while a pass runs, with and without a runner that tells its figures."""

import io
import time
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

import septet
from septet.pipelines import progress
from septet.pipelines.progress import BuildProgress
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.stage import Pass
from tests.corpora import random_image
from tests.http_server import HostileServer


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


def test_a_fetch_tells_its_rate_what_is_left_what_is_lost_and_the_hosts_that_wait(
    tmp_path: Path,
) -> None:
    """Of 12 images, 6 are missing, from two hosts with a pace: told while the one task runs."""
    out = io.StringIO()
    with HostileServer({f"/{n}.jpg": random_image(n) for n in range(12) if n % 4 < 2}) as server:
        hosts = [server.host, f"localhost:{server.port}"]
        lines = [f"http://{hosts[n % 2]}/{n}.jpg\tAn image of number {n}" for n in range(12)]
        (tmp_path / "list.tsv").write_text("\n".join(["url\tcaption", *lines]))
        (tmp_path / "recipe.yaml").write_text(
            "name: told\nsources: [{kind: list, paths: [list.tsv]}]\n"
            f"fetch: {{allowed_hosts: {hosts}, per_host_delay: 0.7, opt_out_files: []}}\n"
        )
        console = Console(file=out, force_terminal=True, width=200)
        septet.build(tmp_path / "recipe.yaml", tmp_path / "corpus", workers=1, console=console)
    lines = [line for line in out.getvalue().split("\x1b[2K") if "fetch" in line]
    assert any("/12" in line and "rows/s" in line and "2 hosts wait" in line for line in lines)
    assert any("http_status" in line and " wait" in line and "/12" in line for line in lines)
