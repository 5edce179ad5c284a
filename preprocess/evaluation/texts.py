"""Captions that hold an evaluation text, whole or nearly so.

Texts are compared as tokens: words, or single characters where a script writes no spaces; case,
accents and punctuation do not count. An evaluation text is in a caption if most of
its tokens are there in their order, and nothing was put in the place of any: a word may be added,
left out, misspelt or cut off at the end, but one noun for another makes another text.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from septet.preprocess.text.ids import hash64

_UNSPACED = (
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f"
    "\u1780-\u17ff\U00020000-\U0003ffff"
)
_INDIC = "\u0900-\u0963\u0966-\u0dff"
"""Scripts whose vowel signs are marks within words."""
_TOKENS = re.compile(rf"[{_UNSPACED}]|(?:[^\W_{_UNSPACED}]|[{_INDIC}])+")
FEWEST_WORDS, FEWEST_CHARACTERS = 4, 6
"""The fewest tokens of an evaluation text that is looked for: shorter ones stand in captions by
chance."""
_GRAM_WORDS, _GRAM_CHARACTERS = 2, 3
_SHARED = 0.4
"""The share of an evaluation text's grams that a caption must have, before the two are compared."""
_THERE = 0.65
"""The share of its tokens that must be there in their order."""
_MOST_OF_A_GRAM = 500
"""Grams of more evaluation texts than this do not lead to them; others of theirs do."""
_ALIKE, _LEAST_MISSPELT = 0.78, 5
"""How much of two words is the same, of so many letters at least, where one is the other
misspelt."""
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u200b-\u200f\u0640]")


def tokens_of(text: str) -> tuple[str, ...]:
    """The tokens of a text."""
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text).casefold())
    return tuple(_TOKENS.findall(unicodedata.normalize("NFC", bare)))


def is_unspaced(tokens: Sequence[str]) -> bool:
    """Whether most tokens are characters of a script without spaces."""
    return 2 * sum(bool(re.match(f"[{_UNSPACED}]", token)) for token in tokens) > len(tokens)


def is_long_enough(tokens: Sequence[str]) -> bool:
    """Whether an evaluation text is looked for."""
    return len(tokens) >= (FEWEST_CHARACTERS if is_unspaced(tokens) else FEWEST_WORDS)


def grams_of(tokens: Sequence[str]) -> set[int]:
    """Hashes of the runs of tokens by which texts are found."""
    width = _GRAM_CHARACTERS if is_unspaced(tokens) else _GRAM_WORDS
    return {
        hash64("\0".join(tokens[i : i + width]), b"septet.gram")
        for i in range(len(tokens) - width + 1)
    }


@dataclass(frozen=True)
class TextHit:
    """A hit: the number of the evaluation text, and the share of its tokens that is there."""

    number: int
    share: float


class TextIndex:
    """Evaluation texts by their grams.

    Args:
        texts: The texts; those that are too short are not looked for.
    """

    def __init__(self, texts: Sequence[str]):
        self._tokens = [tokens_of(text) for text in texts]
        grams = [grams_of(one) if is_long_enough(one) else set() for one in self._tokens]
        self._counts = np.array([len(one) for one in grams], np.int64)
        owners = np.repeat(np.arange(len(grams)), self._counts)
        flat = np.fromiter((g for one in grams for g in one), np.uint64, int(self._counts.sum()))
        order = np.lexsort((owners, flat))
        self._grams, self._owners = flat[order], owners[order]
        self.looked_for = int((self._counts > 0).sum())

    def find(self, captions: Sequence[str | None]) -> list[TextHit | None]:
        """The evaluation text that each caption holds, the one that is there the most; None where
        it holds none."""
        found: list[TextHit | None] = [None] * len(captions)
        tokens = [tokens_of(caption or "") for caption in captions]
        grams = [grams_of(one) for one in tokens]
        rows = np.repeat(np.arange(len(grams)), [len(one) for one in grams])
        flat = np.fromiter((g for one in grams for g in one), np.uint64, len(rows))
        first = np.searchsorted(self._grams, flat)
        counts = np.searchsorted(self._grams, flat, "right") - first
        counts[counts > _MOST_OF_A_GRAM] = 0
        pairs = np.repeat(rows, counts)
        before = np.cumsum(counts) - counts
        at = np.arange(len(pairs)) + np.repeat(first - before, counts)
        both = pairs * max(1, len(self._counts)) + self._owners[at]
        keys, shared = np.unique(both, return_counts=True)
        row, text = keys // max(1, len(self._counts)), keys % max(1, len(self._counts))
        for i in np.flatnonzero(shared >= _SHARED * self._counts[text]):
            here, number = int(row[i]), int(text[i])
            share = share_there(self._tokens[number], tokens[here])
            best = found[here]
            if share >= _THERE and (best is None or share > best.share):
                found[here] = TextHit(number, share)
        return found


def share_there(text: Sequence[str], caption: Sequence[str]) -> float:
    """The share of an evaluation text's tokens that a caption has; 0 where it has others in their
    place.

    What the caption has before and behind the text does not count.
    """
    if f" {' '.join(text)} " in f" {' '.join(caption)} ":
        return 1.0
    matcher = SequenceMatcher(None, text, caption, autojunk=False)
    blocks = matcher.get_matching_blocks()[:-1]
    if not blocks:
        return 0.0
    first, last = blocks[0], blocks[-1]
    rest = len(text) - last.a - last.size
    # Next to the span, as many tokens as the text has beyond it may stand in their place.
    span = caption[max(0, first.b - first.a) : last.b + last.size + rest]
    balance = Counter(text)
    balance.subtract(span)
    extra = [token for token, count in balance.items() for _ in range(-count)]
    lacking = [token for token, count in balance.items() for _ in range(count)]
    lost = len(lacking)
    for token in [*extra]:
        near = next((one for one in lacking if _is_misspelt(one, token)), None)
        cut = token == caption[-1] and any(one.startswith(token) for one in text[-rest:])
        if near is not None:
            lacking.remove(near)
            lost -= 1
        if near is not None or (rest and cut):
            extra.remove(token)
    return 0.0 if extra and lacking else 1 - lost / len(text)


def _is_misspelt(one: str, other: str) -> bool:
    if min(len(one), len(other)) < _LEAST_MISSPELT or one.isdigit() or other.isdigit():
        return False
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE
