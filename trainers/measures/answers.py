"""VQA accuracy: whether an answer is one that people gave."""

import re
from collections.abc import Sequence

_NUMBERS = "zero one two three four five six seven eight nine ten"
_DIGITS = {word: str(n) for n, word in enumerate(_NUMBERS.split())} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't
    mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
    why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're
    you've
"""
# Written with one apostrophe too few; "its", "hell" or "well" are words of their own.
_WHOLE = {
    word[:i] + word[i + 1 :]: word
    for word in _CONTRACTIONS.split()
    for i, letter in enumerate(word)
    if letter == "'"
}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")


def normalised(answer: str) -> str:
    """An answer as VQA compares it: lower case, without punctuation, articles and number words,
    contractions whole (visualqa.org/evaluation)."""
    text = re.sub(r"[\n\t]", " ", answer).strip()
    thousands = _COMMA.search(text) is not None
    found = text
    for mark in _PUNCTUATION:
        apart = f"{mark} " in text or f" {mark}" in text
        found = found.replace(mark, "" if apart or thousands else " ")
    found = _PERIOD.sub("", found)
    parts = [_DIGITS.get(word, word) for word in found.lower().split()]
    return " ".join(_WHOLE.get(word, word) for word in parts if word not in _ARTICLES)


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """The mean, over all people, of min(1, matches among the others / 3) (Antol et al., arXiv
    1505.00468, section 4, as averaged on visualqa.org); of a single person, whether it matches.

    Both sides are always normalised. The official script of 2021 normalises neither where all
    people gave the same answer; so there "Yes." beside ten "yes" counts 0, and here 1. Its table of
    contractions also turns "somebody'd" into "somebodyd", which this one does not.

    Raises:
        ValueError: nobody answered.
    """
    if not people:
        raise ValueError("a question without answers has no accuracy; leave it out")
    mine = normalised(answer)
    same = [normalised(each) == mine for each in people]
    if len(same) == 1:
        return float(same[0])
    matches = sum(same)
    return sum(min(1.0, (matches - each) / 3) for each in same) / len(same)


def answers(written: Sequence[str], expected: Sequence[Sequence[str]]) -> dict[str, float]:
    """`vqa_accuracy`, the mean; for `Generation`."""
    found = [vqa_accuracy(a, people) for a, people in zip(written, expected, strict=True)]
    return {"vqa_accuracy": sum(found) / len(found)}
