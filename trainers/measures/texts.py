"""Character error rate of text read from images, and whether captions are in the language asked
for."""

import unicodedata
from collections.abc import Sequence

from septet.preprocess.text.language import identify
from septet.trainers.measures.captions import words


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


def languages(written: Sequence[str], expected: Sequence[tuple[str, str]]) -> dict[str, float]:
    """`language_right`: the share of captions in the language that was asked for (primary subtags:
    "zh"); for `Generation`, of texts with their languages. By language under `language_right_zh`
    and so on.

    A caption is of the language whose expected texts have the most of its words; where that is no
    single one, or only one is expected, `preprocess.text.language` tells, which alone takes "un
    grand carré vert" for Spanish.
    """
    known: dict[str, set[str]] = {}
    for text, language in expected:
        known.setdefault(language, set()).update(words(text).split())

    def language_of(text: str) -> str:
        found = {
            code: sum(word in own for word in words(text).split()) for code, own in known.items()
        }
        best = [code for code, n in found.items() if n and n == max(found.values())]
        return best[0] if len(best) == 1 < len(known) else identify(" ".join(text.split())).code

    right: dict[str, list[bool]] = {}
    for text, (_, language) in zip(written, expected, strict=True):
        right.setdefault(language, []).append(language_of(text) == language)
    everything = [hit for each in right.values() for hit in each]
    return {
        "language_right": sum(everything) / len(everything),
        **{f"language_right_{code}": sum(x) / len(x) for code, x in sorted(right.items())},
    }


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
