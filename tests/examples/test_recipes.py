import json
import re
from pathlib import Path

import pytest

from septet.preprocess.shards.reader import Corpus
from septet.preprocess.synthetic.scenes import make_scene
from septet.preprocess.synthetic.sets import write_scenes
from septet.schemas.recipe_file import parse_recipe
from tests.corpora import run_build

RECIPES = sorted((Path(__file__).parents[2] / "examples/recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text()
    assert parse_recipe(text, str(path)).name == path.stem
    assert f"septet build examples/recipes/{path.name}" in text


def test_python_in_recipes_names_what_there_is() -> None:
    found = [line for path in RECIPES for line in re.findall(r'python -c "(.*)"', path.read_text())]
    assert found
    for line in found:
        exec(line.partition(";")[0], {})  # the import alone: what follows writes files


def test_scenes_keep_their_truth_through_a_build(tmp_path: Path) -> None:
    write_scenes(str(tmp_path / "build/scenes"), seed=3, count=60)
    recipe = tmp_path / "examples/recipes/scenes.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(next(p for p in RECIPES if p.stem == "scenes").read_text())
    run_build(recipe, tmp_path / "corpus")
    corpus = Corpus(str(tmp_path / "corpus"))
    assert len(corpus) == 60
    told = [json.loads(sample["json"]) for sample in corpus]
    truths = {json.dumps(make_scene(3, index).truth(), sort_keys=True) for index in range(60)}
    assert {json.dumps(one["extra"]["extra"], sort_keys=True) for one in told} == truths
    assert all(sample["png"][:4] == b"\x89PNG" for sample in corpus)
