"""The table of thresholds on numbers: which setting drops rows for which reason, the unit of what
it bounds, and the fixed edges by which values are counted."""

from typing import NamedTuple


class Cut(NamedTuple):
    """A threshold: the reject reason of the rows beyond it, and a key of `EDGES`.

    Settings of `LEAST`, and those called `min_…`, keep values of at least themselves, all others of
    at most. `words` say what becomes of a row on either side.
    """

    reason: str
    unit: str
    words: tuple[str, str] = ("kept", "dropped")


CUTS: dict[str, dict[str, Cut]] = {
    "filter": {
        "min_chars": Cut("too_short", "characters"),
        "min_chars_compact": Cut("too_short", "characters"),
        "min_chars_unspaced": Cut("too_short", "characters"),
        "max_chars": Cut("too_long", "characters"),
        "min_words": Cut("too_few_words", "words"),
        "min_words_compact": Cut("too_few_words", "words"),
        "max_words": Cut("too_many_words", "words"),
        "min_ideographs": Cut("too_few_ideographs", "ideographs"),
        "min_letters": Cut("few_letters", "share"),
        "max_digits": Cut("many_digits", "share"),
        "min_script": Cut("other_script", "share"),
        "max_punctuation_run": Cut("punctuation_run", "marks in a row"),
        "max_word_repetition": Cut("repeated_words", "share"),
        "max_char_repetition": Cut("repeated_chars", "share"),
        "max_capitalised": Cut("many_capitalised", "share"),
        "max_capitals": Cut("many_capitals", "share"),
        "language_score": Cut("language", "probability", ("told", "undetermined")),
    },
    "dedup": {
        "images_per_caption": Cut("caption_repeated", "images"),
        "pages_per_pair": Cut("pair_repeated", "pages"),
    },
    "curate": {
        "min_bytes": Cut("too_few_bytes", "bytes"),
        "min_side": Cut("too_small", "pixels"),
        "min_pixels": Cut("too_few_pixels", "pixels in all"),
        "max_aspect_ratio": Cut("aspect_ratio", "long : short side"),
    },
}
"""By stage and setting, which is one of the recipe's section of the stage's name."""

_COUNTS = (
    *range(21), 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100, 120, 140, 160, 180, 200, 256, 300, 350,
    400, 500, 600, 700, 800, 1000, 1200, 1500, 2000, 3000, 5000,
)  # fmt: skip
_SIDES = (
    0, 16, 32, 48, 64, 80, 100, 128, 150, 180, 200, 224, 256, 300, 336, 384, 400, 448, 512, 600,
    640, 768, 800, 1024, 1280, 1600, 2048, 3072, 4096, 8192,
)  # fmt: skip
_KIB = (*range(9), 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)

EDGES: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(
        ("characters", "words", "ideographs", "marks in a row", "images", "pages"), _COUNTS
    ),
    **dict.fromkeys(("share", "probability"), tuple(k / 40 for k in range(41))),
    "bytes": tuple(1024 * k for k in _KIB),
    "pixels": _SIDES,
    "pixels in all": tuple(side * side for side in _SIDES),
    "long : short side": (
        1, 1.1, 1.2, 1.25, 1.33, 1.4, 1.5, 1.6, 1.78, 2, 2.25, 2.5, 3, 3.5, 4, 5, 6, 8, 10, 15, 20,
    ),
}  # fmt: skip
"""By unit, the edges of the bins of values, one bin more than edges: below the first, between two,
beyond the last. A value on an edge is in the bin above where the setting is a least value, else in
the one below; so how many values a cut at an edge keeps is exact."""


LEAST = frozenset({"language_score"})
"""Settings that are the least value that is kept, though their names do not say so."""


def is_least(setting: str) -> bool:
    """Whether a setting is the least value that is kept, and not the greatest."""
    return setting.startswith("min_") or setting in LEAST
