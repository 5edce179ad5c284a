"""Which captions hold an evaluation text."""

import pytest

from septet.preprocess.evaluation.texts import TextIndex, is_long_enough, share_there, tokens_of

TEXTS = [
    "A man riding a wave on top of a surfboard in the ocean",
    "What color is the cat on the table?",
    "一个男人在海滩上骑着一匹白色的马",
    "two dogs playing with a red ball in the park",
    "a red boat",
    "पुरानी नाव नदी के किनारे खड़ी है",
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
        # One thing for another
        ("A man riding a wave on top of a skateboard in the ocean", None),
        ("A woman riding a wave on top of a surfboard in the ocean", None),
        ("What color is the dog on the table?", None),
        ("一个男人在海滩上骑着一匹黑色的马", None),
        ("two dogs playing with a red ball in the garden", None),
        ("three dogs playing with a red ball in the park", None),
        ("पुरानी गाड़ी नदी के किनारे खड़ी है", None),
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
    assert INDEX.looked_for == 5
    assert INDEX.find([]) == [] and TextIndex([]).find(["a caption of some words"]) == [None]


def test_the_share_that_is_there() -> None:
    text = tokens_of("one two three four five six seven eight nine ten")
    assert share_there(text, tokens_of("one two three four five six seven eight")) == 0.8
    assert share_there(text, tokens_of("entirely other words")) == 0.0
    assert (
        share_there(text, tokens_of("one two three four five six seven eight nine eleven")) == 0.0
    )


def test_length_counts_by_script() -> None:
    assert is_long_enough(tokens_of("a cat on mats")) and not is_long_enough(tokens_of("a cat sat"))
    assert is_long_enough(tokens_of("白色的马在跑")) and not is_long_enough(tokens_of("白色的马"))
