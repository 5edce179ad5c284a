import json
import re
from pathlib import Path

import pytest

from septet.pipelines.report.statistics import known_statistics
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


def test_chinese_of_either_form_is_kept_as_it_is_written_and_counted(tmp_path: Path) -> None:
    """The first round of M6 over scenes in Chinese, one told in traditional characters, one in English;
    its archives are another test's."""
    scenes = Path(
        write_scenes(str(tmp_path / "build/scenes-zh"), seed=3, count=20, languages=("zh",))
    )
    lines = [json.loads(line) for line in scenes.read_text().splitlines()]
    traditional = "一個小的紅色圓形在一個大的綠色正方形的左邊"
    lines[4]["caption"] = traditional
    lines[5] |= {"caption": "a small red circle left of a large green square", "language": "en"}
    scenes.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    given = next(p for p in RECIPES if p.stem == "m6-demo").read_text()
    recipe = tmp_path / "examples/recipes/m6-demo.yaml"
    recipe.parent.mkdir(parents=True)
    warc = given[given.index("  - kind: warc") : given.index("  - kind: list")]
    recipe.write_text(given.replace(warc, ""))
    run_build(recipe, tmp_path / "corpus")
    found = Corpus(str(tmp_path / "corpus"))
    assert len(found) == 19
    captions = [sample["txt"].decode() for sample in found]
    assert sorted(captions) == sorted(line["caption"] for line in lines if line["language"] == "zh")
    counted = known_statistics(str(tmp_path / "corpus")).categories["chinese"]
    assert {each.value: each.count for each in counted.values} == {
        "simplified": 18, "traditional": 1,
    }  # fmt: skip
