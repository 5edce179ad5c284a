from pathlib import Path

import pytest

from septet.pipelines.annotate.commands import read_settings
from septet.preprocess.columns.registry import ColumnError
from septet.schemas.strict_yaml import YamlError, parse_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("[no, on, off, yes, n]", ["no", "on", "off", "yes", "n"]),
        ("[true, False, null, 3, 0.5]", [True, False, None, 3, 0.5]),
        ("", None), ("# nothing", None), ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)  # fmt: skip
def test_words_stay_words(text: str, data: object) -> None:
    assert parse_yaml(text, "f.yaml")[1] == data


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, r"f\.yaml: aliases .* more than 100,000"),
        ("a: &a [*a]", "aliases"),
        ("[" * 5000, r"f\.yaml: nested too deeply"),
        ("a: 1\nb:\n- c: 1\n  c: 2", r"f\.yaml:4: key `c` twice"),
        ("a: [", r"f\.yaml: not YAML"),
        ("!!python/object/apply:os.system ['true']", r"f\.yaml: not YAML"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(YamlError, match=says):
        parse_yaml(text, "f.yaml")


def test_settings_of_columns_are_read_so(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("languages: [no, en]\nmost: 3\n")
    found = read_settings(path, ["language=no", "most=4", "exact=true"])
    assert found == {"languages": ["no", "en"], "language": "no", "most": 4, "exact": True}
    path.write_text(LAUGHS)
    with pytest.raises(ColumnError, match="aliases"):
        read_settings(path, [])
    with pytest.raises(ColumnError, match=r"--set a=\[: not YAML"):
        read_settings(None, ["a=["])
