"""Every rule set through a real build of local images; survivors and reasons are written by hand."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from septet.pipelines.report.statistics import known_statistics
from septet.schemas.recipe_file import RecipeError, parse_recipe
from septet.schemas.rule_sets import RULE_SETS
from tests.corpora import rows, run_build

LONG = "A red bus " + "and a blue car " * 5 + "in the street"
STOCK = "A lamp stands on the table in the living room of the house"
PAIRS = {
    # name: size, format, caption; images are noise, so that they take more than 5 KB
    "dog": ((420, 410), "JPEG", "A dog runs through the green park"),
    "small": ((150, 150), "JPEG", "A cat sleeps on the warm sofa"),
    "png": ((420, 410), "PNG", "The old bridge stands over the river"),
    "wide": ((1000, 410), "JPEG", "A train runs over the long bridge"),
    "wider": ((1300, 410), "JPEG", "A tram runs over the short bridge"),
    "lower": ((420, 410), "JPEG", "two birds sit on the branch of a tree"),
    "noun": ((420, 410), "JPEG", "Birds sing in trees"),
    "german": ((420, 410), "JPEG", "Ein Hund läuft am Strand entlang"),
    "chinese": ((420, 410), "JPEG", "一只可爱的小青蛙坐在绿色的荷叶上"),
    "markup": ((420, 410), "JPEG", "<b>一只红色的小鸟</b>站在高高的树枝上！！！"),
    "short": ((420, 410), "JPEG", "Frog"),
    "mail": ((420, 410), "JPEG", "Write to ann@example.org about the photo of a boat"),
    "stock": ((420, 410), "JPEG", f"Stock photo: {STOCK}"),
    "profile": ((420, 410), "JPEG", "Profile photo of a young woman in the city"),
    "repeat": ((420, 410), "JPEG", "The dog and the dog and the dog and the dog in the house"),
    "light": ((300, 300), "flat", "A black square hangs on the white wall"),
    "file": ((420, 410), "JPEG", "IMG_2041.JPG"),
    "long": ((420, 410), "JPEG", LONG),
    **{f"view{i}": ((420, 410), "JPEG", "A view of the old town") for i in range(11)},
}  # fmt: skip
VIEWS = {f"view{i}" for i in range(11)}
ENGLISH = {"german": "language", "chinese": "language", "markup": "language"}

DROPPED: dict[str, dict[str, str]] = {
    "none": {},
    "default": {"short": "too_short", "file": "filename", "wider": "aspect_ratio",
                **dict.fromkeys(VIEWS, "caption_repeated")},
    "datacomp-basic": {**ENGLISH, "short": "too_short", "file": "too_few_words",
                       "chinese": "language", "small": "too_small", "wider": "aspect_ratio"},
    "cc3m": {**ENGLISH, "small": "too_small", "png": "other_format", "wide": "aspect_ratio",
             "wider": "aspect_ratio", "lower": "small_initial", "noun": "part_of_speech",
             "short": "part_of_speech", "profile": "template", "light": "too_small",
             "file": "language", "markup": "small_initial"},
    "cc12m": {**ENGLISH, "small": "too_small", "png": "other_format", "wider": "aspect_ratio",
              "noun": "part_of_speech", "short": "too_few_words", "profile": "template",
              "light": "too_small", "file": "too_few_words", "repeat": "repeated_words",
              "long": "repeated_words"},
    "align": {"small": "too_small", "wider": "aspect_ratio", "short": "too_few_words",
              "file": "too_few_words", "long": "too_many_words",
              **dict.fromkeys(VIEWS, "caption_repeated")},
    "laion400m": {"short": "too_short", "light": "too_few_bytes"},
    "coyo700m": {**ENGLISH, "short": "too_short", "file": "too_few_words", "small": "too_small",
                 "wider": "aspect_ratio", "light": "too_few_bytes",
                 **dict.fromkeys(VIEWS, "caption_repeated")},
    "flava-pmd": {**ENGLISH, "short": "too_few_words", "file": "too_few_words"},
    "m6-zh": {**dict.fromkeys(PAIRS, "too_few_ideographs"), "german": "too_few_ideographs"},
    "webli": {"mail": "contact"},
}  # fmt: skip
del DROPPED["m6-zh"]["chinese"], DROPPED["m6-zh"]["markup"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for seed, (name, (size, kind, _)) in enumerate(PAIRS.items()):
        noise = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
        image = Image.fromarray(noise if kind != "flat" else np.zeros_like(noise))
        out = io.BytesIO()
        image.save(out, "JPEG" if kind == "flat" else kind)
        assert (out.tell() < 5120) == (kind == "flat")
        (folder / name).write_bytes(out.getvalue())
    lines = [{"url": name, "caption": caption} for name, (_, _, caption) in PAIRS.items()]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "pairs.jsonl").write_text(text)
    return folder


def build(folder: Path, filter_section: str) -> tuple[list[dict], dict[str, str]]:
    """Build into one corpus folder: images are read once for all sets. Gives the samples, and the
    reason for which each other image was dropped."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: sets\nsources:\n  - {kind: list, paths: [pairs.jsonl], image_root: ., url_col: url}\n"
        f"image: {{resize_mode: 'no'}}\nfilter: {filter_section}\n"
    )
    run_build(recipe, folder / "corpus")
    lost = {row["image_url"]: row["reason"] for row in rows(folder / "corpus", "rejects")}
    return rows(folder / "corpus", "shards"), {url.rpartition("/")[2]: r for url, r in lost.items()}


@pytest.mark.parametrize("name", sorted(DROPPED))
def test_survivors_of_every_set(name: str, folder: Path) -> None:
    kept, dropped = build(folder, f"{{rules: {name}}}")
    assert dropped == DROPPED[name]
    assert {row["url"].rpartition("/")[2] for row in kept} == set(PAIRS) - set(DROPPED[name])


def test_every_set_is_built() -> None:
    assert {*DROPPED, "metaclip"} == set(RULE_SETS)  # which has a test of its own


def test_what_is_cropped_is_told(folder: Path) -> None:
    kept, _ = build(folder, "{rules: cc12m}")
    (stock,) = [row for row in kept if row["url"].endswith("stock")]
    assert stock["caption"] == STOCK
    assert json.loads(stock["extra"]) == {"caption_before": f"Stock photo: {STOCK}"}
    kept, _ = build(folder, "{rules: m6-zh}")
    captions = {row["caption"] for row in kept}
    assert captions == {PAIRS["chinese"][2], "一只红色的小鸟 站在高高的树枝上！"}


def test_what_the_recipe_states_takes_precedence() -> None:
    text = "name: x\nsources:\n  - {kind: list, paths: [a.jsonl]}\n"
    recipe = parse_recipe(
        text + "filter: {rules: align, max_words: null, min_words: 4}\n"
        "curate: {min_side: 100}\ndedup: {images_per_caption: null}\n"
    )
    assert (recipe.filter.min_words, recipe.filter.min_words_compact) == (4, 3)
    assert (recipe.filter.max_words, recipe.filter.drop_filenames) == (None, False)
    assert (recipe.curate.min_side, recipe.curate.max_aspect_ratio) == (100, 3.0)
    assert recipe.dedup.images_per_caption is None
    again = parse_recipe(text + f"filter: {json.dumps(recipe.resolved()['filter'])}\n")
    assert again.filter == recipe.filter


@pytest.mark.parametrize("name", sorted(RULE_SETS))
def test_a_set_is_a_recipe_and_says_where_it_comes_from(name: str) -> None:
    chosen = RULE_SETS[name]
    recipe = parse_recipe(
        f"name: x\nsources:\n  - {{kind: list, paths: [a.jsonl]}}\nfilter: {{rules: {name}}}\n"
        + "balance: {entries: [cat]}\n" * (name == "metaclip")
    )
    for section, values in chosen.values.items():
        stated = {key: getattr(getattr(recipe, section), key) for key in values}
        assert stated == values
    for needed in chosen.needs:
        section, _, key = needed.partition(".")
        assert hasattr(getattr(recipe, section), key)
    assert chosen.source and (chosen.missing or name == "none")


def test_balancing_needs_its_entries_and_does_not_depend_on_order(tmp_path: Path) -> None:
    text = "name: b\nsources:\n  - {kind: list, paths: [t*.jsonl], url_col: null}\n"
    with pytest.raises(RecipeError, match=r"metaclip needs `balance\.entries`"):
        parse_recipe(text + "filter: {rules: metaclip}\n")
    captions = [f"A photo of the old house, number {i}" for i in range(300)]
    captions += [f"A portrait of the king, number {i}" for i in range(5)]
    captions += ["This is something else that nobody listed"]
    (tmp_path / "entries.txt").write_text("house\nking\nold house\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        text + "filter: {rules: metaclip}\nbalance: {entries: entries.txt, most_of_an_entry: 30}\n"
    )
    found = []
    for parts in ([captions], [captions[200:], captions[:200]]):
        for number, part in enumerate(parts):
            lines = "".join(json.dumps({"caption": caption}) + "\n" for caption in part)
            (tmp_path / f"t{number}.jsonl").write_text(lines)
        corpus = tmp_path / f"corpus{len(parts)}"
        run_build(recipe, corpus)
        found.append(sorted(row["caption"] for row in rows(corpus, "shards")))
    assert found[0] == found[1]
    assert sum("king" in caption for caption in found[0]) == 5
    # Two entries draw with 0.1 each: 0.19 of 300 are 57, with a deviation of 6.8.
    assert 30 < sum("house" in caption for caption in found[0]) < 84
    lost = {(row["reason"], row["value"]) for row in rows(corpus, "rejects")}
    assert lost == {("entry_draw", "300"), ("no_entry", None)}
    assert [stage.stage for stage in known_statistics(str(corpus)).funnel][:3] == [
        "source", "filter", "balance",
    ]  # fmt: skip
