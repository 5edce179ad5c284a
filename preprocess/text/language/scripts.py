"""The scripts of texts and of languages: a text in Latin letters is not Chinese, whatever a model
or a page says."""

import unicodedata
from collections import Counter
from functools import lru_cache

import langcodes

from septet.preprocess.text.han import within

KANA = "Kana"
HAN = "Han"
HANGUL = "Hangul"
LATIN = "Latin"

_BY_ISO = {
    "Arab": "Arabic", "Armn": "Armenian", "Beng": "Bengali", "Cans": "Canadian",
    "Cyrl": "Cyrillic", "Deva": "Devanagari", "Ethi": "Ethiopic", "Geor": "Georgian",
    "Grek": "Greek", "Gujr": "Gujarati", "Guru": "Gurmukhi", "Hans": HAN, "Hant": HAN,
    "Hebr": "Hebrew", "Jpan": KANA, "Khmr": "Khmer", "Knda": "Kannada", "Kore": HANGUL,
    "Laoo": "Lao", "Latn": LATIN, "Mlym": "Malayalam", "Mong": "Mongolian", "Mymr": "Myanmar",
    "Orya": "Oriya", "Sinh": "Sinhala", "Syrc": "Syriac", "Taml": "Tamil", "Telu": "Telugu",
    "Thaa": "Thaana", "Thai": "Thai", "Tibt": "Tibetan",
}  # fmt: skip
"""ISO 15924 codes of scripts, and the first word of their letters' names in Unicode."""

_SEVERAL = {
    "az": "Latin Cyrillic Arabic", "ber": "Latin Tifinagh Arabic", "bs": "Latin Cyrillic",
    "ha": "Latin Arabic", "iu": "Canadian Latin", "ja": "Kana Han", "kab": "Latin Tifinagh",
    "kk": "Cyrillic Latin Arabic", "ko": "Hangul Han", "ks": "Arabic Devanagari",
    "ku": "Latin Arabic Cyrillic", "ky": "Cyrillic Arabic Latin", "mn": "Cyrillic Mongolian",
    "ms": "Latin Arabic", "pa": "Gurmukhi Arabic", "ro": "Latin Cyrillic",
    "sa": "Devanagari Latin", "sd": "Arabic Devanagari", "sh": "Latin Cyrillic",
    "sr": "Cyrillic Latin", "tg": "Cyrillic Arabic Latin", "tk": "Latin Cyrillic Arabic",
    "tt": "Cyrillic Latin", "ug": "Arabic Latin Cyrillic", "uz": "Latin Cyrillic Arabic",
    "zgh": "Tifinagh Latin",
}  # fmt: skip
"""Languages that are written in several scripts; of all others CLDR's likely one is taken."""


def dominant_script(text: str) -> str | None:
    """The script of most letters of a text; None where it has no letter.

    Kana beside Han is `KANA`: no language but Japanese mixes them.
    """
    if text.isascii():
        return LATIN if any(map(str.isalpha, text)) else None
    counts = Counter(map(_script, text))
    del counts[None]
    if not counts:
        return None
    if counts[KANA]:
        counts[KANA] += counts.pop(HAN, 0)
    return max(sorted(counts, key=str), key=counts.__getitem__)


@lru_cache(maxsize=4096)
def is_written_in(code: str, script: str | None) -> bool:
    """Whether a language is written in a script; true where either is not known."""
    scripts = scripts_of(code)
    return script is None or not scripts or script in scripts


@lru_cache(maxsize=4096)
def scripts_of(code: str) -> frozenset[str]:
    """The scripts of a language; empty where they are not known."""
    if code in _SEVERAL:
        return frozenset(_SEVERAL[code].split())
    script = langcodes.Language.get(code).maximize().script
    return frozenset([_BY_ISO[script]] if script in _BY_ISO else [])


def not_japanese(text: str) -> int:
    """The number of Han characters in a text that Japanese standards (JIS X 0208) lack."""
    return sum(_script(letter) == HAN and not within(letter, "shift_jis") for letter in text)


@lru_cache(maxsize=2**16)
def _script(letter: str) -> str | None:
    """The script of a letter: the first word of its name in Unicode; None for what is no letter."""
    if not letter.isalpha():
        return None
    name = unicodedata.name(letter, "").partition(" ")[0].partition("-")[0]
    if name in ("HIRAGANA", "KATAKANA", "HALFWIDTH"):
        return KANA
    if name in ("CJK", "KANGXI", "IDEOGRAPHIC"):
        return HAN
    return LATIN if name == "FULLWIDTH" else name.capitalize()
