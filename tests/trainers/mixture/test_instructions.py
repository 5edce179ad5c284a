"""Instructions are data."""

import pytest

from septet.trainers.mixture.instructions import Instructions
from septet.trainers.task import SampleError

GIVEN = Instructions.parse("""
vqa: " {question}"
alt: "Generate the alt_text in {language} at {position}: {words}"
caption:
  en: "what does the image describe?"
  no: "hva viser bildet?"
  zh-Hans: "图片 描述 了 什么 ?"
odd: "a {{brace}} and {b}"
""")


@pytest.mark.parametrize("task,language,parts,expected", [
    ("vqa", None, {"question": "who {is} it?"}, " who {is} it?"),
    ("vqa", "de", {"question": "x", "other": "y"}, " x"),
    ("caption", "en", {}, "what does the image describe?"),
    ("caption", "EN-us", {}, "what does the image describe?"),
    ("caption", "nb", {}, "hva viser bildet?"),
    ("caption", "zh", {}, "图片 描述 了 什么 ?"),
    ("alt", "pt-BR", {"position": "2", "words": "a b"}, "Generate the alt_text in PT at 2: a b"),
    ("odd", None, {"b": "c"}, "a {brace} and c"),
])  # fmt: skip
def test_an_instruction_is_filled(task, language, parts, expected):
    assert GIVEN.fill(task, language, **parts) == expected


@pytest.mark.parametrize("task,language", [
    ("caption", "de"), ("caption", None), ("caption", "no such"), ("caption", "und"),
    ("alt", None), ("alt", "%%"),
])  # fmt: skip
def test_a_language_without_an_instruction_is_a_named_outcome(task, language):
    with pytest.raises(SampleError, match="instruction") as error:
        GIVEN.fill(task, language, position="0", words="")
    assert error.value.outcome == "no_prompt"


def test_what_there_is():
    assert GIVEN.tasks == ("vqa", "alt", "caption", "odd")
    assert GIVEN.languages("caption") == ("en", "no", "zh") and GIVEN.languages("vqa") == ()
    assert GIVEN.parts("alt") == ("position", "words") and GIVEN.parts("caption") == ()


def test_a_program_that_asks_for_what_is_not_there_is_told():
    with pytest.raises(ValueError, match="has no task 'x'; it has: vqa, alt"):
        GIVEN.fill("x")
    with pytest.raises(ValueError, match="vqa needs question; given answer") as error:
        GIVEN.fill("vqa", answer="y")
    assert not isinstance(error.value, SampleError)


@pytest.mark.parametrize("text,message", [
    ("a: [", "is no YAML"),
    ("- a", "expected texts by task, found list"),
    ("a: {}", "a needs a text, or texts by language; found {}"),
    ("a: {en: [x]}", "a needs a text"),
    ("a: {english!: x}", "'english!' is no language code"),
    ("a: {en: x, en-US: y}", "two texts in en"),
    ("a: 'x {'", "double a brace that is meant"),
    ("a: '{}'", "is no name of a part"),
    ("a: '{b.c}'", "is no name of a part"),
    ("a: '{b!r}'", "is no name of a part"),
    ("a: '{b:>3}'", "is no name of a part"),
])  # fmt: skip
def test_a_file_that_is_wrong_is_told(text, message):
    with pytest.raises(ValueError, match=message):
        Instructions.parse(text, "instructions.yaml")
