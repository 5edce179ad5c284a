import time

import pytest

from septet.schemas.languages import require_language
from septet.schemas.recipe_file import RecipeError, parse_recipe

GOOD = "name: x\nsources:\n  - kind: warc\n    paths: [a.warc.gz]\n"


def test_defaults_are_filled_in() -> None:
    resolved = parse_recipe(GOOD).resolved()
    assert resolved["filter"]["min_words"] == 2
    assert resolved["sources"][0]["captions"] == ["alt", "figcaption"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "filter:\n  min_cahrs: 3\n", "r.yaml:6: filter.min_cahrs: unknown key; did you mean `min_chars`?"),
        (GOOD + "filter: {rules: [cc12m]}\n", "r.yaml:5: filter.rules: should be 'default'"),
        (GOOD + "filter: {language_quotas: {en: 1, en-US: 0.5}}\n", "quotas: en has two quotas; regions do not"),
        (GOOD + "dedupe: {}\n", "r.yaml:5: dedupe: unknown key; did you mean `dedup`?"),
        (GOOD + "zzz: {}\n", "r.yaml:5: zzz: unknown key; known keys: annotate, balance, curate"),
        (GOOD.replace("paths", "pathz"), "r.yaml:4: sources.0.pathz: unknown key; did you mean `paths`?"),
        (GOOD.replace("paths: [a.warc.gz]", "captions: [alt]"), "r.yaml:3: sources.0.paths: this key is needed"),
        (GOOD.replace("warc\n", "wacr\n"), "r.yaml:3: sources.0.kind: expected one of 'warc', 'wat', 'cc-index', "),
        (GOOD + "image:\n  resize_mode: keepratio\n", "did you mean `keep_ratio`?, found 'keepratio'"),
        (GOOD + "image:\n  image_size: big\n", "r.yaml:6: image.image_size: should be a valid integer"),
        (GOOD + "curate: {max_aspect_ratio: 0.5}\n", "r.yaml:5: curate.max_aspect_ratio: should be greater"),
        (GOOD + "name: y\n", "r.yaml:5: key `name` twice"),
        (GOOD.replace("name: x", "name: a/b"), "r.yaml:1: name: String should match pattern"),
        ("name: x\nsources: []\n", "r.yaml:2: sources: List should have at least 1 item"),
        (GOOD + "filter: {languages: [en, zzz]}\n", "r.yaml:5: filter.languages: expected ISO 639 codes such as en, de or zh, found 'zzz'"),
        (GOOD + "filter: {languages: [English]}\n", "found 'English'; did you mean `en`?"),
        (GOOD + "filter: {languages: []}\n", "filter.languages: List should have at least 1 item"),
        (GOOD + "filter: {languages: [true]}\n", "filter.languages.0: should be a valid string, found True"),
        (GOOD.replace("kind: warc", "kind: list, url_col: null, caption_col: null").replace("- kind", "- {kind").replace("\n    paths: [a.warc.gz]", ", paths: [a.csv]}"), "a list needs url_col, caption_col or both"),
        ("", "expected keys such as `name:`"),
        ("- a\n", "found list"),
        ("a: [", "not YAML"),
    ],
)  # fmt: skip
def test_errors_name_line_key_and_spelling(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(text, "r.yaml")
    assert message in str(error.value)


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(GOOD + "filter: {min_cahrs: 3}\nimage: {image_size: -1}\n", "r.yaml")
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[en, de]", ["en", "de"]),
        ("[EN, en-US, en_GB, eng]", ["en"]),
        ("[iw, ji, in, jw]", ["he", "yi", "id", "jv"]),
        ("[no, nb, on]", None),
        ("[no, nb, nn]", ["no", "nn"]),
        ("[zh-Hant-TW, cmn, yue]", ["zh", "yue"]),
        ("[szl, als, sh, tl, fil]", ["szl", "als", "sh", "tl"]),
        ("null", None),
    ],
)
def test_languages_are_what_they_clearly_mean(written: str, expected: list[str] | None) -> None:
    text = GOOD + f"filter: {{languages: {written}}}\n"
    if "on]" in written:
        with pytest.raises(RecipeError, match="found 'on'"):
            parse_recipe(text)
    else:
        assert parse_recipe(text).filter.languages == expected


@pytest.mark.parametrize(("tag", "hint"), [
    ("english", "; did you mean `en`?"), ("deutsch", "; did you mean `de`?"), ("xx", ""),
])  # fmt: skip
def test_what_is_no_language_is_told_with_the_nearest_code(tag: str, hint: str) -> None:
    with pytest.raises(ValueError, match="expected ISO 639 codes") as refused:
        require_language(tag)
    assert str(refused.value).endswith(f"found {tag!r}{hint}")


def test_the_models_languages_are_those_that_recipes_know() -> None:
    from septet.preprocess.text.language import known_languages
    from septet.schemas.languages import MODEL_LANGUAGES, language_code

    assert known_languages() == MODEL_LANGUAGES
    assert all(language_code(code) == code for code in MODEL_LANGUAGES)
    for nothing in ("", "zzz", "x", "english", "12", "e n", "-", "en" * 40):
        assert language_code(nothing) is None


@pytest.mark.parametrize(("word", "value"), [("no", False), ("off", False), ("yes", True), ("true", True)])  # fmt: skip
def test_words_for_true_and_false(word: str, value: bool) -> None:
    assert (
        parse_recipe(GOOD + f"filter: {{drop_filenames: {word}}}\n").filter.drop_filenames is value
    )


def test_aliases_without_end_are_refused() -> None:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    start = time.monotonic()
    with pytest.raises(RecipeError, match=r"r\.yaml: aliases .* repeat more than 100,000"):
        parse_recipe("a0: &a0 [x]\n" + levels + GOOD, "r.yaml")
    with pytest.raises(RecipeError, match="aliases"):
        parse_recipe("a: &a [*a]\n" + GOOD, "r.yaml")
    with pytest.raises(RecipeError, match="nested too deeply"):
        parse_recipe("a: " + "[" * 20_000, "r.yaml")
    assert time.monotonic() - start < 20
    shared = "sources:\n  - &one {kind: warc, paths: [a.warc.gz]}\n  - *one\nname: x\n"
    assert len(parse_recipe(shared).sources) == 2
