"""The rule of imports names every model and every room that is none."""

import tomllib
from pathlib import Path

from septet.trainers.commands.models import MODELS

ROOT = Path(__file__).parents[2]


def test_the_rule_that_the_engine_knows_no_model_names_everything():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = told["tool"]["importlinter"]["contracts"]
    (rule,) = (one for one in contracts if one["name"].startswith("The engine knows no model"))
    models = {name.split(".")[2] for name in MODELS.values()}
    rooms = {path.stem for path in (ROOT / "trainers").glob("[a-z]*") if path.suffix in ("", ".py")}
    for names, expected in (("forbidden", models), ("source", rooms - models - {"commands"})):
        assert set(rule[f"{names}_modules"]) == {f"septet.trainers.{name}" for name in expected}
