"""Character error rate of text read from images, and whether captions are in the language asked
for."""

import unicodedata
from collections.abc import Sequence

from septet.preprocess.text.language import identify


def characters(written: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """`character_error_rate`: insertions, deletions and substitutions of characters over those of
    the expected texts, of the whole set (so long texts weigh more; it may exceed 1); for
    `Generation`. Texts are compared in NFC with runs of white space as one space.

    Raises:
        ValueError: rapidfuzz is not installed, or no text is expected.
    """
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise ValueError(
            "the character error rate needs rapidfuzz, which is not installed; "
            "pip install 'septet[measures]'"
        ) from error
    pairs = [(_plain(a), _plain(b)) for a, b in zip(written, expected, strict=True)]
    whole = sum(len(right) for _, right in pairs)
    if not whole:
        raise ValueError("all expected texts are empty; measure on images that show text")
    wrong = sum(Levenshtein.distance(mine, right) for mine, right in pairs)
    return {"character_error_rate": wrong / whole}


def languages(written: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """`language_right`: the share of captions in the language that was asked for (primary subtags:
    "zh"), as `preprocess.text.language` tells it without knowing which; for `Generation`. By
    language under `language_right_zh` and so on. Too short to tell is wrong."""
    right: dict[str, list[bool]] = {}
    for text, language in zip(written, expected, strict=True):
        found = identify(" ".join(text.split())).code == language
        right.setdefault(language, []).append(found)
    everything = [hit for each in right.values() for hit in each]
    return {
        "language_right": sum(everything) / len(everything),
        **{f"language_right_{code}": sum(x) / len(x) for code, x in sorted(right.items())},
    }


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
