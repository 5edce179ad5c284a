import re
import time
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.text.clean import clean_caption, clean_captions
from septet.preprocess.text.ids import bucket_of, by_bucket, sample_id, split_ids
from septet.preprocess.text.language import primary_subtag
from septet.preprocess.text.words import count_words


@given(st.text() | st.text("aกแ\u200b\u00ad \u0301e\u0e48ឆ\u200dé", max_size=12))
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
        ("แมว\u200bบน\u200b\u200bหลังคา", "แมว\u200bบน\u200bหลังคา"),
        ("\u200bឆ្មា\u200b\u00adនៅ\u200b លើ\u200b", "ឆ្មា\u200bនៅ លើ"),
        ("ແມວ\u200bຢູ່", "ແມວ\u200bຢູ່"),
        ("ကြောင်\u200bပေါ်", "ကြောင်\u200bပေါ်"),
        ("แมว\u200bcat\u200bs a\u200b\u200bแ", "แมวcats aแ"),
        ("\u200b", ""),
        ("e\u200b\u0301", "é"),
        ("東\u200b京", "東京"),
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
    assert sample_id("https://example.org/a.png", None) == "92ca580f54fd9fc90000000000000000"
    assert sample_id(None, "A cat") == "beb472ab73d7cb215184984673a89cf2"
    noted = sample_id("https://example.org/a.png", "A cat", '{"box":[1]}')
    assert noted == "92ca580f54fd9fc96b978aff19f423b1"
    assert (
        sample_id("https://example.org/a.png", "A cat")[:16]
        == sample_id("https://example.org/a.png", "A dog")[:16]
    )


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.integers(1, 2**31))
def test_buckets_are_equal_ranges(hashes: list[int], buckets: int) -> None:
    got = bucket_of(np.array(hashes, np.uint64), buckets)
    assert got.tolist() == [h * buckets >> 64 for h in hashes]


def test_buckets_have_bounds() -> None:
    hashes = np.array([0, 2**64 - 1], np.uint64)
    assert bucket_of(hashes, 1).tolist() == [0, 0]
    assert bucket_of(hashes, 2**31).tolist() == [0, 2**31 - 1]
    for buckets in (0, -1, 2**31 + 1):
        with pytest.raises(ValueError, match="from 1 to"):
            bucket_of(hashes, buckets)
    rows = [(n, found.tolist()) for n, found in by_bucket(np.array([5, 2, 5, 0]))]
    assert rows == [(0, [3]), (2, [1]), (5, [0, 2])]
    assert by_bucket(np.array([], np.int64)) == []


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


@given(st.lists(st.none() | st.text("aZ0 \t\n\v\r-'_\x00\x1cé猫ก", max_size=12), max_size=6))
def test_words_are_runs_with_a_letter_or_digit(captions: list[str | None]) -> None:
    def words(caption: str) -> int:
        spaced = re.sub("[猫ก]", " ", caption)
        runs = sum(any(map(str.isalnum, run)) for run in re.split("[ \t\n\f\r]", spaced))
        return runs + (len(re.findall("[猫ก]", caption)) + 1) // 2

    found = count_words(pa.chunked_array([captions, captions[1:]], pa.string()))
    expected = [None if caption is None else words(caption) for caption in captions]
    assert found.to_pylist() == expected + expected[1:]


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


@given(st.lists(st.text(alphabet="ab é\t\n\u200b~", max_size=4), max_size=4))
def test_captions_cleaned_together_are_those_cleaned_alone(texts: list[str]) -> None:
    assert clean_captions(texts) == [clean_caption(text) for text in texts]
