"""Labelled captions in 26 languages: groups of near-copies of 13 kinds, among look-alikes that must
stay apart.

Made from `benchmarks/data/near_captions.yaml`, whose lists have a half for development and a half
that is held out; no rule or threshold was chosen by the second.
"""

import random
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent / "data" / "near_captions.yaml"
SCRIPTS = {
    "ru": "Cyrillic", "uk": "Cyrillic", "el": "Greek", "ar": "Arabic", "fa": "Arabic",
    "he": "Hebrew", "hi": "Devanagari", "bn": "Bengali", "ta": "Tamil", "th": "Thai",
    "ko": "Hangul", "ja": "Japanese", "zh": "Han",
}  # fmt: skip
"""The scripts of languages that are not written in Latin letters."""
UNSPACED = ("th", "ja", "zh")


@dataclass(frozen=True)
class Labelled:
    """A caption: those of one group say the same. `kind` is `base` for the first of a group."""

    caption: str
    group: int
    kind: str
    language: str
    family: str

    @property
    def script(self) -> str:
        """The script of the language."""
        return SCRIPTS.get(self.language, "Latin")


Base = tuple[str, str, tuple[str, ...], list[str]]


def labelled_captions(held_out: bool | None, seed: int = 0, data: Path = DATA) -> list[Labelled]:
    """One half of a set, or all of it where it has no halves (None), in an order that says
    nothing."""
    parts = yaml.safe_load(data.read_text(encoding="utf-8"))
    drawn = random.Random(seed)
    found: list[Labelled] = []
    group, known = 0, set[str]()
    for language, lists in parts.items():
        half = {name: _half(list(map(_text, texts)), held_out) for name, texts in lists.items()}
        for family, base, filled, kinds in _bases(half, drawn):
            if base in known:  # "barco azul" is Spanish and Portuguese
                continue
            known.add(base)
            found.append(Labelled(base, group, "base", language, family))
            for kind in kinds:
                copy = _KINDS[kind](base, half, language, drawn)
                whole = kind not in ("dropped", "truncated") or all(word in copy for word in filled)
                if copy and whole and (copy != base or kind == "exact"):
                    found.append(Labelled(copy, group, kind, language, family))
            group += 1
    drawn.shuffle(found)
    return found


def _text(value: Any) -> Any:
    return list(map(str, value)) if isinstance(value, list) else str(value)


def _half(texts: list[Any], held_out: bool | None) -> list[Any]:
    if held_out is None:
        return texts
    half = len(texts) // 2
    return texts[half:] if held_out else texts[:half]


def _bases(half: dict[str, list[Any]], drawn: random.Random) -> Iterator[Base]:
    """Bases of families that look alike: (family, text, words by which it differs from its family,
    kinds of copies to be made of it)."""
    nouns, adjectives, places = half["nouns"], half["adjectives"], half["places"]
    for text in half["written"]:
        yield "written", text, (), [*_KINDS]
    for frame in half["frames"]:
        fills = [(noun, adjectives[0], places[0]) for noun in nouns]  # one word differs
        fills += [(noun, drawn.choice(adjectives[1:]), drawn.choice(places[1:])) for noun in nouns]
        for n, a, p in dict.fromkeys(fills):
            yield "frame", frame.format(n=n, a=a, p=p), (n, a, p), drawn.sample([*_KINDS], 3)
    milder = [kind for kind in _KINDS if kind not in ("replaced", "truncated", "dropped")]
    for frame in half["shop"]:
        for noun in nouns:
            yield "shop", frame.format(n=noun), (noun,), drawn.sample(milder, 2)
    for frame in half["numbers"]:
        for n in range(6):
            text = frame.format(d=2 + n % 3, e=15 + 7 * n, p=places[n % 2])
            yield "numbers", text, (), drawn.sample(milder, 2)
    for pair in half["short"]:
        for text in pair:
            yield "short", text, (), ["punctuation", "case"]


def _cut(text: str, language: str) -> tuple[list[str], str]:
    """A text's words, or its characters where there are no spaces; and what joins them."""
    return (list(text), "") if language in UNSPACED else (text.split(" "), " ")


def _swapped(text: str, half: dict[str, list[Any]], language: str, drawn: random.Random) -> str:
    words, space = _cut(text, language)
    if space:
        at = drawn.randrange(len(words) - 1)
        words[at : at + 2] = words[at + 1], words[at]
    else:  # the end comes first, as a heading does
        at = drawn.randrange(len(words) // 3, 2 * len(words) // 3)
        words = [*words[at:], " ", *words[:at]]
    return space.join(words)


def _replaced(text: str, half: dict[str, list[Any]], language: str, drawn: random.Random) -> str:
    for old, new in half["swap"]:
        if old in text:
            return text.replace(old, new, 1)
    return ""


def _dropped(text: str, half: dict[str, list[Any]], language: str, drawn: random.Random) -> str:
    words, space = _cut(text, language)
    at = drawn.randrange(len(words) - 1)
    del words[at : at + (1 if space else 2)]
    return space.join(words)


def _typo(text: str, half: dict[str, list[Any]], language: str, drawn: random.Random) -> str:
    words, space = _cut(text, language)
    if space:
        at = max(range(len(words)), key=lambda i: len(words[i]))
        inside = drawn.randrange(1, len(words[at]) - 1)
        words[at] = words[at][:inside] + words[at][inside + 1 :]
    else:
        letters = [i for i, letter in enumerate(words) if letter.isalpha()]
        at = drawn.choice(letters[1:-1])
        words[at] = words[drawn.choice(letters)]
    return space.join(words)


def _truncated(text: str, half: dict[str, list[Any]], language: str, drawn: random.Random) -> str:
    return text[: int(len(text) * drawn.uniform(0.7, 0.85))].rstrip() + "…"


def _accents(text: str, half: dict[str, list[Any]], language: str, drawn: random.Random) -> str:
    apart = unicodedata.normalize("NFD", text)
    bare = "".join(letter for letter in apart if not 0x300 <= ord(letter) <= 0x36F)
    return unicodedata.normalize("NFC", bare)


def _punctuation(text: str, half: dict[str, list[Any]], language: str, drawn: random.Random) -> str:
    return text.replace(",", " -").replace("，", " ").replace("、", "・") + drawn.choice("!.")


def _spacing(text: str, half: dict[str, list[Any]], language: str, drawn: random.Random) -> str:
    digits = {ord(digit): 0xFF10 + int(digit) for digit in "0123456789"}
    return text.translate(digits).replace(" ", "\u2009", 2) + "\u200b"


Change = Callable[[str, dict[str, list[Any]], str, random.Random], str]
_KINDS: dict[str, Change] = {
    "exact": lambda text, half, language, drawn: text,
    "case": lambda text, half, language, drawn: drawn.choice([text.upper(), text.lower()]),
    "punctuation": _punctuation,
    "spacing": _spacing,
    "quoted": lambda text, half, language, drawn: f"“{text}”.",
    "accents": _accents,
    "swapped": _swapped,
    "tail": lambda text, half, language, drawn: f"{text} {half['tail'][0]}",
    "head": lambda text, half, language, drawn: f"{half['tail'][0].lstrip('|-｜－ ')} » {text}",
    "replaced": _replaced,
    "dropped": _dropped,
    "typo": _typo,
    "truncated": _truncated,
}


@dataclass(frozen=True)
class Score:
    """How well duplicates were found: of the copies, how many; of what was found, how much rightly;
    and of the groups, how many are gone whole."""

    recall: float
    precision: float
    lost: float
    found_of: dict[str, tuple[int, int]]


def score(captions: list[Labelled], kept_of: list[int], by: Callable[[Labelled], str]) -> Score:
    """Score a result.

    Args:
        captions: The set.
        kept_of: For each caption the number of the one that is kept in its stead, or its own.
        by: Names the part of the set that a caption belongs to.
    """
    sizes: dict[int, int] = {}
    stays: dict[int, int] = {}  # a caption of each group that is left: the base, if it is
    right = [
        kept_of[i] != i and captions[kept_of[i]].group == one.group
        for i, one in enumerate(captions)
    ]
    for i, one in enumerate(captions):
        sizes[one.group] = sizes.get(one.group, 0) + 1
        if kept_of[i] == i and (one.group not in stays or one.kind == "base"):
            stays[one.group] = i
    found: dict[str, tuple[int, int]] = {}
    for i, one in enumerate(captions):
        if one.kind != "base":
            hit, of = found.get(by(one), (0, 0))
            found[by(one)] = hit + (right[i] or stays.get(one.group) == i), of + 1
    removed = sum(kept != i for i, kept in enumerate(kept_of))
    copies = sum(size - 1 for size in sizes.values())
    return Score(
        sum(right) / copies,
        sum(right) / max(1, removed),
        1 - len(stays) / len(sizes),
        found,
    )
