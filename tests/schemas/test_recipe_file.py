import pytest

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
        (GOOD + "dedupe: {}\n", "r.yaml:5: dedupe: unknown key; did you mean `dedup`?"),
        (GOOD + "zzz: {}\n", "r.yaml:5: zzz: unknown key; known keys: annotate, curate, dedup"),
        (GOOD.replace("paths", "pathz"), "r.yaml:4: sources.0.pathz: unknown key; did you mean `paths`?"),
        (GOOD.replace("paths: [a.warc.gz]", "captions: [alt]"), "r.yaml:3: sources.0.paths: this key is needed"),
        (GOOD.replace("warc\n", "wacr\n"), "r.yaml:3: sources.0.kind: expected one of 'warc', 'list', 'folder', found 'wacr'"),
        (GOOD + "image:\n  resize_mode: keepratio\n", "did you mean `keep_ratio`?, found 'keepratio'"),
        (GOOD + "image:\n  image_size: big\n", "r.yaml:6: image.image_size: should be a valid integer"),
        (GOOD + "curate: {max_aspect_ratio: 0.5}\n", "r.yaml:5: curate.max_aspect_ratio: should be greater"),
        (GOOD + "name: y\n", "r.yaml:5: key `name` twice"),
        (GOOD.replace("name: x", "name: a/b"), "r.yaml:1: name: String should match pattern"),
        ("name: x\nsources: []\n", "r.yaml:2: sources: List should have at least 1 item"),
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
