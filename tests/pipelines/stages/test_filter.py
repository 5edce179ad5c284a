import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from septet.pipelines.build import resolve
from septet.pipelines.stages.filter import FilterTask, clean, guarded_rules
from septet.pipelines.stages.stage import Parts
from septet.preprocess.rules import own
from septet.preprocess.rules.apply import asked_rules
from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.own import RuleError, checked, make_rules, own_rules, rule_class
from septet.preprocess.rules.rule import Verdict
from septet.preprocess.rules.tally import Tally
from septet.preprocess.text.ids import sample_id
from septet.preprocess.text.language.model import language_model, model_digest
from septet.preprocess.text.language.sites import LanguageTeller
from septet.schemas import tables
from septet.schemas.filter import Filter, OwnRule
from septet.schemas.recipe_file import parse_recipe
from tests.corpora import rows, run_build

MODEL = (None, model_digest(None))
TELLER = LanguageTeller(language_model(), 0.5)
EXAMPLE = Path(__file__).parents[3] / "examples/rules"


def rows_of(*captions: str, url: str | None = None) -> pa.Table:
    rows = [
        {
            "id": sample_id(url, text), "image_url": url, "caption": text, "caption_from": "list",
            "source": "a", "extra": '{"n":1}', "annotations": '{"box":[1]}',
        }
        for text in captions
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, tables.CANDIDATES)


def filtered(table: pa.Table, settings: Filter) -> list[tuple[pa.Table, pa.Table]]:
    return list(guarded_rules(table, asked_rules(settings), TELLER, Tally()))


def test_rejects_keep_rule_and_what_the_row_carried() -> None:
    ((passed, lost),) = filtered(rows_of("a house of stone", "tiny"), Filter())
    assert passed["caption"].to_pylist() == ["a house of stone"]
    (row,) = lost.to_pylist()
    assert (row["reason"], row["value"], row["rule"]) == ("too_short", "4", "too_short@3")
    assert (row["extra"], row["annotations"]) == ('{"n":1}', '{"box":[1]}')


def test_a_rule_that_fails_on_a_row_costs_that_row() -> None:
    def fragile(captions: Captions) -> Verdict:
        if "poison of stone" in captions.text.to_pylist():
            raise ZeroDivisionError("by a caption")
        return Verdict(pa.array(np.zeros(len(captions), bool)), captions.lengths)

    first, *others = asked_rules(Filter())
    rules = [first._replace(judge=fragile), *others]
    captions = [f"a house of stone {i}" for i in range(9)]
    table = rows_of(*captions[:5], "poison of stone", *captions[5:])
    tally = Tally()
    found = list(guarded_rules(table, rules, TELLER, tally))
    assert [text for passed, _ in found for text in passed["caption"].to_pylist()] == captions
    assert all(passed.schema.names == tables.FILTERED.names for passed, _ in found)
    (lost,) = [row for _, rejected in found for row in rejected.to_pylist()]
    assert (lost["caption"], lost["reason"]) == ("poison of stone", "rule_error")
    assert lost["value"] == "ZeroDivisionError: by a caption"
    assert tally.values["min_chars"].sum() == len(captions)  # each once, however often it was tried


CROP = {"crop": ["stock photo", "click to enlarge"]}


@pytest.mark.parametrize(
    ("caption", "settings", "expected"),
    [
        ("Stock Photo: a red cat", CROP, "a red cat"),
        ("a red cat - stock photo", CROP, "a red cat"),
        ("(Click to enlarge) stock photo | a cat, stock photo.", CROP, "a cat"),
        ("a stock photo of a cat", CROP, None),
        ("stock photographs", CROP, None),
        ("stock photo", CROP, ""),
        ("<b>a cat</b><br/>on <a href='x'>a mat</a>", {"strip_markup": True}, "a cat on a mat"),
        ("a < b > c, x<y", {"strip_markup": True}, None),
        ("wow!!! so… what???", {"fold_punctuation": True}, "wow! so… what?"),
        ("哇！！！", {"fold_punctuation": True}, "哇！"),
        ("C\\\\d aa", {"fold_punctuation": True}, "C\\d aa"),
        ("一只猫 кот cat 1.", {"keep_scripts": ["Han", "Latin"]}, "一只猫 cat 1."),
        ("кот", {"keep_scripts": ["Latin"]}, ""),
        ("Figure 3.2. A red cat", {"strip_figure_numbers": True}, "A red cat"),
        ("<i>Fig. 2:</i> A cat", {"strip_figure_numbers": True, "strip_markup": True}, "A cat"),
        ("图 3-2 红色的猫", {"strip_figure_numbers": True}, "红色的猫"),
        ("Abb. 4: Eine Katze", {"strip_figure_numbers": True}, "Eine Katze"),
        ("2001: A Space Odyssey", {"strip_figure_numbers": True}, None),
        ("Figure 3.2. A red cat", {}, None),
    ],
)
def test_what_is_cut_out_of_captions(caption: str, settings: dict, expected: str | None) -> None:
    table = rows_of("a plain cat", caption, url="https://e.org/1")
    kept, lost, changed = clean(table, Filter(**settings))
    assert kept["caption"][0].as_py() == "a plain cat"
    assert changed == (expected is not None)
    if expected is None:
        assert kept.equals(table)
    elif expected:
        row = kept.to_pylist()[1]
        assert row["caption"] == expected
        assert json.loads(row["extra"]) == {"n": 1, "caption_before": caption}
        assert row["id"] == sample_id("https://e.org/1", expected, '{"box":[1]}')
    else:
        (row,) = lost.to_pylist()
        assert (row["reason"], row["value"], row["caption"]) == ("boilerplate", caption, caption)
        assert len(kept) == 1


def install_example(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pip install --target FOLDER examples/rules` would put there."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    name = f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    (folder / name).mkdir(parents=True)
    (folder / name / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (folder / name / "entry_points.txt").write_text(points)
    (folder / "many_emoji.py").write_bytes((EXAMPLE / "many_emoji.py").read_bytes())
    monkeypatch.syspath_prepend(str(folder))
    rule_class.cache_clear()


def test_a_rule_of_your_own_in_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "many-emoji" not in own_rules()
    install_example(tmp_path / "site", monkeypatch)
    recipe = tmp_path / "recipe.yaml"
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"caption": text}) + "\n" for text in
                ("a cat 🐈 🐈 at home", "a dog 🐕 at home", "a ☀ day 🌞 at sea"))
    )  # fmt: skip
    docs = re.search(r"\nfilter:\n.*\n.*most: 1\}\}\n", (EXAMPLE / "many_emoji.py").read_text())
    assert docs
    recipe.write_text(
        "name: own\nsources:\n  - {kind: list, paths: [texts.jsonl], url_col: null, caption_col: caption}\n"
        + docs[0]
    )
    run_build(recipe, tmp_path / "corpus")
    assert [row["caption"] for row in rows(tmp_path / "corpus", "shards")] == ["a dog 🐕 at home"]
    lost = {
        (row["reason"], row["rule"], row["value"]) for row in rows(tmp_path / "corpus", "rejects")
    }
    assert lost == {("own_rule", "many-emoji@1", "2")}


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        ("many-emojis", {}, "no rule 'many-emojis'; did you mean 'many-emoji'?"),
        ("many-emoji", {"least": 1}, "many-emoji: `least`: .*its settings: most"),
        ("many-emoji", {"most": -1}, "many-emoji: `most`: Input should be greater"),
        ("json:dumps", {}, "json:dumps is no subclass"),
        ("no_such_module:X", {}, "cannot be loaded: ModuleNotFoundError: No module named 'no_"),
        ("this:", {}, "'this:' is no class; expected module:Class"),
        ("antigravity_:X:y", {}, "is no class; expected module:Class"),
        ("raises_at_import:X", {}, "'raises_at_import:X' cannot be loaded: RuntimeError: no"),
        ("septet.preprocess.rules.own:OwnRule", {}, "no subclass of .* with a method `judge`"),
    ],
)
def test_own_rules_that_cannot_be_used(
    rule: str, settings: dict, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_example(tmp_path, monkeypatch)
    (tmp_path / "raises_at_import.py").write_text("raise RuntimeError('no')")
    with pytest.raises(RuleError, match=message):
        make_rules([OwnRule(rule=rule, settings=settings)])


class GivesVerdicts(own.OwnRule):
    """A rule that gives a verdict of one of these kinds."""

    kind: str

    def judge(self, captions: Captions) -> Verdict:
        count = len(captions)
        failed, value = pa.array([True] * count, pa.bool_()), pa.repeat("x", count)
        if self.kind == "raises":
            raise KeyError("boom")
        kinds = {
            "short": Verdict(pa.array([False]), pa.array(["x"])),
            "none": None,
            "nulls": Verdict(pa.nulls(count, pa.bool_()), value),
            "lists": Verdict([True] * count, ["x"] * count),
            "texts": Verdict(value, value),
            "structs": Verdict(failed, pa.nulls(count, pa.struct([("a", pa.int64())]))),
            "right": Verdict(failed, pa.repeat(0.5, count)),
        }
        return kinds[self.kind]  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["short", "none", "nulls", "lists", "texts", "structs", "raises"])
def test_what_is_no_verdict_is_told_and_drops_no_row_for_the_rule(kind: str) -> None:
    table = pa.Table.from_pylist([{"id": "a", "caption": "a cat"}, {"id": "b", "caption": "a dog"}])
    captions = Captions(table)
    right = checked("gives@1", GivesVerdicts(kind="right"))(captions)
    assert right.failed.to_pylist() == [True, True] and right.value.to_pylist() == [0.5, 0.5]
    with pytest.raises(KeyError if kind == "raises" else RuleError, match=r"gives@1 does not|boom"):
        checked("gives@1", GivesVerdicts(kind=kind))(captions)


def test_lists_are_found_beside_the_recipe_and_their_content_counts(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"caption": "a cat at home"}\n')
    text = (
        "name: x\nsources:\n  - {kind: list, paths: [texts.jsonl], url_col: null, caption_col: caption}\n"
        "filter: {stop_list: words.txt}\n"
    )
    recipe = parse_recipe(text, "x.yaml")

    def identity() -> str:
        return resolve(recipe, str(tmp_path), str(tmp_path / "corpus"))[1].identity

    with pytest.raises(ValueError, match=r"filter.stop_list: the list .*words.txt cannot be read"):
        identity()
    (tmp_path / "words.txt").write_text("dog\n")
    before = identity()
    assert identity() == before
    (tmp_path / "words.txt").write_text("dog\ncat\n")
    assert identity() != before


def test_a_list_that_cannot_be_read_is_found_before_any_row(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), "x")
    good = {"stop_list": ["x y"], "frequent": ["a"], "crop": ["x"], "templates": ["y"],
            "deny_domains": ["e.org"], "languages": ["en"], "parts_of_speech": ["noun"],
            "max_char_repetition": 0.1, "max_word_repetition": 0.1, "max_punctuation_run": 1,
            "min_letters": 0.5, "first_capital": True, "max_capitalised": 0.5}  # fmt: skip
    FilterTask(parts, parts, parts, Filter(**good), MODEL, None).setup()
    (tmp_path / "list.txt").write_bytes(b"caf\xe9")
    for name in ("stop_list", "frequent", "crop", "templates", "deny_domains", "allow_domains"):
        settings = Filter(**{name: str(tmp_path / "list.txt")})
        with pytest.raises(ValueError, match=rf"^{name}: .*list\.txt: not UTF-8"):
            FilterTask(parts, parts, parts, settings, MODEL, None).setup()


def test_a_list_that_holds_nothing_is_refused_before_any_row(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), "x")
    (tmp_path / "list.txt").write_text("# nothing yet\n\n  \n")
    for name in ("stop_list", "frequent", "crop", "templates", "deny_domains", "allow_domains"):
        for given, message in (
            (str(tmp_path / "list.txt"), "list.txt has no entries"),
            (["", ""], "is no domain" if "domain" in name else "no entry holds a"),
        ):
            with pytest.raises(ValueError, match=rf"^{name}: .*{message}"):
                FilterTask(parts, parts, parts, Filter(**{name: given}), MODEL, None).setup()
    with pytest.raises(ValueError, match="stop_list: no entry holds a word"):
        FilterTask(parts, parts, parts, Filter(stop_list=["!!", "…"]), MODEL, None).setup()
    with pytest.raises(ValueError, match="name the `scripts`"):
        Filter(min_script=0.5)
