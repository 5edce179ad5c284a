"""Columns that a recipe asks for."""

from pathlib import Path

import pytest
from rich.console import Console

from septet.pipelines.annotate.from_recipe import recipe_columns
from septet.pipelines.build import resolve
from septet.pipelines.explain import explain_stages
from septet.preprocess.columns.reader import read_manifest
from septet.preprocess.shards.reader import Corpus
from septet.schemas.recipe_file import RecipeError, parse_recipe
from tests.corpora import digests, run_build, write_site
from tests.pipelines.annotate.columns_to_test import HERE

BOTH = f"""
annotate:
  - {{column: "{HERE}:Words", name: words}}
  - {{column: "{HERE}:Hashes", name: hashes}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_site(tmp_path / "in", parts=2, pages=12)


def test_a_build_makes_the_columns_of_its_recipe(recipe: Path, tmp_path: Path) -> None:
    plain = recipe.read_text()
    run_build(recipe, tmp_path / "plain")
    recipe.write_text(plain + BOTH)
    corpus = tmp_path / "corpus"
    first = run_build(recipe, corpus, workers=2)
    assert [column.name for column in first.columns] == ["words", "hashes"]
    samples = len(Corpus(str(corpus)))
    assert [column.samples for column in first.columns] == [samples] * 2
    assert not first.nothing_to_do
    page = (corpus / "stats/report.html").read_text()
    assert "words" in page and "hashes" in page
    # The shards and their manifest are those of the recipe without columns.
    of_shards = {k: v for k, v in digests(corpus).items() if not k.startswith("columns/")}
    assert of_shards == digests(tmp_path / "plain")

    before = digests(corpus)
    assert run_build(recipe, corpus).nothing_to_do
    assert digests(corpus) == before

    recipe.write_text(plain + BOTH.replace("name: words", "name: words, settings: {upper: true}"))
    second = run_build(recipe, corpus)
    assert all(stage.skipped for stage in second.stages) and not second.nothing_to_do
    assert read_manifest(str(corpus), "words").settings["upper"] is True
    changed = {name for name, digest in digests(corpus).items() if before.get(name) != digest}
    assert changed and all(name.startswith("columns/") for name in changed)
    # What is made from a column that changed is made anew.
    assert any(name.startswith("columns/hashes/") for name in changed)


def test_paths_start_at_the_recipe(recipe: Path, tmp_path: Path) -> None:
    loads = f"""
annotate:
  - {{column: "{HERE}:Words", settings: {{loads: ./loads.txt}}}}
"""
    recipe.write_text(recipe.read_text() + loads)
    run_build(recipe, tmp_path / "corpus")
    assert len((recipe.parent / "loads.txt").read_text().split()) == 1


@pytest.mark.parametrize(
    ("annotate", "message"),
    [
        ("[{column: regoins}]", "annotate.0: no kind of column 'regoins'; did you mean 'regions'?"),
        ("[{colunm: ocr}]", "annotate.0.colunm: unknown key; did you mean `column`?"),
        ("[{column: objects, settings: {leats: 1}}]", "annotate.0: column objects: no setting"),
        ("[{column: ocr}, {column: ocr}]", "column 'ocr' twice"),
        (
            f'[{{column: "{HERE}:Hashes"}}, {{column: "{HERE}:Words", name: words}}]',
            "is made from 'words': list it after",
        ),
    ],
)
def test_faults_are_told_before_anything_runs(
    recipe: Path, tmp_path: Path, annotate: str, message: str
) -> None:
    recipe.write_text(recipe.read_text() + f"annotate: {annotate}\n")
    with pytest.raises(RecipeError) as error:
        run_build(recipe, tmp_path / "corpus")
    assert message in str(error.value)
    assert not (tmp_path / "corpus").exists()


def test_explain_shows_columns(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text() + BOTH)
    parsed, folder, corpus = (
        parse_recipe(recipe.read_text()),
        str(recipe.parent),
        str(tmp_path / "c"),
    )

    def explained() -> str:
        console = Console(record=True, width=160, file=(tmp_path / "out").open("w"))
        columns = recipe_columns(parsed, folder)
        explain_stages(parsed, resolve(parsed, folder, corpus), columns, console)
        return console.export_text()

    before = explained()
    assert "7 stages, 2 columns" in before and "upper: False" in before
    run_build(recipe, Path(corpus))
    assert explained().count("complete") == 9
