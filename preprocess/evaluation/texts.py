"""Captions that hold an evaluation text, whole or nearly so.

Texts are compared as tokens: words, or single characters where a script writes no spaces; case,
accents and punctuation do not count. An evaluation text is in a caption if most of its tokens are
there, in their order or with the end in front: a word may be added, left out, misspelt or cut off
at the end.

Where something else stands in the place of a word, it may be a synonym, or the one noun for the
other that makes another text. Where texts of the same form differ tells: a word of an evaluation
text is a *slot* if another evaluation text has another one in its place, or if captions have two
others there. What stands in a slot, or is a number, counts; elsewhere a small part of a long text
may be replaced.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
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
_THERE = 0.6
"""The share of its tokens that must be there."""
_REPLACED, _LONG_WORDS, _LONG_CHARACTERS = 0.2, 7, 12
"""The greatest share of an evaluation text's tokens that others may stand in the place of, and the
fewest tokens of a text where any may."""
_MOST_BESIDE = 100
"""A text's slots are learnt from so many others, those that share most grams with it."""
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
    """A hit: the number of the evaluation text, the share of its tokens that is there, and where
    others stand in the place of some (both not empty), those that are lacking and those others."""

    number: int
    share: float
    lacking: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def replaced(self) -> bool:
        """Whether something stands in the place of something else."""
        return bool(self.lacking and self.extra)


def slots_of_hits(hits: Iterable[TextHit]) -> set[tuple[int, str]]:
    """The slots that captions show, as numbers of evaluation texts with a token: those in whose
    place there are two others."""
    fillers: dict[tuple[int, str], set[tuple[str, ...]]] = {}
    for hit in hits:
        for token in hit.lacking if hit.replaced else ():
            fillers.setdefault((hit.number, token), set()).add(tuple(sorted(hit.extra)))
    return {slot for slot, found in fillers.items() if len(found) > 1}


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
        self._slots: dict[int, frozenset[str]] = {}
        self.looked_for = int((self._counts > 0).sum())

    def find(self, captions: Sequence[str | None]) -> list[TextHit | None]:
        """The evaluation text that each caption holds, the one that is there the most; None where
        it holds none."""
        found: list[TextHit | None] = [None] * len(captions)
        tokens = [tokens_of(caption or "") for caption in captions]
        for here, number, _ in self._near(tokens):
            hit, best = compare(number, self._tokens[number], tokens[here]), found[here]
            worse = best is not None and _order(hit) <= _order(best)
            if hit.share >= _THERE and not worse and self._is_same(hit):
                found[here] = hit
        return found

    def _near(self, tokens: Sequence[tuple[str, ...]]) -> list[tuple[int, int, int]]:
        """Texts, and evaluation texts many of whose grams they have; with the number of these, in
        order."""
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
        enough = shared >= _SHARED * self._counts[text]
        return [*zip(*(x[enough].tolist() for x in (row, text, shared)), strict=True)]

    def _is_same(self, hit: TextHit) -> bool:
        """Whether what was replaced, if anything, may be what says the same."""
        text, most = self._tokens[hit.number], _REPLACED * len(self._tokens[hit.number])
        return not hit.replaced or (
            len(text) >= (_LONG_CHARACTERS if is_unspaced(text) else _LONG_WORDS)
            and len(hit.lacking) <= most
            and len(hit.extra) <= most + 1
            and not any(token.isdigit() for token in (*hit.lacking, *hit.extra))
            and self._slots_of(hit.number).isdisjoint(hit.lacking)
        )

    def _slots_of(self, number: int) -> frozenset[str]:
        """The tokens of a text in whose place other evaluation texts have others."""
        if number not in self._slots:
            text, slots = self._tokens[number], set[str]()
            near = sorted((-shared, other) for _, other, shared in self._near([text]))
            for _, other in near[: _MOST_BESIDE + 1]:
                matcher = SequenceMatcher(None, text, self._tokens[other], autojunk=False)
                for change, start, end, _, _ in matcher.get_opcodes():
                    if change == "replace":
                        slots.update(text[start:end])
            self._slots[number] = frozenset(slots)
        return self._slots[number]


def _order(hit: TextHit) -> tuple[bool, float]:
    return not hit.replaced, hit.share


def compare(number: int, text: Sequence[str], caption: Sequence[str]) -> TextHit:
    """Compare an evaluation text of some number with a caption.

    What the caption has before and behind the text does not count; words that are misspelt or cut
    off are there.
    """
    if f" {' '.join(text)} " in f" {' '.join(caption)} ":
        return TextHit(number, 1.0)
    matcher = SequenceMatcher(None, text, caption, autojunk=False)
    blocks = matcher.get_matching_blocks()[:-1]
    if not blocks:
        return TextHit(number, 0.0)
    first, last = blocks[0], blocks[-1]
    rest = len(text) - last.a - last.size
    # Next to the span, as many tokens as the text has beyond it may stand in their place.
    span = caption[max(0, first.b - first.a) : last.b + last.size + rest]
    if len(caption) <= len(text):  # the end may be in front
        span = caption
    balance = Counter(text)
    balance.subtract(span)
    extra = [token for token, count in balance.items() for _ in range(-count)]
    lacking = [token for token, count in balance.items() for _ in range(count)]
    for token in [*extra]:
        cut = rest and token == caption[-1]
        near = next((one for one in lacking if _is_misspelt(one, token)), None) or next(
            (one for one in lacking if cut and one in text[-rest:] and one.startswith(token)), None
        )
        if near is not None:
            lacking.remove(near)
            extra.remove(token)
    return TextHit(number, 1 - len(lacking) / len(text), tuple(lacking), tuple(extra))


def _is_misspelt(one: str, other: str) -> bool:
    if min(len(one), len(other)) < _LEAST_MISSPELT or one.isdigit() or other.isdigit():
        return False
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE
