"""All rules together: each drops what it names, and no row is lost."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.rules.apply import apply_rules, asked_rules
from septet.preprocess.rules.table import RULES
from septet.preprocess.text.clean import clean_caption
from septet.preprocess.text.ids import sample_id
from septet.preprocess.text.language.model import language_model
from septet.preprocess.text.language.sites import LanguageTeller
from septet.schemas import tables
from septet.schemas.filter import Filter


def candidates(*captions: str, declared: str | None = None) -> pa.Table:
    rows = [
        {"id": sample_id(str(i), caption), "image_url": f"https://e.org/{i}", "caption": caption,
         "caption_from": "alt", "page_language": declared, "source": "s"}
        for i, caption in enumerate(captions)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, tables.CANDIDATES)


def filtered(rows: pa.Table, settings: Filter) -> tuple[pa.Table, pa.Table]:
    teller = LanguageTeller(language_model(), settings.language_score)
    return apply_rules(rows, asked_rules(settings), teller)


def test_each_rule_drops_what_it_names_and_says_the_value() -> None:
    table = candidates(
        "A dog runs on the beach", "dog", "x" * 1001 + " y", "IMG 2041", "IMG_2041.JPG",
        "Ein Hund läuft am Strand entlang", "一只红色的猫", "猫", "word " * 190 + "x", "!!!! ???? ....",
    )  # fmt: skip
    settings = Filter(max_words=150, languages=["en", "zh"], undetermined="drop")
    passed, rejected = filtered(table, settings)
    assert passed["caption"].to_pylist() == ["A dog runs on the beach", "一只红色的猫"]
    assert passed.schema.names == tables.FILTERED.names
    why = {r["caption"]: (r["reason"], r["value"]) for r in rejected.to_pylist()}
    assert why["dog"] == ("too_short", "3")
    assert why["猫"] == ("too_short", "1")
    assert why["x" * 1001 + " y"] == ("too_long", "1003")
    assert why["IMG_2041.JPG"] == ("filename", "IMG_2041.JPG")
    assert why["!!!! ???? ...."] == ("too_few_words", "0")
    assert why[("word " * 190 + "x")] == ("too_many_words", "191")
    assert why["Ein Hund läuft am Strand entlang"] == ("language", "de")
    assert len(passed) + len(rejected) == len(table)


@pytest.mark.parametrize(
    ("caption", "settings", "reason"),
    [
        ("abcde fg", {"min_chars": 8}, None),
        ("abcde fg", {"min_chars": 9}, ("too_short", "8")),
        ("一只ab", {"min_chars": 5, "min_chars_unspaced": 4}, ("too_short", "4")),  # half is not most
        ("一只猫ab", {"min_chars": 6, "min_chars_unspaced": 5}, None),
        ("一只猫ab", {"min_chars": 1, "min_chars_unspaced": 6}, ("too_short", "5")),
        ("abcde fg", {"max_chars": 8}, None),
        ("abcde fg", {"max_chars": 7}, ("too_long", "8")),
        ("abcde fg", {"min_words": 2}, None),
        ("abcde fg", {"min_words": 3}, ("too_few_words", "2")),
        ("abcde fg", {"max_words": 2}, None),
        ("abcde fg", {"max_words": 1, "min_words": 0}, ("too_many_words", "2")),
        ("holiday.JPEG", {"min_words": 1}, ("filename", "holiday.JPEG")),
        ("holiday.JPEG", {"min_words": 1, "drop_filenames": False}, None),
        ("a holiday.jpg", {}, None),
        ("This is an old town hall", {"languages": ["de"]}, ("language", "en")),
        ("This is an old town hall", {"languages": ["en"]}, None),
        ("12345 67890", {"languages": ["en"], "language_score": 1.0}, None),
        ("12345 67890", {"languages": ["en"], "language_score": 1.0, "undetermined": "drop"},
         ("language", "und")),
    ],
)  # fmt: skip
def test_rules_at_their_bounds(caption: str, settings: dict, reason: tuple | None) -> None:
    _, rejected = filtered(candidates(caption), Filter(**settings))
    assert [(row["reason"], row["value"]) for row in rejected.to_pylist()] == [reason] * bool(
        reason
    )


@given(st.lists(st.text(max_size=40), max_size=20))
def test_no_row_is_lost_and_rules_never_fail(captions: list[str]) -> None:
    table = candidates(*[clean_caption(caption) for caption in captions])
    passed, rejected = filtered(table, Filter())
    both = passed["id"].to_pylist() + rejected["id"].to_pylist()
    assert sorted(both) == sorted(table["id"].to_pylist())
    assert set(rejected["reason"].to_pylist()) <= set(RULES)
