"""In which form Chinese is written: simplified (the mainland's) or traditional (Hong Kong's,
Taiwan's).

Characters that were simplified are told by the two sets of characters that computers had for
either form before Unicode: GB 2312 has no traditional form of a character that was simplified, Big5
no simplified one. Most characters are in both and say nothing.
"""

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

SCRIPTS = ("simplified", "traditional", "mixed", "either")
"""What `chinese_scripts` tells: of texts with simplified characters, with traditional ones, with
both, with neither."""

_HAN = range(0x4E00, 0xA000)
"""The block in which both sets lie."""


@lru_cache(1)
def forms() -> tuple[str, str]:
    """The characters that are simplified alone, and those that are traditional alone."""
    simplified, traditional = list[str](), list[str]()
    for letter in map(chr, _HAN):
        mainland, taiwan = _within(letter, "gb2312"), _within(letter, "big5")
        if mainland != taiwan:
            (simplified if mainland else traditional).append(letter)
    return "".join(simplified), "".join(traditional)


def chinese_scripts(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """The script of each Chinese text, a name of `SCRIPTS`; null for a text that is null.

    Args:
        texts: Strings [n].
    """
    new, old = (pc.match_substring_regex(texts, f"[{letters}]") for letters in forms())
    names = pc.if_else(old, "traditional", "either")
    return pc.if_else(new, pc.if_else(old, "mixed", "simplified"), names)


def _within(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
