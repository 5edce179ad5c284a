"""`septet rules` and `septet try`."""

import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from septet.pipelines.cli import main
from septet.pipelines.rules.trial import Trial, sample_slices, try_rules
from septet.pipelines.sources.base import Input
from septet.preprocess.rules.table import RULES
from septet.schemas.recipe_file import RecipeError, parse_recipe
from septet.schemas.rule_sets import RULE_SETS
from tests.corpora import random_image, rows, run_build


def told(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_all_sets_and_rules_are_listed(capsys: pytest.CaptureFixture) -> None:
    text = told(capsys, "rules")
    for name in RULE_SETS:
        assert f" {name} " in f" {text} "
    for name, rule in RULES.items():
        assert f"{name}@{rule.version}" in text


@pytest.mark.parametrize("name", sorted(RULE_SETS))
def test_a_set_tells_thresholds_sources_and_what_it_lacks(
    name: str, capsys: pytest.CaptureFixture
) -> None:
    text, chosen = told(capsys, "rules", name), RULE_SETS[name]
    for part in (chosen.text, chosen.source, *chosen.missing, *chosen.needs):
        assert " ".join(part.split()) in text
    assert ("Not compared with the source." in text) == (not chosen.verified)
    for section, values in chosen.values.items():
        assert all(f"{section}.{key} " in text for key in values)


def test_a_set_tells_values_and_the_rules_that_run(capsys: pytest.CaptureFixture) -> None:
    text = told(capsys, "rules", "align")
    assert "filter.max_words 20 256" in text and "dedup.images_per_caption 10 10" in text
    assert "Text rules that run: too_few_words@3, too_many_words@1 Rules" in text
    assert "filter.min_chars 5 5" in told(capsys, "rules", "default")


def test_a_rule_tells_its_settings_and_sets(capsys: pytest.CaptureFixture) -> None:
    text = told(capsys, "rules", "repeated_words")
    assert "CC12M (data card)" in text and "cc12m (max_word_repetition 0.2)" in text


def test_an_unknown_name_has_a_near_one(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        main(["rules", "cc13m"])
    assert end.value.code == 2
    assert "did you mean cc3m?" in capsys.readouterr().err


CAPTIONS = [
    "A dog runs on the beach", "dog", "IMG_2041.JPG", "x.png", "Logo", "thumbnails",
    "开往北京的火车", "<b>A cat</b> sits on a mat",
]  # fmt: skip


def trial_of(folder: Path, section: str, rows: int = 100, examples: int = 3) -> Trial:
    (folder / "list.jsonl").write_text(
        "".join(json.dumps({"url": f"https://e.invalid/{i}.jpg", "caption": text}) + "\n"
                for i, text in enumerate(CAPTIONS))
    )  # fmt: skip
    text = f"name: x\nsources:\n  - {{kind: list, paths: [list.jsonl]}}\nfilter: {section}\n"
    return try_rules(parse_recipe(text), str(folder), rows, examples)


def test_what_each_rule_would_drop(tmp_path: Path) -> None:
    trial = trial_of(tmp_path, "{strip_markup: true}")
    assert (trial.rows, trial.without_text, trial.kept, trial.cleaned) == (8, 0, 3, 1)
    drops = {one.name: (one.first, one.alone, sorted(one.examples)) for one in trial.rules}
    assert drops["too_short@3"] == (2, 2, [("3", "dog"), ("4", "Logo")])
    assert drops["filename@1"] == (2, 2, [("IMG_2041.JPG", "IMG_2041.JPG"), ("x.png", "x.png")])
    assert drops["too_few_words@3"] == (1, 5, [("1", "thumbnails")])
    assert drops["too_long@1"] == (0, 0, [])
    assert sum(count for _, count, _ in trial.by_language) == 8
    assert ("zh", 1, 1) in trial.by_language
    assert {path.name for path in tmp_path.iterdir()} == {"list.jsonl"}
    assert trial_of(tmp_path, "{strip_markup: true}") == trial


def test_a_trial_says_what_is_wrong_with_rules_lists_and_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "rule_that_raises.py").write_text(
        "from septet.preprocess.rules.own import OwnRule\n\n\nclass Raises(OwnRule):\n"
        "    def judge(self, captions):\n        raise KeyError('boom')\n"
    )
    with pytest.raises(
        ValueError, match=r"rule_that_raises:Raises@1 fails on a caption \(KeyError"
    ):
        trial_of(tmp_path, "{own_rules: [{rule: 'rule_that_raises:Raises'}]}")
    with pytest.raises(ValueError, match=r"filter\.stop_list: the list .*words.txt cannot be read"):
        trial_of(tmp_path, "{stop_list: words.txt}")
    with pytest.raises(ValueError, match=r"'http://e.invalid/' is no domain: write example.org"):
        trial_of(tmp_path, "{allow_domains: ['http://e.invalid/']}")
    assert trial_of(tmp_path, "{deny_domains: [E.Invalid]}").kept == 0
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    for name, message in (("latin.yaml", "not UTF-8"), (".", "no such recipe file")):
        for command in ("try", "build"):
            with pytest.raises(SystemExit):
                main([command, str(tmp_path / name)])
            assert message in capsys.readouterr().err


def test_a_sample_is_no_larger_than_asked_for(tmp_path: Path) -> None:
    trial = trial_of(tmp_path, "{rules: none}", rows=3)
    assert (trial.rows, trial.kept, trial.rules) == (3, 3, [])


def test_the_sample_does_not_depend_on_the_order_of_slices() -> None:
    slices = [Input(f"{i // 4}.jsonl", 0, "p", 1, "d", (0, 1), i % 4, 4) for i in range(400)]
    chosen = sample_slices(tuple(slices))
    assert len(chosen) == 64 and chosen == sample_slices(tuple(slices[::-1]))


def test_try_prints_drops_and_examples(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trial_of(tmp_path, "{}")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: x\nsources:\n  - {kind: list, paths: [list.jsonl]}\n")
    text = told(capsys, "try", str(recipe), "--rows", "100", "--examples", "1")
    assert "8 texts from 1 of 1 slices" in text and "rules: default" in text
    assert re.search(r"too_short@3 2 25\.0% 2", text)


LATER = [
    ("1", "A red bicycle leans against the wall of a bakery"),
    ("1", "A red bicycle leans against the wall of a bakery"),  # the same pair
    ("2", "Figure 3. A red bicycle leans against the wall of a bakery"),  # nearly the same
    ("3", "A lighthouse stands on the cliff above the sea"),
    ("4", "next page"), ("5", "next page"), ("6", "next page"),  # beside too many images
    ("7", "dog"),  # too short
]  # fmt: skip


def test_later_stages_are_tried_on_what_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [{"url": f"https://e.invalid/{i}.jpg", "caption": text} for i, text in LATER]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "r.yaml"
    text = (
        "name: x\nsources:\n  - {kind: list, paths: [list.jsonl]}\n"
        "dedup: {images_per_caption: 2}\ncurate: {near_text: everywhere}\n"
    )
    recipe.write_text(text)
    trial = try_rules(parse_recipe(text), str(tmp_path), 100, 5)
    assert trial.kept == 7
    assert [(one.stage, one.reason, one.count, one.left) for one in trial.later] == [
        ("dedup", "duplicate_pair", 1, 6),
        ("dedup", "caption_repeated", 3, 3),
        ("curate", "near_duplicate_text", 1, 2),
    ]
    assert trial.later[1].examples == [("3", "next page")]
    assert trial.later[2].examples == [(f"similarity 1.00 to: {LATER[2][1]}", LATER[0][1])]
    told_ = told(capsys, "try", str(recipe), "--examples", "1")
    assert "dedup caption repeated 3 3" in told_

    assert (
        "Not tried, or not on all: curate.max_aspect_ratio: it asks what an image is, and none is "
        "fetched" in told_
    )

    balanced = text + "balance: {entries: [bicycle, lighthouse, next], most_of_an_entry: 1}\n"
    first = try_rules(parse_recipe(balanced), str(tmp_path), 100, 5).later
    drawn = {one.reason: one.count for one in first if one.stage == "balance"}
    assert set(drawn) == {"entry_draw"} and 1 <= drawn["entry_draw"] < 7
    assert try_rules(parse_recipe(balanced), str(tmp_path), 100, 5).later == first


def test_what_earlier_corpora_have_is_tried_and_what_is_not_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    captions = ["A red kite over the beach at noon", "Two boats in an old harbour",
                "The mill beside a canal in winter"]  # fmt: skip
    lists = {"old": captions[:2], "new": [*captions, captions[2] + " again"]}
    for name, texts in lists.items():
        lines = [json.dumps({"caption": text}) + "\n" for text in texts]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
        (tmp_path / f"{name}.yaml").write_text(
            f"name: {name}\nsources: [{{kind: list, paths: [{name}.jsonl], url_col: null}}]\n"
        )
    run_build(tmp_path / "old.yaml", tmp_path / "corpus")
    recipe = tmp_path / "new.yaml"
    text = recipe.read_text() + "dedup: {against: [corpus]}\n"
    recipe.write_text(text)
    trial = try_rules(parse_recipe(text), str(tmp_path), 100, 5)
    assert [(one.stage, one.reason, one.count, one.left) for one in trial.later] == [
        ("dedup", "duplicate_pair", 2, 2),
    ]
    assert sorted(said for _, said in trial.later[0].examples) == sorted(captions[:2])
    assert all(value.endswith(" of corpus") for value, _ in trial.later[0].examples)
    asked = "curate: {near_text: same_domain, near_images: true, max_aspect_ratio: null}\n"
    recipe.write_text(text + asked + "decontaminate: {against: [{name: x, images: x}]}\n")
    told_ = told(capsys, "try", str(recipe))
    assert "dedup duplicate pair 2 2" in told_
    for part in ("curate.identical_images: it asks", "curate.near_images: it asks",
                 "decontaminate.against: evaluation", "curate.near_text: same_domain: it asks",
                 "what is near to a sample of dedup.against: only equal"):  # fmt: skip
        assert part in told_.split("Not tried, or not on all:")[1]
    assert "max_aspect_ratio" not in told_
    recipe.write_text(text.replace("[corpus]", "[nowhere]"))
    with pytest.raises(RecipeError, match=r"dedup\.against: nowhere cannot be read"):
        try_rules(parse_recipe(recipe.read_text()), str(tmp_path), 100, 5)


def test_rules_on_images_are_tried_on_those_that_the_inputs_hold(tmp_path: Path) -> None:
    whole = random_image(3, 300, 200, "PNG")
    small = io.BytesIO()
    Image.open(io.BytesIO(whole)).resize((150, 100)).save(small, "JPEG")
    images = {"whole": whole, "same": whole, "small": small.getvalue(), "torn": whole[:500],
              "wide": random_image(4, 400, 60, "PNG"), "other": random_image(5, 200, 200, "PNG")}  # fmt: skip
    for name, data in images.items():
        (tmp_path / f"{name}.img").write_bytes(data)
    lines = [
        {"url": f"{name}.img", "caption": f"The harbour as {name} men see it"} for name in images
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = (
        "name: x\nsources: [{kind: list, paths: [list.jsonl], image_root: .}]\n"
        "curate: {near_images: true, identical_images: keep_one}\n"
    )
    trial = try_rules(parse_recipe(text), str(tmp_path), 100, 5)
    assert [(one.stage, one.reason, one.count, one.left) for one in trial.later] == [
        ("fetch", "decode_error", 1, 5),
        ("curate", "aspect_ratio", 1, 4),
        ("curate", "duplicate_image", 1, 3),
        ("curate", "near_duplicate_image", 1, 2),
    ]
    assert trial.later[3].examples[0][1] == "The harbour as small men see it"
    assert trial.untried == []
    (tmp_path / "r.yaml").write_text(text)
    run_build(tmp_path / "r.yaml", tmp_path / "corpus")  # drops the same
    built = Counter(row["reason"] for row in rows(tmp_path / "corpus", "rejects"))
    assert built == {one.reason: one.count for one in trial.later}
    few = try_rules(parse_recipe(text), str(tmp_path), 100, 5, images=2)
    assert few.untried[0] == (
        "curate.max_aspect_ratio: tried on 2 of 6 images, which the inputs hold"
    )
    none = try_rules(parse_recipe(text), str(tmp_path), 100, 5, images=0)
    assert none.later == [] and "none is fetched" in none.untried[0]
