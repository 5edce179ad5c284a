"""Length of captions in words, for scripts with and without spaces."""

import pyarrow as pa
import pyarrow.compute as pc

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that write no spaces between words, as members of an RE2 character class."""


def unspaced_letters(captions: pa.ChunkedArray) -> pa.ChunkedArray:
    """How many letters of scripts without spaces each caption has, int32 [n]."""
    return pc.count_substring_regex(captions, f"[{UNSPACED}]")


def count_words(captions: pa.ChunkedArray) -> pa.ChunkedArray:
    """Words of each caption, int64 [n].

    Words are runs between spaces that hold a letter or a digit. Letters of scripts without spaces
    do not belong to such runs: two of them count as one word (the usual length of a Chinese word).
    """
    spaced = pc.replace_substring_regex(captions, f"[{UNSPACED}]", " ")
    runs = pc.count_substring_regex(spaced, r"[^\s]*[\p{L}\p{N}][^\s]*")
    half = pc.divide(pc.add(pc.cast(unspaced_letters(captions), pa.int64()), 1), 2)
    return pc.add(pc.cast(runs, pa.int64()), half)
