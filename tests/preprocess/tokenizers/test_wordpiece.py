import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers.implementations import BertWordPieceTokenizer

from septet.preprocess.tokenizers.wordpiece import (
    SPECIAL,
    UNUSED,
    WordPiece,
    build_vocabulary,
)

TEXTS = [
    "A small, red circle is left of the café's blue star!",
    "unaffable runners; naïve résumés, straße İstanbul ΣΊΣΥΦΟΣ",
    "中文字符 mixed with English and 日本語 한국어 русский текст",
    "tabs\tand\nlines \u00a0 non-breaking\u3000wide, control\u0007char \u200bzero $5+3=8 `x^2`",
]


@pytest.fixture(scope="module")
def pieces():
    extra = ["##able", "un", "##aff", "run", "##ner", "##s", "res", "##ume"]
    found = build_vocabulary(TEXTS, 400, "abcdefghijklmnopqrstuvwxyz0123456789")
    return found + [piece for piece in extra if piece not in found]


@pytest.fixture(scope="module")
def both(pieces, tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in pieces))
    theirs = BertWordPieceTokenizer(str(path), lowercase=True)
    return WordPiece.load(str(path)), theirs


def same(both, text):
    mine, theirs = both
    expected = theirs.encode(text, add_special_tokens=False)
    found = mine.encode(text)
    assert found.ids == expected.ids
    assert found.offsets == expected.offsets
    assert found.starts == [not piece.startswith("##") for piece in expected.tokens]


@pytest.mark.parametrize("text", [*TEXTS, "", "   ", "x" * 101, "x" * 100, "##s ", "a" * 5000])
def test_equals_the_tokenizers_library(both, text):
    same(both, text)


# The library has the categories of an older Unicode.
LASTING = [
    c
    for c in map(chr, range(1, 0x3400))
    if unicodedata.category(c) == unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Cs")
]


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(LASTING), max_size=60))
def test_equals_the_tokenizers_library_on_any_text(both, text):
    assume(not any(piece in text for piece in SPECIAL))  # text to us, pieces to the library
    same(both, text)


def test_special_pieces_in_a_text_are_text(both):
    mine, _ = both
    assert mine.mask not in mine.encode("[MASK] [PAD]").ids


def test_a_limit_cuts_and_costs_no_more(both):
    mine, _ = both
    whole = mine.encode(" ".join(TEXTS))
    for most in (0, 1, 5, 1000):
        cut = mine.encode(" ".join(TEXTS), most)
        assert cut == tuple(part[:most] for part in whole)
    assert mine.encode("a " * 10**6, 3).ids == mine.encode("a a a").ids


def test_decodes_for_reading(both):
    mine, _ = both
    assert mine.decode([mine.start, *mine.encode("unaffable runners").ids, mine.end, -1]) == (
        "unaffable runners"
    )


CHINESE = ["一个小的红色圆形，还有一个大的star。", "OpenCV 4.5版"]


def test_a_list_in_the_published_layout_has_the_published_ids(tmp_path):
    pieces = build_vocabulary(CHINESE, 200, unused=UNUSED)
    assert pieces[:2] == ["[PAD]", "[unused1]"] and pieces[99] == "[unused99]"
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    lower = [piece.lower() for piece in pieces]
    for found in (WordPiece.load(str(tmp_path / "vocab.txt")), WordPiece(lower, "muge's")):
        assert [found.pad, found.unknown, found.start, found.end, found.mask] == [
            0, 100, 101, 102, 103,
        ]  # fmt: skip
        ids = found.encode(CHINESE[0]).ids
        assert [found.pieces[i] for i in ids[:9]] == list("一个小的红色圆形，")  # one each
        assert found.decode([101, *ids, 102, 0]) == CHINESE[0]
        assert found.decode(found.encode(CHINESE[1]).ids) == "opencv 4 . 5版"


def test_vocabularies_are_small_and_the_same_every_time():
    texts = ["b b b a", "ab ba ab"]
    found = build_vocabulary(texts, 20)
    assert found == [*SPECIAL, "a", "b", "##a", "##b", "ab", "ba"]
    assert build_vocabulary(reversed(texts), 20) == found
    assert build_vocabulary(texts, 10) == [*found[:9], "ab"]
    with pytest.raises(ValueError, match="needs 9 pieces, not 8"):
        build_vocabulary(texts, 8)


def test_what_is_no_vocabulary(tmp_path):
    with pytest.raises(ValueError, match=r"no vocabulary .* vocab\.txt"):
        WordPiece.load(str(tmp_path / "nowhere"))
    (tmp_path / "words").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"has no \[PAD\], \[UNK\]"):
        WordPiece.load(str(tmp_path / "words"))
