"""English numerals of one or more words: "3", "1,000", "twenty-five", "two hundred and six".

What is no whole number, or no exact one ("2.5 million", "3-4", "two or three", "about ten"), or may
be read in two ways ("10 000") has no value: it is left out rather than read in part.
"""

import re
from collections.abc import Sequence

from septet.preprocess.scene_graphs.words import words

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
UNITS = {word: value for value, word in enumerate(_ONES)}
UNITS |= {word: 10 * tens for tens, word in enumerate(_TENS, start=2)}
SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_DIGITS = re.compile(r"\d{1,9}|\d{1,3}(?:,\d{3}){1,2}")
_LIKE_DIGITS = re.compile(r"[+-]?[\d.,/]*\d[\d.,/]*")
_JOINED = frozenset({"-", "–", ",", "and", "or", "to", "/", "x", "by", "through"})

ABOUT = words(
    """about around over under nearly almost approximately approx roughly circa some than least most
    no no. # number size age aged level page chapter room part vol. half maximum minimum plus within
    beyond top best $ € £ ¥ + - – ~ . x /"""
)
"""Words before a numeral after which it does not say how many there are, or not exactly."""

AFTER = words(
    """% + - – / x of or to plus times percent degree degrees pack packs piece pieces star year
    years month months day week hour minute seat seater door storey story bedroom room person inch
    inches foot ft cm mm m km kg g lb lbs oz ml l level layer tier ply way"""
)
"""Words behind a numeral with which it says something else: a measure, a share, a range."""


def is_numeral(word: str) -> bool:
    """Whether a lower-cased word is a numeral or part of one."""
    return word in UNITS or word in SCALES or bool(_LIKE_DIGITS.fullmatch(word))


def numeral_at(lower: Sequence[str], i: int) -> range:
    """The tokens of the whole numeral around token `i`, with what joins its parts."""
    start, end = i, i + 1
    while True:
        if start and is_numeral(lower[start - 1]):
            start -= 1
        elif start > 1 and lower[start - 1] in _JOINED and is_numeral(lower[start - 2]):
            start -= 2
        else:
            break
    while end < len(lower):
        if is_numeral(lower[end]):
            end += 1
        elif end + 1 < len(lower) and lower[end] in _JOINED and is_numeral(lower[end + 1]):
            end += 2
        else:
            break
    if start and lower[start - 1] == "a" and lower[start] in SCALES:
        start -= 1
    return range(start, end)


def numeral(spoken: Sequence[str]) -> int | None:
    """The value of a numeral's lower-cased words; None where they are none, or no exact one."""
    if len(spoken) == 1 and _DIGITS.fullmatch(spoken[0]):
        return int(spoken[0].replace(",", ""))
    first = spoken[0] if spoken else ""
    if len(spoken) == 2 and _DIGITS.fullmatch(first) and spoken[1] in SCALES:
        return int(first.replace(",", "")) * SCALES[spoken[1]]
    bare = [word for word in spoken if word not in ("-", "and")]
    bare = ["one", *bare[1:]] if first == "a" else bare
    total = group = 0
    for word in bare:
        if word in UNITS:
            group += UNITS[word]
        elif word in SCALES and group:
            group *= SCALES[word]
            if word != "hundred":
                total, group = total + group, 0
        else:
            return None
    value = total + group
    return value if bare and (bare == _said(value) or bare == _dozens(value)) else None


def _dozens(value: int) -> list[str]:
    return [*_said(value // 12), "dozen"] if value % 12 == 0 else []


def _said(value: int) -> list[str]:
    """A number in words, without "and" and hyphens."""
    for scale in ("billion", "million", "thousand", "hundred"):
        if value >= SCALES[scale]:
            high, low = divmod(value, SCALES[scale])
            return [*_said(high), scale, *(_said(low) if low else [])]
    if value < 20:
        return [_ONES[value]]
    tens, ones = divmod(value, 10)
    return [_TENS[tens - 2], *([_ONES[ones]] if ones else [])]
