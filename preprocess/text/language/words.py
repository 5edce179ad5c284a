"""The words of a caption, as a language model is to see them: without what is of no language."""

import re
import unicodedata

from septet.preprocess.text.figure_numbers import without_figure_number

_ADDRESS = re.compile(
    r"(?:https?://|www\.)\S+"
    r"|[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+"
    r"|(?<!\S)\S+\.(?:jpe?g|png|gif|webp|svg|bmp|tiff?|pdf|html?)\b",
    re.IGNORECASE,
)
"""File names begin where a word does: looked for behind each of its letters, a word of a megabyte
would take the square of its length."""
_QUOTATION = re.compile(r"(?<!\w)['’ʻʼ]|['’ʻʼ](?!\w)")
_WITHIN_WORDS = "'’ʻʼ\u200c\u200d"


class _NoWords(dict[int, int]):
    """A table for `str.translate` that makes spaces of all but letters, marks, apostrophes and
    joiners."""

    def __missing__(self, point: int) -> int:
        letter = chr(point)
        kept = letter in _WITHIN_WORDS or unicodedata.category(letter)[0] in "LM"
        self[point] = point if kept else 0x20
        return self[point]


_NO_WORDS = _NoWords()


def words_of(caption: str) -> str:
    """The words of a caption in small letters, single spaces between them.

    Figure numbers, addresses, file names, digits, quotation marks and other punctuation are left
    out: in a short caption they decide (a digit in front makes English Chinese, a space before a
    quotation mark makes it Finnish).
    """
    words = _ADDRESS.sub(" ", without_figure_number(caption)).translate(_NO_WORDS)
    return " ".join(_QUOTATION.sub(" ", words).lower().split())
