import time
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.text.clean import clean_caption
from septet.preprocess.text.ids import bucket_of, sample_id, split_ids
from septet.preprocess.text.language import identify, known_languages, primary_subtag
from septet.preprocess.text.rules import RULES, apply_rules
from septet.preprocess.text.words import count_words
from septet.schemas import tables
from septet.schemas.recipe import Filter


@given(st.text())
def test_clean_captions_are_storable_single_lines(text: str) -> None:
    clean = clean_caption(text)
    assert clean.encode().decode() == clean
    assert clean == " ".join(clean.split())
    assert unicodedata.is_normalized("NFC", clean)
    assert clean_caption(clean) == clean


def test_case_and_joiners_are_kept() -> None:
    assert clean_caption("The\u200b letter\n A. \ud800") == "The letter A."
    assert clean_caption("می\u200cخواهم") == "می\u200cخواهم"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("It\x92s a \x93dog\x94 \x96 5 \x80", "It’s a “dog” – 5 €"),  # windows-1252, misread
        ("a\x81b\x9d", "ab"),
        ("a\x85b\u2028c\x1cd", "a b c d"),
        ("\u061cabc", "abc"),
        ("\u3164\u115f\u1160\uffa0", ""),
        ("a\u115fb", "ab"),
        ("cat\U000e0041\U000e0001\U000e007f", "cat"),
        ("\u2800\u2800 a\u2800b", "a b"),
        ("\u200d\ufe0f \u200c", ""),
        ("\u034f\u17b4\u180e\u206a\ufffe\ufdd0x", "x"),
        ("e\u0301", "é"),
        ("👩\u200d👧 ❤\ufe0f", "👩\u200d👧 ❤\ufe0f"),
        ("نص عربي", "نص عربي"),
        ("x" + "\u0327" * 40, "x" + "\u0327" * 30),
    ],
)
def test_nothing_invisible_is_left(text: str, clean: str) -> None:
    assert clean_caption(text) == clean


def test_marks_without_number_are_cut_soon() -> None:
    text = "a" + "\u0301\u0327" * 500_000
    start = time.process_time()
    assert len(clean_caption(text)) <= 31
    assert time.process_time() - start < 3


def test_ids_are_stable() -> None:
    # Part of the corpus format: keys of corpora that exist must not change.
    assert sample_id("https://example.org/a.png", "A cat") == "92ca580f54fd9fc95184984673a89cf2"
    assert (
        sample_id("https://example.org/a.png", "A cat")[:16]
        == sample_id("https://example.org/a.png", "A dog")[:16]
    )


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.integers(1, 2**31))
def test_buckets_are_equal_ranges(hashes: list[int], buckets: int) -> None:
    got = bucket_of(np.array(hashes, np.uint64), buckets)
    assert got.tolist() == [h * buckets >> 64 for h in hashes]


def test_ids_split_into_their_hashes() -> None:
    urls, captions = split_ids(pa.chunked_array([["00000000000000ff0000000000000001"]]))
    assert (urls.tolist(), captions.tolist()) == ([255], [1])


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("a cat, sat .", 3),
        ("", 0),
        ("一只猫，红色。", 3),
        ("Tokyo 東京タワー", 4),
        ("แมวตัวหนึ่ง", 6),
        ("-- ... !!", 0),
        ("Eine Katze", 2),
    ],
)
def test_words_by_script(caption: str, words: int) -> None:
    assert count_words(pa.chunked_array([[caption]])).to_pylist() == [words]


def test_the_page_is_heard_where_the_model_is_unsure() -> None:
    assert len(known_languages()) == 176
    sure = identify("This is a photograph of the old town hall", declared="zh")
    assert (sure.code, sure.origin) == ("en", "model")
    # The model does not know Silesian and calls it German: the page's word stands.
    assert identify("Dō mje sie").code == "de"
    unknown = identify("Dō mje sie", declared="szl")
    assert (unknown.code, unknown.origin) == ("szl", "page")
    unsure = identify("Blur tool", declared="zh")
    assert (unsure.code, unsure.origin) == ("und", "undetermined")


@pytest.mark.parametrize(
    ("tag", "subtag"),
    [
        ("pt-BR", "pt"),
        ("zh_Hans", "zh"),
        ("", None),
        (None, None),
        ("english", None),
        ("x1", None),
        ("iw", "he"),
        ("zzz", None),
        ("nb-NO", "no"),
        ("deu", "de"),
    ],
)
def test_language_tags(tag: str | None, subtag: str | None) -> None:
    assert primary_subtag(tag) == subtag


def candidates(*captions: str, language: str | None = None) -> pa.Table:
    rows = [
        {"id": sample_id(str(i), caption), "image_url": f"https://e.org/{i}", "caption": caption,
         "caption_from": "alt", "page_language": language, "source": "s"}
        for i, caption in enumerate(captions)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, tables.CANDIDATES)


def test_each_rule_drops_what_it_names_and_says_the_value() -> None:
    table = candidates(
        "A dog runs on the beach", "dog", "x" * 1001 + " y", "IMG 2041", "IMG_2041.JPG",
        "Ein Hund läuft am Strand entlang", "一只红色的猫", "猫", "word " * 190 + "x", "!!!! ???? ....",
    )  # fmt: skip
    settings = Filter(max_words=150, languages=["en", "zh"], undetermined="drop")
    passed, rejected = apply_rules(table, settings)
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


@given(st.lists(st.text(max_size=40), max_size=20))
def test_no_row_is_lost_and_rules_never_fail(captions: list[str]) -> None:
    table = candidates(*[clean_caption(caption) for caption in captions])
    passed, rejected = apply_rules(table, Filter())
    both = passed["id"].to_pylist() + rejected["id"].to_pylist()
    assert sorted(both) == sorted(table["id"].to_pylist())
    assert set(rejected["reason"].to_pylist()) <= set(RULES)
