"""The form in which Chinese is written: simplified (the mainland's) or traditional (Hong Kong's,
Taiwan's).

Characters that were simplified are told by the two sets of characters that computers had for
either form before Unicode, GB 2312 and Big5: a character that only one of them has is of that form.
Most characters are in both and say nothing; among them are a few traditional ones, which GB 2312
has for names or for senses that were not simplified (乾, 後, 於, 徵, 夥, 摺, 藉). And some are in
one set alone but written in both forms: `BOTH`.
"""

from functools import lru_cache

import pyarrow as pa

SCRIPTS = ("simplified", "traditional", "mixed", "either")
"""What `chinese_scripts` tells: of texts with simplified characters, with traditional ones, with
both, with neither."""

BOTH = (
    # Not in Big5, but Hong Kong's standard has them, or traditional texts often do.
    "着户温卧荡潜踪丢兑别匀叁叙呐囱够媪幺弑悦愠携氲烟税脱葱蜕迹韵麽"
    # Not in Big5, without another form: in names, in science, in Cantonese.
    "晗珏煊揸嘞酶"
    # Not in GB 2312, but the mainland's table of 2013 has them, for names above all, or they are
    # written there (囧, 囍); all but 昇 without another form.
    "囧囍玥珺昇燊垚瑀翀珅婠彧璟珪禛祐瑄珣烜姮燏炘璠玠媞鋆烺晞炆湉溦珽琤嫚焗焜昺湜愔佺甡玹瑧孖"
    "窸窣抔湲靺鞨郃嬛"
)
"""Characters that one of the two sets lacks and that say nothing of a text's form all the same: the
commonest, chosen by comparison with Hong Kong's list of common characters (常用字字形表), the
mainland's of standard ones (通用规范汉字表) and OpenCC's conversions. Rare ones are left."""

_HAN = range(0x4E00, 0xA000)
"""The block in which both sets lie."""


@lru_cache(1)
def forms() -> tuple[str, str]:
    """The characters that are simplified alone, and those that are traditional alone."""
    simplified, traditional = list[str](), list[str]()
    for letter in map(chr, _HAN):
        mainland, taiwan = within(letter, "gb2312"), within(letter, "big5")
        if mainland != taiwan and letter not in BOTH:
            (simplified if mainland else traditional).append(letter)
    return "".join(simplified), "".join(traditional)


@lru_cache(1)
def _sets() -> tuple[frozenset[str], frozenset[str]]:
    """`forms` as sets: a pattern of them takes 4 ms to compile, for each few texts anew."""
    simplified, traditional = forms()
    return frozenset(simplified), frozenset(traditional)


def chinese_scripts(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """The script of each Chinese text, a name of `SCRIPTS`; null for a text that is null.

    Args:
        texts: Strings [n].
    """
    new, old = _sets()
    names = {(True, True): "mixed", (True, False): "simplified", (False, True): "traditional",
             (False, False): "either"}  # fmt: skip
    found = [
        None if text is None else names[not new.isdisjoint(text), not old.isdisjoint(text)]
        for text in texts.to_pylist()
    ]
    return pa.chunked_array([pa.array(found, pa.string())])


def within(letter: str, encoding: str) -> bool:
    """Whether an encoding's set of characters has a letter."""
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
