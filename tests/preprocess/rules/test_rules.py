"""Each rule at its bounds, in several scripts, with values counted by hand."""

import itertools
from collections import Counter
from math import isqrt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.lists import made_of, phrases, read_list
from septet.preprocess.rules.table import RULES
from septet.preprocess.rules.tokens import Tokens
from septet.preprocess.text.characters import (
    CAPITAL,
    DENSE,
    DIGIT,
    LATIN,
    LETTER,
    SMALL,
    SPACE,
    UNSPACED_LETTER,
    Characters,
)
from septet.schemas import tables
from septet.schemas.filter import Filter
from septet.schemas.reasons import REASONS


def captions_of(*texts: str, **row: str | None) -> Captions:
    rows = [{"id": "0" * 32, "caption": text, "source": "s"} | row for text in texts]
    return Captions(pa.Table.from_pylist(rows, tables.CANDIDATES))


def judged(reason: str, text: str, row: dict, **settings: object) -> str | None:
    """The value that fails, None where the caption passes. A neighbour of another script stands on
    either side: no rule may read across."""
    rule, given = RULES[reason], Filter(**settings)
    assert rule.runs(given)
    verdict = rule.apply(captions_of("Aa 1!! 猫", text, "", **row), given)
    assert verdict.failed.null_count == 0 and len(verdict.value) == 3
    value = verdict.value[1].as_py()
    shown = str(round(value, 3) if isinstance(value, float) else value)
    return shown if verdict.failed[1].as_py() else None


CASES = [
    # reason, caption, settings, value or None, other columns of the row
    ("too_short", "logo", {}, "4"),
    ("too_short", "a cat", {}, None),
    ("too_short", "개구리", {}, None),  # "frog": three syllables of Hangul
    ("too_short", "猫", {}, "1"),
    ("too_short", "青蛙", {}, None),
    ("too_short", "گل", {}, None),  # "flower"
    ("too_short", "و", {}, "1"),
    ("too_short", "ውሻ", {}, None),  # "dog": two syllables
    ("too_short", "ضفدع", {}, None),  # "frog", four letters: vowels are not written
    ("too_short", "béka", {}, "4"),
    ("too_short", "béka", {}, None, {"page_language": "hu"}),
    ("too_short", "béka", {}, "4", {"page_language": "en"}),
    ("too_short", "кот", {}, None),
    ("too_short", "кот", {"min_chars_compact": 4}, "3"),
    ("too_short", "12 34", {}, None),
    ("too_few_words", "Thumbnail", {}, "1"),
    ("too_few_words", "Hyppyrimäki", {}, "1"),
    ("too_few_words", "Hyppyrimäki", {}, None, {"page_language": "fi"}),
    ("too_few_words", "Kirchturm", {}, None, {"page_language": "de-AT"}),
    ("too_few_words", "Portokalle", {}, None, {"page_language": "sq"}),
    ("too_few_words", "Un'iguana.", {}, None),
    ("too_few_words", "L’arbre", {}, None),
    ("too_few_words", "L'arbre", {"min_words": 3}, "2"),
    ("too_few_words", "O'Hara", {}, "1"),
    ("too_few_words", "Лягушка", {}, None),
    ("too_few_words", "قورباغه", {}, None),
    ("too_few_words", "青蛙", {}, None),
    ("too_few_words", "青蛙", {"min_words_compact": 2}, "1"),
    ("too_few_words", "!!! ???", {}, "0"),
    ("too_many_words", "a b c", {"max_words": 2}, "3"),
    ("too_many_words", "青い蛙", {"max_words": 2}, None),
    ("too_long", "猫" * 5, {"max_chars": 4}, "5"),
    ("too_long", "猫" * 5, {"max_chars": 5}, None),
    ("too_few_ideographs", "M6 青蛙 frog", {"min_ideographs": 3}, "2"),
    ("too_few_ideographs", "一只青蛙", {"min_ideographs": 4}, None),
    ("too_few_ideographs", "かえる", {"min_ideographs": 1}, "0"),
    ("few_letters", "ab 12", {"min_letters": 0.5}, "0.4"),
    ("few_letters", "ab12", {"min_letters": 0.5}, None),
    ("few_letters", "ก้", {"min_letters": 1}, None),  # a letter and a tone mark
    ("many_digits", "12ab", {"max_digits": 0.4}, "0.5"),
    ("many_digits", "1२٣a", {"max_digits": 0.7}, "0.75"),  # Latin, Devanagari, Arabic
    ("many_digits", "12ab", {"max_digits": 0.5}, None),
    ("other_script", "青蛙ab", {"scripts": ["Han"], "min_script": 0.6}, "0.5"),
    ("other_script", "青蛙ab", {"scripts": ["Han"], "min_script": 0.5}, None),
    ("other_script", "青蛙ab", {"scripts": ["Han", "Latin"], "min_script": 1}, None),
    ("other_script", "12", {"scripts": ["Han"], "min_script": 0.1}, "0.0"),
    ("punctuation_run", "wow!!! so?!?!", {"max_punctuation_run": 2}, "3"),
    ("punctuation_run", "wow!!! so?!?!", {"max_punctuation_run": 3}, None),
    ("punctuation_run", "哇！！！", {"max_punctuation_run": 2}, "3"),
    ("punctuation_run", "aaaa 1111", {"max_punctuation_run": 1}, None),
    ("repeated_words", "the cat the Cat", {"max_word_repetition": 0.4}, "0.5"),
    ("repeated_words", "the cat the Cat", {"max_word_repetition": 0.5}, None),
    ("repeated_words", "猫猫狗", {"max_word_repetition": 0.3}, "0.333"),
    ("repeated_words", "кот, КОТ", {"max_word_repetition": 0.4}, "0.5"),
    # 14 characters give 5 pieces of ten, of which "0123456789" does not repeat; 20 give 11, two
    # of them equal; the square root of 10 distinct pieces is 3, and 1 repeats: 2 of 11.
    ("repeated_chars", "0123456789abcd", {"max_char_repetition": 0.0}, None),
    ("repeated_chars", "01234567890123456789", {"max_char_repetition": 0.1}, "0.182"),
    ("repeated_chars", "01234567890123456789", {"max_char_repetition": 0.19}, None),
    ("repeated_chars", "猫" * 12, {"max_char_repetition": 0.9}, "1.0"),
    ("small_initial", "a Cat", {"first_capital": True}, "a"),
    ("small_initial", "“éclair”", {"first_capital": True}, "é"),
    ("small_initial", "Éclair", {"first_capital": True}, None),
    ("small_initial", "кот", {"first_capital": True}, "к"),
    ("small_initial", "青蛙", {"first_capital": True}, None),
    ("small_initial", "3 Cats", {"first_capital": True}, None),
    ("small_initial", "123", {"first_capital": True}, None),
    ("many_capitalised", "Big Red Cat sat", {"max_capitalised": 0.7}, "0.75"),
    ("many_capitalised", "Big Red Cat sat", {"max_capitalised": 0.75}, None),
    ("many_capitalised", "Большой Кот", {"max_capitalised": 0.9}, "1.0"),
    ("many_capitals", "FREE cats", {"max_capitals": 0.4}, "0.5"),
    ("many_capitals", "ФОТО 12 青蛙", {"max_capitals": 0.9}, "1.0"),
    ("many_capitals", "青蛙", {"max_capitals": 0}, None),
    ("filename", "IMG_2041.JPG", {}, "IMG_2041.JPG"),
    ("filename", "青蛙.png", {}, "青蛙.png"),
    ("filename", "a frog.png", {}, None),
    ("url_caption", "https://e.org/a?b", {}, "https://e.org/a?b"),
    ("url_caption", "WWW.Example.org", {}, "WWW.Example.org"),
    ("url_caption", "example.org/frogs", {}, "example.org/frogs"),
    ("url_caption", "see https://e.org/a", {}, None),
    ("url_caption", "and/or", {}, None),
    ("template", "Profile photo of Ann", {"templates": ["profile photo"]}, "Profile photo of Ann"),
    ("template", "Ann – PROFILE PHOTO.", {"templates": ["profile photo"]}, "Ann – PROFILE PHOTO."),
    ("template", "profile photograph", {"templates": ["profile photo"]}, None),
    ("template", "her profile photo shows", {"templates": ["profile photo"]}, None),
    ("template", "头像：安", {"templates": ["头像"]}, "头像：安"),
    ("template", "a (b) c", {"templates": ["a (b)"]}, "a (b) c"),
    ("contact", "write to ann.b@mail.example.org now", {"drop_contacts": True},
     "ann.b@mail.example.org"),
    ("contact", "Call +44 20 7946 0958", {"drop_contacts": True}, "Call +44 20 7946 0958"),
    ("contact", "(020) 7946 0958", {"drop_contacts": True}, "(020) 7946 0958"),
    ("contact", "555-123-4567 today", {"drop_contacts": True}, "555-123-4567"),
    ("contact", "电话：010 6552 9988", {"drop_contacts": True}, "电话：010 6552 9988"),
    ("contact", "Tel. 030 1234567", {"drop_contacts": True}, "Tel. 030 1234567"),
    ("contact", "Boeing 737-800 in 1998 and 2001, 1024 x 768", {"drop_contacts": True}, None),
    ("contact", "photo @home 1234567890", {"drop_contacts": True}, None),
    ("stop_list", "A Damn shame", {"stop_list": ["damn"]}, "Damn"),
    ("stop_list", "amsterdamn", {"stop_list": ["damn"]}, None),
    ("stop_list", "a Stock, photo!", {"stop_list": ["stock photo"]}, "Stock, photo"),
    ("stop_list", "stock of a photo", {"stop_list": ["stock photo"]}, None),
    ("stop_list", "一只脏话猫", {"stop_list": ["脏话"]}, "脏话"),
    ("stop_list", "脏的话", {"stop_list": ["脏话"]}, None),
    ("stop_list", "don’t look", {"stop_list": ["don't"]}, "don’t"),
    ("stop_list", "ДУРАК идёт", {"stop_list": ["дурак"]}, "ДУРАК"),
    ("rare_word", "A red cat", {"frequent": ["a", "red", "cat"]}, None),
    ("rare_word", "A red zyzzyva", {"frequent": ["a", "red", "cat"]}, "zyzzyva"),
    ("rare_word", "a cat", {"frequent": ["a", "red", "cat", "a red", "red cat"]}, "a cat"),
    ("rare_word", "a red cat", {"frequent": ["a", "red", "cat", "a red", "red cat"]}, None),
    ("domain", "x", {"deny_domains": ["bad.org"]}, "good.org bad.org",
     {"page_url": "https://a.good.org/", "image_url": "http://cdn.BAD.org:80/1.jpg"}),
    ("domain", "x", {"deny_domains": ["Bad.ORG", "*.Müller.de."]},
     "xn--mller-kva.de", {"page_url": "https://a.xn--mller-kva.de/x"}),
    ("domain", "x", {"deny_domains": ["bad.org"]}, None, {"image_url": "https://notbad.org/"}),
    ("domain", "x", {"allow_domains": ["b.co.uk"]}, None, {"page_url": "https://a.b.co.uk/x"}),
    ("domain", "x", {"allow_domains": ["b.co.uk"]}, "c.co.uk", {"page_url": "https://c.co.uk/x"}),
    ("domain", "x", {"allow_domains": ["b.org"]}, "", {"image_url": "img/1.jpg"}),
    ("domain", "x", {"deny_domains": ["www.b.org"]}, "b.org", {"page_url": "http://WWW.b.org./x"}),
    ("domain", "x", {"deny_domains": ["www.b.org"]}, "b.org", {"page_url": "http://a.www.b.org/"}),
    ("domain", "x", {"deny_domains": ["www.b.org"]}, None, {"page_url": "http://b.org/www.b.org"}),
    ("domain", "x", {"deny_domains": ["www.b.org"]}, None, {"image_url": "http://a.b.org/x"}),
    ("domain", "x", {"allow_domains": ["www.b.org"]}, "b.org", {"page_url": "http://b.org/"}),
    ("domain", "x", {"allow_domains": ["127.0.0.1"]}, None, {"page_url": "http://127.0.0.1:80/"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1][:16]}")
def test_rules_at_their_bounds(case: tuple) -> None:
    reason, text, settings, expected = case[:4]
    assert judged(reason, text, case[4] if len(case) > 4 else {}, **settings) == expected


def test_every_rule_but_those_of_language_has_cases_that_pass_and_fail() -> None:
    verdicts = {(case[0], case[3] is None) for case in CASES}
    quick = {reason for reason, rule in RULES.items() if not rule.slow}
    assert verdicts >= set(itertools.product(quick, (True, False)))
    assert all("filter" in REASONS[reason].stages for reason in RULES)


def test_parts_of_speech_of_english_alone() -> None:
    texts = ["A dog runs in the park", "dogs run", "The", "Ein Hund läuft"]
    rows = [{"id": "0" * 32, "caption": text, "source": "s",
             "language": "de" if text.startswith("Ein") else "en"} for text in texts]  # fmt: skip
    captions = Captions(pa.Table.from_pylist(rows, tables.FILTERED))
    settings = Filter(parts_of_speech=["noun", "determiner", "preposition"])
    verdict = RULES["part_of_speech"].apply(captions, settings)
    found = [value if failed else None for failed, value in
             zip(verdict.failed.to_pylist(), verdict.value.to_pylist(), strict=True)]  # fmt: skip
    assert found == [None, "determiner preposition", "noun preposition", None]


TEXTS = st.lists(st.text("aAéЖ猫가قก้1' ’-!\u00a0", max_size=25), max_size=5)


@given(TEXTS)
def test_characters_are_counted_text_by_text(texts: list[str]) -> None:
    found = Characters(pa.array(texts, pa.string()))
    classes = {
        LETTER: "aAéЖ猫가قก้", DIGIT: "1", CAPITAL: "AЖ", SMALL: "aé", SPACE: " \u00a0",
        DENSE: "猫가قก", LATIN: "aAé", UNSPACED_LETTER: "猫ก",
    }  # fmt: skip
    for bit, members in classes.items():
        expected = [sum(c in members for c in text) for text in texts]
        if bit in (DENSE, UNSPACED_LETTER):  # the tone mark is Thai too
            expected = [n + text.count("้") for n, text in zip(expected, texts, strict=True)]
        assert found.count(bit).tolist() == expected


def words_of(text: str) -> list[str]:
    """An oracle in plain Python of the words that `Tokens` tells."""
    inside, words, current = "aAéЖ猫가قก้1", [], ""
    for i, char in enumerate(text):
        joins = char in "'’" and 0 < i < len(text) - 1
        joins = joins and text[i - 1] in inside and text[i + 1] in inside
        if char in "猫ก้":
            words += [current, char]
            current = ""
        elif char in inside or joins:
            current += char
        else:
            words.append(current)
            current = ""
    return [word.replace("’", "'").lower() for word in [*words, current] if word]


@given(TEXTS)
def test_words_and_phrases_are_told_by_their_hashes(texts: list[str]) -> None:
    tokens = Tokens.of(Characters(pa.array(texts, pa.string())))
    expected = [(n, word) for n, text in enumerate(texts) for word in words_of(text)]
    assert tokens.texts.tolist() == [n for n, _ in expected]
    pairs = set(zip(tokens.hashes.tolist(), [word for _, word in expected], strict=True))
    assert len(pairs) == len({word for _, word in expected}) == len(set(tokens.hashes.tolist()))
    hashes, first = tokens.phrases(2)
    assert first.tolist() == [
        i for i, (a, b) in enumerate(itertools.pairwise(expected)) if a[0] == b[0]
    ]
    assert len(np.unique(hashes)) == len(
        {(a[1], b[1]) for a, b in itertools.pairwise(expected) if a[0] == b[0]}
    )


@given(st.lists(st.text("ab猫", max_size=40), max_size=4))
def test_repeated_pieces_are_those_of_a_plain_count(texts: list[str]) -> None:
    verdict = RULES["repeated_chars"].apply(
        captions_of("x", *texts), Filter(max_char_repetition=0.5)
    )
    expected = []
    for text in texts:
        pieces = Counter(text[i : i + 10] for i in range(len(text) - 9))
        repeated = sorted((n for n in pieces.values() if n > 1), reverse=True)
        top = sum(repeated[: isqrt(len(pieces))])
        expected.append(top / max(pieces.total(), 1))
    assert verdict.value.to_pylist()[1:] == pytest.approx(expected)


@given(st.lists(st.text(max_size=30), max_size=8))
def test_no_text_makes_a_quick_rule_fail(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    settings = Filter(
        min_ideographs=1, min_letters=0.5, max_digits=0.5, scripts=["Han"], min_script=0.5,
        max_word_repetition=0.5, max_char_repetition=0.5, max_punctuation_run=2,
        first_capital=True, max_capitalised=0.5, max_capitals=0.5, drop_contacts=True,
        templates=["a (b"], stop_list=["x y"], frequent=["a"], deny_domains=["e.org"],
    )  # fmt: skip
    together, alone = captions_of(*texts), [captions_of(text) for text in texts]
    for rule in RULES.values():
        if not rule.slow:
            assert rule.runs(settings)
            verdict = rule.apply(together, settings)
            assert len(verdict.failed) == len(verdict.value) == len(texts)
            each = [rule.apply(one, settings) for one in alone]
            assert verdict.failed.to_pylist() == [one.failed[0].as_py() for one in each]


def test_lists_of_files(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeff# a comment\n  stock  photo \n\n脏话\r\nstock\n", "utf-8")
    assert read_list(str(path)) == ("stock photo", "脏话", "stock")
    assert {
        k: len(v)
        for k, v in made_of("stop_list", Filter(stop_list=str(path)), phrases).by_words.items()
    } == {1: 1, 2: 2}
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_list(str(path))
