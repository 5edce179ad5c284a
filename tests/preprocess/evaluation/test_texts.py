"""Which captions hold an evaluation text."""

import pytest

from septet.preprocess.evaluation.texts import (
    TextHit,
    TextIndex,
    compare,
    is_long_enough,
    slots_of_hits,
    tokens_of,
)

TEXTS = [
    "A man riding a wave on top of a surfboard in the ocean",
    "What color is the cat on the table?",
    "一个男人在海滩上骑着一匹白色的马",
    "two dogs playing with a red ball in the park",
    "a red boat",
    "पुरानी नाव नदी के किनारे खड़ी है",
    "A woman riding a wave on top of a skateboard in the ocean",
    "one dog playing with a red ball in the yard",
    "一个女人在海滩上骑着一匹棕色的马",
]
INDEX = TextIndex(TEXTS)


@pytest.mark.parametrize(
    ("caption", "number"),
    [
        ("a man riding a wave on top of a surfboard in the ocean", 0),
        ("Photo: A MAN riding a wave, on top of a surfboard - in the ocean | stock.example", 0),
        ("A man ridding a wave on top of a surfboard in the ocean", 0),
        ("man riding wave on top of a surfboard in the ocean", 0),
        ("A man riding a wave on top of a surfbo…", 0),
        ("A man riding a tall wave on top of a surfboard in the ocean", 0),
        ("What colör is the cat on the table", 1),
        ("图：一个男人在海滩上骑着一匹白色的马。", 2),
        ("We saw two dogs playing with a red ball in the park near the lake on Sunday", 3),
        ("पुरानी नाव नदी के किनारे खड़ी है।", 5),
        # Something else in the place of what no other text differs by
        ("A man riding a wave on top of a surfboard in the sea", 0),
        ("What colour is the dog on the table?", 1),
        ("two dogs frolicking with a red ball in the park", 3),
        ("一个男人在海边上骑着一匹白色的马", 2),
        ("在海滩上骑着一匹白色的马 一个男人", 2),
        # One thing for another
        ("A man riding a wave on top of a bicycle in the ocean", None),
        ("A child riding a wave on top of a surfboard in the ocean", None),
        ("A girl skimming a lake on top of a surfboard in the ocean", None),
        ("What color is the dog on a table?", None),  # two of eight words
        ("一个男人在海滩上骑着一匹黑色的马", None),
        ("two dogs playing with a red ball in the garden", None),
        ("three dogs playing with a red ball in the park", None),
        ("नई गाड़ी नदी के किनारे खड़ी है", None),
        # Too little of it, or too short to be looked for
        ("A man riding a wave", None),
        ("a red boat", None),
        ("", None),
        (None, None),
    ],
)
def test_captions(caption: str | None, number: int | None) -> None:
    (hit,) = INDEX.find([caption])
    assert (None if hit is None else hit.number) == number


def test_many_at_once_are_as_one_by_one() -> None:
    captions = [f"{text} and more" for text in TEXTS] * 3 + ["nothing of that"]
    found = INDEX.find(captions)
    assert found == [INDEX.find([caption])[0] for caption in captions]
    assert [hit.number if hit else None for hit in found[:6]] == [0, 1, 2, 3, None, 5]
    assert INDEX.looked_for == 8
    assert INDEX.find([]) == [] and TextIndex([]).find(["a caption of some words"]) == [None]


def test_what_is_there_and_what_is_not() -> None:
    text = tokens_of("one two three four five six seven eight nine ten")
    assert compare(0, text, tokens_of("one two three four five six seven eight")) == TextHit(
        0, 0.8, ("nine", "ten")
    )
    assert compare(0, text, tokens_of("entirely other words")) == TextHit(0, 0.0)
    other = compare(7, text, tokens_of("one two three four five six seven eight nine eleven"))
    assert other == TextHit(7, 0.9, ("ten",), ("eleven",)) and other.replaced


def test_captions_show_slots_too() -> None:
    index = TextIndex(["Buy a piano at the best price with free delivery"])
    captions = [f"Buy a {it} at the best price with free delivery" for it in ("boat", "tent")]
    hits = [hit for hit in index.find([*captions, captions[0]]) if hit is not None]
    assert [hit.lacking for hit in hits] == [("piano",)] * 3
    assert slots_of_hits(hits) == {(0, "piano")}
    assert slots_of_hits([hits[0], hits[2]]) == set()  # the same twice is no template
    assert index.find(["Buy a piano at 7 best price with free delivery"]) == [None]


def test_length_counts_by_script() -> None:
    assert is_long_enough(tokens_of("a cat on mats")) and not is_long_enough(tokens_of("a cat sat"))
    assert is_long_enough(tokens_of("白色的马在跑")) and not is_long_enough(tokens_of("白色的马"))
