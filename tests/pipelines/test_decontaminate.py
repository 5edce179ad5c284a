"""Evaluation images and texts are kept out of corpora."""

import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from septet.pipelines.report.statistics import corpus_statistics
from septet.pipelines.report.terminal import print_statistics
from septet.pipelines.stages.evaluation import EvaluationError
from septet.preprocess.shards.reader import Corpus
from septet.schemas.recipe_file import RecipeError, parse_recipe
from tests.corpora import digests, rows, run_build
from tests.pipelines.test_near_images import copies

IMAGES, LEAKED = 20, 6
NAMES = ("small", "mirrored")


def write(folder: Path) -> Path:
    """Copies of images and their mirror images; the first `LEAKED` images and two captions are
    those of evaluation sets."""
    (folder / "img").mkdir(parents=True)
    (folder / "eval/deep").mkdir(parents=True)
    lines = []
    for number in range(IMAGES):
        made = copies(number)
        for name in NAMES:
            (folder / f"img/{number}-{name}.jpg").write_bytes(made[name])
            said = f"The {name} view of valley number {number} from a hill"
            lines.append({"url": f"{number}-{name}.jpg", "caption": said})
        if number < LEAKED:
            (folder / f"eval/deep/{number}.jpg").write_bytes(made["full"])
    (folder / "eval/broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (folder / "eval/readme.txt").write_text("no image")
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    questions = [
        "the mirrored view of valley number 17 from a hill!",
        "a hill",
        "nothing here at all",
    ]
    (folder / "vqa.jsonl").write_text(
        "".join(json.dumps({"question": q}) + "\n" for q in questions)
    )
    (folder / "flickr.txt").write_text("THE mirrored view of valley number 3\n\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text(PLAIN)
    return recipe


PLAIN = (
    "name: clean\nsources: [{kind: list, paths: [list.jsonl], image_root: img}]\n"
    "write: {samples_per_shard: 7}\n"
)
AGAINST = (
    "decontaminate:\n  against:\n    - {name: coco, images: eval}\n"
    "    - {name: vqa, texts: vqa.jsonl, text_col: question}\n"
    "    - {name: flickr, texts: flickr.txt}\n"
)


def kept(corpus: Path) -> set[str]:
    return {Path(row["url"]).stem for row in rows(corpus, "shards")}


def lost(corpus: Path) -> dict[str, tuple[str, str]]:
    return {
        Path(row["image_url"]).stem: (row["reason"], row["value"])
        for row in rows(corpus, "rejects")
    }


def store(corpus: Path) -> list[Path]:
    return sorted((corpus / "store").rglob("*"))


def test_what_leaks_is_told_and_nothing_is_fetched_again(tmp_path: Path) -> None:
    recipe = write(tmp_path / "in")
    corpus = tmp_path / "corpus"
    run_build(recipe, corpus)
    before = store(corpus)
    assert len(kept(corpus)) == len(NAMES) * IMAGES
    recipe.write_text(PLAIN + AGAINST)
    run_build(recipe, corpus, workers=2)
    assert store(corpus) == before
    found = lost(corpus)
    # What says "small" in the place of "mirrored" may be a synonym.
    texts = {"17-mirrored", "17-small", "3-mirrored"}
    assert set(found) == {*(f"{n}-small" for n in range(LEAKED)), *texts}
    for number in range(LEAKED):
        reason, value = found[f"{number}-small"]
        where, bits = value.removesuffix(" bits").split(", ")
        assert (reason, where) == ("evaluation_image", f"coco: deep/{number}.jpg") and int(
            bits
        ) < 12
    assert found["17-mirrored"] == (
        "evaluation_text", "vqa: the mirrored view of valley number 17 from a hill!, 100 %"
    )  # fmt: skip
    assert found["3-mirrored"][1] == "flickr: THE mirrored view of valley number 3, 100 %"
    check_report(corpus)
    assert kept(corpus).isdisjoint(found) and len(kept(corpus)) + len(found) == 2 * IMAGES
    run_build(recipe, tmp_path / "anew")
    assert digests(tmp_path / "anew") == digests(corpus)

    (tmp_path / "in/flickr.txt").write_text("the small view of valley number 12 from a hill\n")
    run_build(recipe, corpus)
    assert store(corpus) == before
    assert "12-small" in lost(corpus) and "3-mirrored" in kept(corpus)


def check_report(corpus: Path) -> None:
    """What was dropped for each set is in the funnel, the statistics and the report."""
    funnel = json.loads((corpus / "stats/funnel.json").read_text())
    (curate,) = (stage for stage in funnel["stages"] if stage["stage"] == "curate")
    told = {name: n for name, n in curate["counts"].items() if name.startswith("evaluation_hits")}
    assert told == {
        f"evaluation_hits {k}": n for k, n in {"coco": 6, "flickr": 1, "vqa": 2}.items()
    }
    sets = corpus_statistics(str(corpus)).evaluation
    assert [(one.name, one.images, one.texts) for one in sets] == [
        ("coco", LEAKED, 0), ("flickr", 0, 1), ("vqa", 0, 2),
    ]  # fmt: skip
    ids = {row["id"] for row in rows(corpus, "rejects")}
    (example,) = sets[1].examples
    assert example.id in ids and example.similarity == "100 %"
    assert example.item == "THE mirrored view of valley number 3"
    assert len(sets[0].examples) == 3 and sets[0].examples[0].similarity.endswith("bits")
    page = (corpus / "stats/report.html").read_text()
    assert example.id in page and "Evaluation sets, and what was dropped for them" in page
    console = Console(file=io.StringIO(), width=150)
    print_statistics(corpus_statistics(str(corpus)), console)
    assert f"{example.id}: {example.item}, 100 %" in console.file.getvalue()  # type: ignore[attr-defined]


def test_synonyms_leak_and_templates_do_not(tmp_path: Path) -> None:
    recipe = write(tmp_path / "in")
    said = [
        "a narrow boat passes under the old stone bridge at dusk",  # for "beneath"
        *(f"find a cheap {it} in our winter sale with free delivery" for it in ("tent", "lamp")),
    ]
    lines = [
        json.dumps({"url": f"{n}-small.jpg", "caption": text}) + "\n" for n, text in enumerate(said)
    ]
    (tmp_path / "in/list.jsonl").write_text("".join(lines))
    (tmp_path / "in/flickr.txt").write_text(
        "a narrow boat passes beneath the old stone bridge at dusk\n"
        "find a cheap kettle in our winter sale with free delivery\n"
    )
    recipe.write_text(
        PLAIN.replace("7", "1") + AGAINST.replace("name: coco, images", "name: x, images")
    )
    (tmp_path / "in/eval").rename(tmp_path / "in/away")
    (tmp_path / "in/eval").mkdir()
    run_build(recipe, tmp_path / "corpus")
    assert kept(tmp_path / "corpus") == {"1-small", "2-small"}, "two fill the place of the kettle"
    assert lost(tmp_path / "corpus")["0-small"] == (
        "evaluation_text",
        "flickr: a narrow boat passes beneath the old stone bridge at dusk, 90 %",
    )


def hashes_of(corpus: Path) -> list[str]:
    return [row["phash"] for row in rows(corpus, "shards") if row["url"].endswith("small.jpg")][:4]


@pytest.mark.parametrize("kind", ["npy", "csv", "sidecar"])
def test_lists_of_hashes(tmp_path: Path, kind: str) -> None:
    recipe = write(tmp_path / "in")
    run_build(recipe, tmp_path / "first")
    hashes = hashes_of(tmp_path / "first")
    path = tmp_path / f"in/hashes.{kind}"
    if kind == "npy":
        np.save(path, np.array([int(one, 16) for one in hashes], np.uint64))
    elif kind == "csv":
        path.write_text("phash,name\n" + "".join(f"{one.upper()},x\n" for one in hashes))
    else:
        shard = Corpus(str(tmp_path / "first")).shards[0]
        path = tmp_path / "first" / shard.sidecar
        hashes = [row["phash"] for row in rows(tmp_path / "first", "shards")][: shard.samples]
    recipe.write_text(PLAIN + f"decontaminate: {{against: [{{name: x, images: '{path}'}}]}}\n")
    run_build(recipe, tmp_path / "corpus")
    found = {row["phash"] for row in rows(tmp_path / "corpus", "shards")}
    assert found.isdisjoint(hashes)
    assert {reason for reason, _ in lost(tmp_path / "corpus").values()} == {"evaluation_image"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "vqa.jsonl").unlink(), "put it there, or take the set out"),
        (lambda folder: np.save(folder / "h.npy", np.zeros(3)), r"expected uint64 \[n\]"),
        (
            lambda folder: (folder / "h.csv").write_text("phash\nxyz\n"),
            "16 hex digits, found 'xyz'",
        ),
    ],
)
def test_sets_that_cannot_be_used(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    recipe = write(tmp_path / "in")
    spoil(tmp_path / "in")
    more = [f"    - {{name: h, images: {p.name}}}\n" for p in (tmp_path / "in").glob("h.*")]
    recipe.write_text(PLAIN + AGAINST + "".join(more))
    with pytest.raises(Exception, match=message) as error:
        run_build(recipe, tmp_path / "corpus")
    assert isinstance(error.value, EvaluationError) or "EvaluationError" in str(error.value)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("[{name: a}]", "name `images` or `texts`"),
        ("[{name: a, texts: x.txt}, {name: a, images: y}]", "'a' twice"),
    ],
)
def test_sets_that_say_too_little(sets: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(PLAIN + f"decontaminate: {{against: {sets}}}\n", "recipe.yaml")


def test_a_changed_set_is_not_taken_for_up_to_date(tmp_path: Path) -> None:
    import septet
    from septet.pipelines.up_to_date import is_noted

    recipe = write(tmp_path / "in")
    recipe.write_text(PLAIN + AGAINST)
    time.sleep(2.1)  # stamps that are younger are not noted
    corpus = tmp_path / "corpus"
    septet.build(recipe, corpus)
    assert is_noted(str(corpus), recipe, recipe.read_text())
    (tmp_path / "in/flickr.txt").write_text("other words of that list now\n")
    assert not is_noted(str(corpus), recipe, recipe.read_text())
