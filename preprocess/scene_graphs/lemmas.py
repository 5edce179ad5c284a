"""Lemmas by WordNet's rules, from the tables that spaCy's English pipelines carry.

The algorithm is WordNet's `morphy`: exceptions first, then endings that are taken off when what
is left is a known word. Two things differ from spaCy's own: the answer depends on word and tag
alone, so it is looked up once, and of several known words the one that English spelling allows is
taken ("riding" is a form of "ride"; a form of "rid" would be "ridding").
"""

from collections.abc import Mapping, Sequence
from typing import Any

from septet.preprocess.scene_graphs.words import words

_POS = {"N": "noun", "V": "verb", "J": "adj", "R": "adv"}
_BASE = frozenset({"NN", "NNP", "VB", "VBP", "JJ", "RB"})
PLURALS = words(
    """sunglasses clothes scissors pants jeans shorts trousers tights leggings overalls goggles
    headphones earphones binoculars pliers pajamas pyjamas media fireworks"""
)
"""Nouns that have no singular, whatever the tables say."""
_VOWELS = frozenset("aeiou")


class Lemmas:
    """Lemmas of words with their Penn tags."""

    def __init__(
        self,
        rules: Mapping[str, Sequence[tuple[str, str]]],
        index: Mapping[str, Any],
        exceptions: Mapping[str, Mapping[str, Sequence[str]]],
    ):
        """Tables by part of speech (noun, verb, adj): endings with what replaces them, known
        words, exceptions."""
        self._rules, self._exceptions = rules, exceptions
        self._index = {pos: frozenset(words) for pos, words in index.items()}
        self._known: dict[tuple[str, str], str] = {}

    @classmethod
    def of_pipeline(cls, nlp: Any) -> "Lemmas":
        """The tables of a spaCy pipeline's lemmatizer.

        Raises:
            ValueError: it has none.
        """
        names = ("lemma_rules", "lemma_index", "lemma_exc")
        lookups = nlp.get_pipe("lemmatizer").lookups if nlp.has_pipe("lemmatizer") else None
        if lookups is None or not all(lookups.has_table(name) for name in names):
            raise ValueError(
                f"spaCy pipeline {nlp.meta.get('name')!r} has no tables of lemma rules; use an "
                "English pipeline with a lemmatizer of mode `rule`, such as en_core_web_sm"
            )
        tables = []
        for name in names:
            table = lookups.get_table(name)
            tables.append({pos: table.get(pos, {}) for pos in ("noun", "verb", "adj", "adv")})
        return cls(*tables)

    def __call__(self, word: str, tag: str) -> str:
        """The lemma of a lower-cased word; the word itself where no rule applies."""
        known = self._known.get((word, tag))
        if known is None:
            known = self._find(word, tag)
            if len(self._known) < 500_000:
                self._known[word, tag] = known
        return known

    def knows(self, word: str, pos: str) -> bool:
        """Whether WordNet has the word as a noun, verb, adj or adv."""
        return word in self._index.get(pos, ())

    def _find(self, word: str, tag: str) -> str:
        pos = _POS.get(tag[:1])
        if pos is None:
            return word
        if pos == "noun" and word in PLURALS:
            return word
        irregular = self._exceptions.get(pos, {}).get(word)
        if irregular:
            return str(irregular[0])
        if tag in _BASE and (tag != "VBP" or word in self._index.get(pos, ())):
            return word
        found = [
            word[: len(word) - len(ending)] + instead
            for ending, instead in self._rules.get(pos, ())
            if word.endswith(ending) and len(word) > len(ending)
        ]
        known = [form for form in found if form in self._index.get(pos, ())]
        if not known and self.knows(word, pos):
            return word
        if len(known) > 1 and tag in ("VBG", "VBN", "VBD"):
            known = [form for form in known if not _would_double(form, word)] or known
        return str((known or found or [word])[0])


def _would_double(form: str, word: str) -> bool:
    """Whether a verb doubles its last letter before "-ing" and "-ed", and `word` does not."""
    if len(form) < 3 or not word.startswith(form) or word.startswith(form + form[-1]):
        return False
    before, vowel, last = form[-3], form[-2], form[-1]
    return (
        last not in _VOWELS | set("wxy")
        and vowel in _VOWELS
        and before not in _VOWELS
        and sum(letter in _VOWELS for letter in form) == 1
    )
