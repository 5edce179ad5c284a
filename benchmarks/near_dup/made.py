"""Captions with planted copies, in English and in Chinese words."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

KINDS = ("exact", "case", "replaced", "appended", "swapped")
_HOT = 200


@dataclass(frozen=True)
class Made:
    """Captions in an order that says nothing; `group` int64 [n] numbers what each is a copy of (or
    itself), `kind` int8 [n] says which of `KINDS` it is, -1 for none."""

    captions: pa.Array
    group: np.ndarray
    kind: np.ndarray


def made_captions(rows: int, language: str, seed: int = 7, piece: int = 0) -> Made:
    """So many captions of 10.8 words on average, a fifth of them copies of others.

    Words are drawn as they are in texts, the r-th word as often as 1 / (r + 2.7). A tenth of the
    copies are of 200 hot captions.

    Args:
        rows: Number of captions.
        language: `en` (words of Latin letters with spaces) or `zh` (words of one and two
            ideographs without).
        seed: Another one gives other words and captions.
        piece: Another one gives other captions of the same words.
    """
    random = np.random.default_rng(seed)
    words, space = _words(language, random)
    if piece:
        random = np.random.default_rng([seed, piece])
    copies = rows // 5
    bases = rows - copies
    share = 1 / (np.arange(len(words)) + 2.7)
    ends = np.cumsum(share / share.sum())
    lengths = random.integers(7, 15, bases)
    drawn = np.searchsorted(ends, random.random(lengths.sum()))
    each = np.split(np.minimum(drawn, len(words) - 1), np.cumsum(lengths)[:-1])
    of = random.integers(0, bases, copies)
    hot = random.random(copies) < 0.1
    of[hot] = random.integers(0, min(_HOT, bases), hot.sum())
    kinds = random.integers(0, len(KINDS), copies).astype(np.int8)
    fresh = np.minimum(np.searchsorted(ends, random.random(copies)), len(words) - 1)
    places = random.random(copies)
    texts = [space.join([words[i] for i in one]) for one in each]
    for base, kind, word, place in zip(of, kinds, fresh, places, strict=True):
        texts.append(_copy([words[i] for i in each[base]], KINDS[kind], words[word], place, space))
    order = random.permutation(rows)
    return Made(
        pa.array(texts).take(pa.array(order)),
        np.concatenate([np.arange(bases), of])[order],
        np.concatenate([np.full(bases, -1, np.int8), kinds])[order],
    )


def _words(language: str, random: np.random.Generator) -> tuple[list[str], str]:
    if language == "zh":
        singles = [chr(0x4E00 + i) for i in random.permutation(6000)[:3500]]
        pairs = [singles[a] + singles[b] for a, b in random.integers(0, 3500, (30_000, 2))]
        words = [*singles[:500], *pairs]
        random.shuffle(words)
        return words, ""
    consonants, vowels = list("bcdfghklmnprstvz"), list("aeiou")
    parts = [consonant + vowel for consonant in consonants for vowel in vowels]
    lengths = random.integers(1, 5, 60_000)
    drawn = np.split(random.integers(0, len(parts), lengths.sum()), np.cumsum(lengths)[:-1])
    words = ["".join([parts[i] for i in one]) for one in drawn]
    return list(dict.fromkeys(words))[:40_000], " "


def _copy(words: list[str], kind: str, word: str, place: float, space: str) -> str:
    at = int(place * (len(words) - 1))
    if kind == "case":
        text = space.join(words)
        return text.title() if space else text + "。"
    if kind == "replaced":
        words[at] = word
    elif kind == "appended":
        words.append(word)
    elif kind == "swapped":
        words[at], words[at + 1] = words[at + 1], words[at]
    return space.join(words)
