"""Prepositions of one or more words, found by their words rather than by their parse.

A parser sees "on top of the car" as a preposition with an object "top" that has a preposition of
its own, and "next to" as an adjective or adverb. Here both are one unit with a host and an object.
"""

from dataclasses import dataclass

from septet.preprocess.scene_graphs.sentence import Sentence
from septet.preprocess.scene_graphs.words import COMPLEX_PREPOSITIONS, PREPOSITIONS

_BY_FIRST: dict[str, list[tuple[str, ...]]] = {}
for _phrase in COMPLEX_PREPOSITIONS:
    _BY_FIRST.setdefault(_phrase[0], []).append(_phrase)


@dataclass(frozen=True)
class Preposition:
    """Tokens [start, end) that are one preposition."""

    start: int
    end: int
    lemma: str
    head: int
    """The token that the parse hangs it on."""
    object: int | None
    """The token that the parse gives it as object; None where it gives none."""
    clause: bool
    """Whether a clause follows it ("after scoring a goal")."""


def find_prepositions(sentence: Sentence) -> list[Preposition]:
    """All prepositions of a caption, in order; phrases of several words before single ones."""
    found, i, count = [], 0, len(sentence)
    while i < count:
        end = _phrase_end(sentence, i)
        if end:
            found.append(_unit(sentence, i, end))
            i = end
        else:
            i += 1
    return found


def _phrase_end(sentence: Sentence, i: int) -> int | None:
    lower = sentence.lower
    for phrase in _BY_FIRST.get(lower[i], ()):
        end = i + len(phrase)
        if end <= len(sentence) and tuple(lower[i:end]) == phrase:
            opens = len(phrase) > 1 and phrase[0] in ("left", "right")
            if opens and i and sentence.lower[i - 1] in ("the", "a"):
                continue  # "the right of way"
            return end
    if lower[i] in PREPOSITIONS and sentence.deps[i] in ("prep", "agent", "advmod", "dative"):
        simple = sentence.deps[i] in ("prep", "agent") or sentence.has(i, "pobj")
        return i + 1 if simple else None
    if lower[i] in PREPOSITIONS and sentence.has(i, "pobj"):
        return i + 1
    return None


def _unit(sentence: Sentence, start: int, end: int) -> Preposition:
    inside = range(start, end)
    outer = [i for i in inside if sentence.heads[i] not in inside or sentence.heads[i] == i]
    head = sentence.heads[outer[0]] if outer else start
    objects = [
        child
        for i in inside
        for child in sentence.children[i]
        if child >= end and sentence.deps[child] in ("pobj", "dobj", "nsubj", "attr", "npadvmod")
    ]
    lemma = " ".join(sentence.lower[start:end])
    clause = any(sentence.has(i, "pcomp") for i in inside)
    return Preposition(start, end, lemma, head, objects[0] if objects else None, clause)
