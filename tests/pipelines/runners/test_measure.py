from pathlib import Path

import pytest

from septet.pipelines import dry_run
from septet.pipelines.cli import main

DEMO = Path(__file__).parents[3] / "examples/recipes/demo.yaml"


def test_a_dry_run_needs_no_account_and_measures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No element of the demo is larger than a table of text rows."""
    run, told = dry_run.dry_run, []
    monkeypatch.setattr(dry_run, "dry_run", lambda *given: told.append(run(*given)))
    with pytest.raises(SystemExit) as end:
        main(["build", "--runner", "dataflow", "--dry-run", str(DEMO), "--price-vcpu-hour", "0.05"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for word in ("11 jobs", "identical", "cost, 10B", "shuffled", "Dataflow needs a project"):
        assert word in " ".join(out.split()), word

    ((result, measured),) = told
    assert list(measured) == [
        "source", "filter: sites", "filter", "dedup: survey", "dedup: plan", "fetch: missing",
        "fetch", "fetch: located", "curate", "write", "report",
    ]  # fmt: skip
    largest = {name: figures.largest for name, figures in measured.items()}
    # Rows of text travel in the plan and of the store, ids and hashes in survey and curate, else
    # keys of tasks.
    of_text = {"dedup: plan", "fetch: missing", "fetch: located"}
    assert max(largest, key=lambda name: largest[name]) in of_text
    # The store's rows have thumbnails of 2.3 kB, of some hundred images.
    assert max(largest.values()) < 300_000, largest
    assert all(largest[name] < 200 for name in ("source", "filter", "fetch", "write"))
    shuffled = sum(figures.shuffled_bytes for figures in measured.values())
    pairs = result.stages[0].counts.rows_in
    assert 100 < shuffled / pairs < 1000
    assert shuffled < result.stages[3].counts.other["bytes"] / 4  # the images' own
