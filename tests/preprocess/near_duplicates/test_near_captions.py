"""Near-duplicate captions: tokens by a plain definition, MinHash against datasketch, rules by cases,
and the labelled set."""

import itertools
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.near_captions import labelled_captions, score
from septet.preprocess.near_duplicates.captions import LIMITS, near_captions
from septet.preprocess.near_duplicates.matching import keep_best
from septet.preprocess.near_duplicates.minhash import BANDS, GRAM, NUMBER, ROWS, WORD
from septet.preprocess.near_duplicates.tokens import (
    band_keys,
    count_tokens,
    signatures,
    tokens_of,
    weights_of,
)

_PARTS = re.compile(
    r"(?:(?<![^ |.,一-鿿ぁ-ゖก-ฮ])-)?[0-9]+(?:[.,][0-9]+)*|[a-z]+|[一-鿿]|[ぁ-ゖ]+|[ก-ฮ]+"
)


def plain_tokens(text: str) -> list[tuple[int, str]]:
    """Tokens by their definition, for the letters that the test draws."""
    apart = unicodedata.normalize("NFD", text.casefold())
    found: list[tuple[int, str]] = []
    for part in _PARTS.findall("".join(char for char in apart if char not in "\u0301'")):
        if part[-1].isdigit():
            found.append((NUMBER, part.replace(",", ".")))
        elif part[0] in "三":
            found.append((NUMBER, part))
        elif part[0].isascii():
            found.append((WORD, part))
        else:
            size = 2 if "ぁ" <= part[0] <= "ゖ" else 3 if "ก" <= part[0] <= "ฮ" else 1
            grams = range(max(1, len(part) - size + 1))
            found.extend((GRAM, part[i : i + size]) for i in grams)
    return found


@given(st.lists(st.text("aBé é'1２,.三船帆かなกขค |-…", max_size=24), max_size=4))
def test_tokens_are_those_of_the_definition(texts: list[str]) -> None:
    texts = [
        unicodedata.normalize("NFKC", text).replace("...", "").replace("…", "|") for text in texts
    ]
    texts = [text.rstrip(".") for text in texts]
    found = tokens_of(pa.array(texts, pa.string()))
    of_text: dict[tuple[int, str], int] = {}
    for i, text in enumerate(texts):
        tokens = found.of(i).tolist()
        wanted = plain_tokens(text)
        assert [token & 3 for token in tokens] == [kind for kind, _ in wanted]
        for token, one in zip(tokens, wanted, strict=True):
            assert of_text.setdefault(one, token) == token
    assert len(set(of_text.values())) == len(of_text)


def test_a_word_that_an_ellipsis_cuts_does_not_count() -> None:
    texts = pa.array(["a red bo…", "a red bo...", "a red", "a red …", None, ""])
    tokens = tokens_of(texts)
    assert [len(tokens.of(i)) for i in range(6)] == [2, 2, 2, 2, 0, 0]


def _pairs(changes: int, count: int = 400) -> tuple[list[list[str]], list[list[str]]]:
    random = np.random.default_rng(changes)
    words = np.array(["".join(random.choice(list("abcdefghij"), 7)) for _ in range(4000)])
    first = words[random.integers(0, 4000, (count, 11))]
    second = first.copy()
    for at in random.permutation(11)[:changes]:
        second[:, at] = words[random.integers(0, 4000, count)]
    return first.tolist(), second.tolist()


def _features(words: list[str]) -> set[str]:
    return {*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))}


@pytest.mark.parametrize("changes", [1, 2, 4])
def test_signatures_estimate_jaccard_as_datasketch_does(changes: int) -> None:
    first, second = _pairs(changes)
    true, theirs = [], []
    for a, b in zip(first, second, strict=True):
        one, other = _features(a), _features(b)
        true.append(len(one & other) / len(one | other))
        hashes = []
        for features in (one, other):
            hashes.append(MinHash(num_perm=128))
            hashes[-1].update_batch([feature.encode() for feature in features])
        theirs.append(hashes[0].jaccard(hashes[1]))
    signed = [
        signatures(tokens_of(pa.array([" ".join(words) for words in texts])))[:, : BANDS * ROWS]
        for texts in (first, second)
    ]
    ours = (signed[0] == signed[1]).mean(axis=1)
    spread = np.std(np.array(theirs) - true)
    assert abs(np.mean(ours) - np.mean(true)) < 0.01
    assert np.std(ours - true) < 1.2 * spread
    keys = [
        band_keys(
            tokens_of(pa.array([" ".join(words) for words in texts])), np.zeros(400, np.uint64)
        )[0]
        for texts in (first, second)
    ]
    met = (keys[0] == keys[1]).any(axis=0).mean()
    assert met == pytest.approx(np.mean(1 - (1 - np.array(true) ** ROWS) ** BANDS), abs=0.06)


def test_captions_of_two_scopes_never_meet() -> None:
    tokens = tokens_of(pa.array(["an old boat in the harbour"] * 2))
    keys, _ = band_keys(tokens, np.array([1, 2], np.uint64))
    assert not (keys[:, 0] == keys[:, 1]).any()


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("Flat with 3 bedrooms and a balcony near the river", "Flat with 4 bedrooms and a balcony near the river", False),
        ("Flat with 3 bedrooms and a balcony near the river", "FLAT with 3 bedrooms, and a balcony near the river!", True),
        ("河边带阳台的三室公寓出租", "河边带阳台的四室公寓出租", False),
        ("Resistor 4.7 kΩ, pack of ten, metal film", "Resistor 47 kΩ, pack of ten, metal film", False),
        ("Bonus of +100,0 points for the team that came last", "Bonus of -100,0 points for the team that came last", False),
        ("Bonus of −100,0 points for the team that came last", "bonus of -100.0 points for the team that came last", True),
        ("Bonus of +100,0 points for the team that came last", "Bonus of 100,0 points for the team that came last", True),
        ("A lake frozen at (-5 °C) in the far north of the land", "A lake frozen at (5 °C) in the far north of the land", False),
        ("A lake frozen at ±5 °C in the far north of the land", "A lake frozen at -5 °C in the far north of the land", False),
        ("气温-5度的北方湖面上一片冰雪", "气温5度的北方湖面上一片冰雪", False),
        ("Covid-19 ward of a hospital in Lyon, 10-12 beds", "Covid 19 ward of a hospital in Lyon, 10–12 beds", True),
        ("Price - 20 euros for a ticket to the museum of trains", "Price: 20 euros for a ticket to the museum of trains", True),
        ("Add ½ cup of sugar to the dough and stir it well", "Add ¼ cup of sugar to the dough and stir it well", False),
        ("Portrait of king Louis Ⅷ of France on a white horse", "Portrait of king Louis Ⅶ of France on a white horse", False),
        ("Step ⑩ of the guide to a wooden bird house", "Step ⑪ of the guide to a wooden bird house", False),
        ("red boat", "blue boat", False),
        ("Snow covers the tracks above the village", "Snow covers the track above the village", True),
        ("A glass blower shapes a vase on the island of Murano", "On the island of Murano a glass blower shapes a vase", True),
        ("", "", False),
        ("!!!", "???", False),
    ],
)  # fmt: skip
def test_what_is_near_and_what_is_not(one: str, other: str, near: bool) -> None:
    kept, _ = near_captions(pa.array([one, other]))
    assert kept.tolist() == [0, 0 if near else 1]


def test_other_words_in_one_place_of_a_template_are_no_copies() -> None:
    nouns = ["boots", "kettles", "lanterns", "pianos", "tents", "violins"]
    texts = [
        f"Buy {noun} online at the best price with free delivery and returns" for noun in nouns
    ]
    kept, _ = near_captions(pa.array([*texts, *(text.upper() for text in texts)]))
    assert kept.tolist() == [*range(6), *range(6)]
    copy = texts[0].replace("best", "lowest")
    kept, _ = near_captions(pa.array([texts[0], copy]))
    assert kept.tolist() == [0, 0]


def test_the_best_rank_stays_and_a_member_is_near_to_the_one_that_stays() -> None:
    words = [
        "lighthouse",
        "carriage",
        "fountain",
        "windmill",
        "statue",
        "kettle",
        "lantern",
        "tractor",
        "bicycle",
    ]
    chain = [" ".join([*words[i:], *(f"word{chr(97 + k)}" for k in range(i))]) for i in range(7)]
    ranks = np.array([3, 0, 5, 1, 6, 2, 4])
    kept, near = near_captions(pa.array(chain), ranks)
    assert len(set(kept.tolist())) > 1  # the ends have two words in common
    assert all(ranks[k] <= ranks[i] for i, k in enumerate(kept))
    assert all(kept[k] == k for k in kept)
    for i, k in enumerate(kept):
        common = len({*chain[i].split()} & {*chain[k].split()})
        assert common / (18 - common) >= LIMITS.extended
        assert near[i] >= LIMITS.extended


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9), min_size=1, max_size=9)
)
def test_who_goes_is_near_to_one_that_stays_and_is_better(found: list[list[str]]) -> None:
    tokens = tokens_of(pa.array([" ".join(letter * 4 for letter in one) for one in found]))
    weights = weights_of(count_tokens(tokens), 100)
    kept, near = np.empty(len(found), np.int64), np.empty(len(found), np.float32)
    stays = np.zeros(len(found), bool)
    keep_best(tokens.tokens.copy(), tokens.starts, weights, *LIMITS, stays, kept, near)
    assert (kept[kept] == kept).all() and (kept <= np.arange(len(found))).all()
    assert (near[kept == np.arange(len(found))] == 1).all()
    assert (near >= LIMITS.extended).all()


@pytest.mark.parametrize("held_out", [False, True], ids=["development", "held out"])
def test_the_labelled_set(held_out: bool) -> None:
    captions = labelled_captions(held_out)
    kept, _ = near_captions(pa.array([one.caption for one in captions]))
    found = score(captions, kept.tolist(), lambda one: one.script)
    assert len(found.found_of) >= 12 and len({one.kind for one in captions}) >= 13
    assert len({one.language for one in captions}) >= 24
    assert found.recall >= 0.92 and found.precision >= 0.99 and found.lost <= 0.001
    assert min(hit / of for hit, of in found.found_of.values()) >= 0.80


def test_what_stays_is_one_that_others_are_near_to() -> None:
    texts = ["an old boat in the harbour at dawn", "an old boat in the harbour at dawn today",
             "an old boat in the harbour at dawn today again"]  # fmt: skip
    tokens = tokens_of(pa.array(texts))
    weights = weights_of(count_tokens(tokens), 3)
    for stays, expected in (([0, 0, 0], [0, 0, 0]), ([0, 1, 0], [0, 1, 0])):
        kept, near = np.empty(3, np.int64), np.empty(3, np.float32)
        always = np.array(stays, bool)
        keep_best(tokens.tokens.copy(), tokens.starts, weights, *LIMITS, always, kept, near)
        assert kept.tolist() == expected
