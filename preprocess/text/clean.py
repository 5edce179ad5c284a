"""Captions as people would read them: one line, composed characters, nothing invisible."""

import re
import unicodedata

_SPACE = re.compile(r"\s+")
# Controls, zero-width characters, byte-order marks and bidi overrides. Joiners (U+200C, U+200D)
# stay: Persian, Indic scripts and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)


def clean_caption(text: str) -> str:
    """NFC, invisible characters removed, white space folded to single spaces, ends trimmed.

    Case and punctuation carry meaning and are left alone.
    """
    text = text.encode("utf-8", "ignore").decode()  # lone surrogates cannot be stored
    text = _INVISIBLE.sub("", text)
    return _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
