"""What trainers write is JSON to every reader, whatever the numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from septet.trainers.engine.loop import fit
from septet.trainers.engine.run import Run
from septet.trainers.engine.sealed import read_state
from septet.trainers.engine.world import world
from septet.trainers.standard_json import figures_line, standard, to_json
from tests.trainers.lines import Line, LineSettings, line_run, listening
from tests.trainers.test_loader import numbers


def strict(text: str) -> object:
    """Read as RFC 8259 has it."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


ODD = [math.nan, math.inf, -math.inf, np.float64("nan"), 1.5, 0, True, None, "nan"]


def test_numbers_that_json_does_not_have_are_words_that_are_read_back():
    words = ["nan", "inf", "-inf", "nan", 1.5, 0, True, None, "nan"]
    assert standard({"a": {"b": tuple(ODD)}, 1: "é"}) == {"a": {"b": words}, 1: "é"}
    assert strict(to_json({"a": ODD}, indent=1)) == {"a": words}
    assert [float(x) for x in words[1:3]] == ODD[1:3] and math.isnan(float(words[0]))
    assert to_json("é") == '"\\u00e9"' and to_json("é", ascii_only=False) == '"é"'


def test_a_figure_that_is_not_finite_is_null_and_told():
    assert strict(figures_line(3, {"loss": 1.5, "x": math.nan, "y": -math.inf})) == {
        "step": 3, "loss": 1.5, "x": None, "y": None, "not_finite": {"x": "nan", "y": "-inf"},
    }  # fmt: skip
    assert figures_line(3, {"loss": 1.5}) == '{"step": 3, "loss": 1.5}'


class Endless(LineSettings):
    """Settings with a number that JSON does not have."""

    reach: float = math.inf


class Odd:
    """A measure of nothing."""

    name = "odd"

    def __call__(self, module, device):
        return {"of_nothing": math.nan, "beyond": math.inf, "one": 1.0}


def done(run: Run) -> str:
    console, said = listening()
    with world() as ranks:
        assert fit(run, ranks, console) == 0
    return said.getvalue()


def test_all_that_a_run_leaves_is_read_by_every_reader_and_resumes(tmp_path):
    corpus = numbers(tmp_path / "corpus", 20)
    run = line_run(corpus, tmp_path / "run", Line(Endless()), evaluators=[Odd()], record={
        "settings": {"reach": -math.inf},
    })  # fmt: skip
    done(run)
    found = [
        path for path in Path(run.out).rglob("*")
        if path.suffix in (".json", ".jsonl") or path.name == "COMPLETE"
    ]  # fmt: skip
    assert {path.name for path in found} == {
        "run.json", "metrics.jsonl", "state.json", "COMPLETE",
    }  # fmt: skip
    for path in found:
        for text in (
            path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        ):
            strict(text)
    (measured,) = (
        line for line in map(json.loads, (Path(run.out) / "metrics.jsonl").read_text().splitlines())
        if "odd/one" in line
    )  # fmt: skip
    assert measured == {
        "step": 2, "odd/of_nothing": None, "odd/beyond": None, "odd/one": 1.0,
        "not_finite": {"odd/of_nothing": "nan", "odd/beyond": "inf"},
    }  # fmt: skip
    record = json.loads((Path(run.out) / "run.json").read_text())
    assert record["settings"] == {"reach": "-inf"}
    assert Endless.model_validate(record["model"]) == Endless()
    assert "resuming after step 2" in done(run)


@pytest.mark.parametrize(
    "written", ['{"model": {"reach": Infinity}}', '{"model": {"reach": "inf"}}']
)
def test_a_checkpoint_of_an_earlier_version_says_the_same(tmp_path, written):
    (tmp_path / "state.json").write_text(written)
    assert read_state(str(tmp_path)) == standard({"model": {"reach": math.inf}})
