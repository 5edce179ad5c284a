"""What a run says, records and leaves alone, held to the smallest task."""

import json
from pathlib import Path

import pytest

from septet.preprocess.shards.reader import Corpus
from septet.trainers.engine.checkpoint import CheckpointError
from septet.trainers.engine.loop import fit
from septet.trainers.engine.run import Run, prepare
from septet.trainers.engine.world import world
from tests.trainers.lines import Line, LineSettings, line_run, listening
from tests.trainers.runs import figures
from tests.trainers.test_loader import numbers


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return numbers(tmp_path_factory.mktemp("numbers"), 20)


def done(run: Run) -> str:
    """Trains; what was said."""
    console, said = listening()
    with world() as ranks:
        assert fit(run, ranks, console) == 0
    return said.getvalue()


def test_tokens_are_told_of_all_rows(corpus, tmp_path):
    done(line_run(corpus, tmp_path))
    samples, tokens = (figures(tmp_path, f"{of}_per_second") for of in ("samples", "tokens"))
    assert samples.keys() == tokens.keys() == {1, 2}
    assert tokens == pytest.approx({step: 3 * value for step, value in samples.items()})


def test_starting_anew_says_where_the_earlier_run_is_kept(corpus, tmp_path):
    out = tmp_path / "run"
    for number in range(3):
        said = done(line_run(corpus, out, resume=False))
        told = [line for line in said.splitlines() if line.startswith("the earlier run is kept")]
        assert told == ([f"the earlier run is kept in {out}.{number}"] if number else [])
        assert figures(out).keys() == {1, 2}
    assert figures(tmp_path / "run.1") == figures(out)


def test_a_model_of_other_settings_is_refused(corpus, tmp_path):
    done(line_run(corpus, tmp_path, Line(LineSettings(slope=2.0))))
    assert json.loads((tmp_path / "run.json").read_text())["model"] == {"slope": 2.0}
    with pytest.raises(CheckpointError, match=r"model\.slope was 2\.0, now is 3\.0"):
        done(line_run(corpus, tmp_path, Line(LineSettings(slope=3.0))))
    assert "resuming after step 2" in done(line_run(corpus, tmp_path))


def test_a_model_without_settings_has_none(corpus, tmp_path):
    done(line_run(corpus, tmp_path, Line()))
    assert json.loads((tmp_path / "run.json").read_text())["model"] is None


def test_a_step_is_saved_once(corpus, tmp_path):
    """Where what asked to leave came with a step that is saved anyway, say."""

    def stored() -> dict[Path, tuple[int, int]]:
        found = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    console, _ = listening()
    with world() as ranks, prepare(line_run(corpus, tmp_path), ranks, console) as ready:
        ready.advance(False)
        ready.save()
        first = stored()
        assert {path.parent.name for path in first} == {"step-00000001"} and len(first) == 4
        ready.save()
        assert stored() == first
        ready.advance(False)
        ready.save()
        assert stored().items() > first.items() and len(stored()) == 8
