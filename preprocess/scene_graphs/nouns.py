"""The nouns of a caption: which words name things, what stands for what, and how things are
described."""

from collections.abc import Iterator

from septet.preprocess.scene_graphs.lemmas import Lemmas
from septet.preprocess.scene_graphs.numerals import (
    ABOUT,
    AFTER,
    SCALES,
    is_numeral,
    numeral,
    numeral_at,
)
from septet.preprocess.scene_graphs.prepositions import Preposition
from septet.preprocess.scene_graphs.sentence import Sentence
from septet.preprocess.scene_graphs.words import (
    COLOURS,
    INVARIANT,
    MEDIA,
    NOTHING,
    QUANTIFIERS,
    QUANTITIES,
    words,
)

_HEADS = words("nsubj nsubjpass dobj pobj attr conj ROOT appos dative oprd acomp dep")
"""Dependencies of a phrase's head, believed before its tag where a determiner opens the phrase."""


class Nouns:
    """The things that a caption names. A thing is known by the token of its head noun."""

    def __init__(self, sentence: Sentence, prepositions: list[Preposition], lemmas: Lemmas):
        self._sentence = sentence
        self._lemma = lemmas
        self.inside = {i for unit in prepositions for i in range(unit.start, unit.end)}
        """Tokens of prepositions."""
        named = [i for i in range(len(sentence)) if self._names(i)]
        self.lemmas = {i: self._head_lemma(i) for i in named}
        self._alias = self._demoted(prepositions)
        self.heads = [i for i in named if i not in self._alias]

    def _names(self, i: int) -> bool:
        sentence = self._sentence
        dep = sentence.deps[i]
        if i in self.inside or not _is_word(sentence.words[i]):
            return False
        if sentence.lower[i] in NOTHING or self._counts(i):
            return False
        if not sentence.is_noun(i):
            mistagged = sentence.is_adjective(i) or sentence.is_verb(i)
            return mistagged and dep in _HEADS and sentence.has(i, "det", "poss", "amod")
        if dep in ("compound", "amod", "nmod", "aux", "meta"):
            return False
        if self.acts(i):
            return False
        head = sentence.heads[i]
        if dep == "npadvmod" and head > i:
            return sentence.is_noun(head)
        if dep in ("attr", "acomp", "oprd", "conj") and sentence.lower[i] in COLOURS:
            return sentence.has(i, "det")
        return True

    def _counts(self, i: int) -> bool:
        """Whether a numeral stands before what it counts: "a dozen eggs"."""
        sentence = self._sentence
        return sentence.lower[i] in SCALES and sentence.tags[i + 1 : i + 2] in (["NNS"], ["NNPS"])

    def acts(self, i: int) -> bool:
        """Whether a token that is tagged as a noun has a subject, so is a verb."""
        sentence = self._sentence
        if not sentence.is_noun(i) or sentence.has(i, "det", "amod", "poss", "nummod"):
            return False
        return any(
            subject < i and not sentence.has(i, "cop")
            for subject in sentence.of(i, "nsubj", "nsubjpass")
        )

    def _head_lemma(self, i: int) -> str:
        tag = self._sentence.tags[i]
        return self._lemma(self._sentence.lower[i], tag if tag.startswith("NN") else "NN")

    def _demoted(self, prepositions: list[Preposition]) -> dict[int, int]:
        """ "a picture of", "a lot of": the token of the thing that is really meant, by the token
        of the noun that is not a thing."""
        alias = {}
        for unit in prepositions:
            noun = unit.head
            if unit.lemma == "of" and unit.object is not None and noun < unit.start:
                known = self.lemmas.get(noun)
                if known in MEDIA or known in QUANTITIES:
                    alias[noun] = unit.object
        return alias

    def demoted(self, i: int) -> bool:
        """Whether the noun at `i` stands for another one."""
        return i in self._alias

    def resolve(self, i: int) -> int | None:
        """The head of the phrase that token `i` belongs to; None where it is no thing."""
        sentence, seen = self._sentence, set()
        while i not in seen:
            seen.add(i)
            if i in self._alias:
                i = self._alias[i]
            elif i in self.lemmas:
                return i
            elif sentence.deps[i] in ("compound", "nmod") and sentence.heads[i] != i:
                i = sentence.heads[i]
            else:
                return None
        return None

    def members(self, i: int) -> list[int]:
        """Find the things that a noun phrase names: its head and what is coordinated with it."""
        sentence = self._sentence
        first = self.resolve(i)
        found = [] if first is None else [first]
        for start in {i} if first is None else {i, first}:
            for other in (*sentence.of(start, "conj"), *self._listed(start)):
                if not self._own_clause(other):
                    found += [m for m in self.members(other) if m not in found]
        return sorted(found)

    def _listed(self, i: int) -> list[int]:
        """Find what parsers take for appositions in lists: "a lamp" in "a computer, a lamp, and
        some books", with what is joined to what the list hangs on."""
        sentence = self._sentence
        found = [j for j in sentence.of(i, "appos") if j in self.lemmas]
        if not found:
            return []
        last = max(found)
        rest = sentence.lower[last + 1 :]
        if "and" not in rest and "&" not in rest:
            return []
        host = sentence.heads[sentence.heads[i]] if sentence.deps[i] == "pobj" else i
        late = [j for j in sentence.of(host, "conj") if j > last and j in self.lemmas]
        return found + late if host != i else found

    def _own_clause(self, i: int) -> bool:
        """Whether a conjunct opens a phrase with a clause of its own, as in "a man wearing
        sunglasses and a woman holding an umbrella", or comes "also": then it does not share the
        first one's role."""
        sentence = self._sentence
        if "also" in sentence.lower[sentence.heads[i] : i]:
            return True
        if sentence.deps[sentence.heads[i]] not in ("dobj", "pobj", "conj"):
            return False
        return sentence.has(i, "det", "nummod") and sentence.has(i, "acl", "relcl")

    def span(self, head: int) -> list[int]:
        """Tokens of a thing's name: compounds and head, with hyphens between."""
        sentence = self._sentence
        tokens = {head, *self._compounds(head)}
        for i in range(min(tokens), head):
            if sentence.words[i] in ("-", "&", "'s", "of") and {i - 1, i + 1} <= tokens:
                tokens.add(i)
        return sorted(tokens)

    def _compounds(self, i: int) -> Iterator[int]:
        for child in self._sentence.of(i, "compound", "nmod", "amod"):
            if child < i and not self._describes(child) and self._is_name(child):
                yield child
                yield from self._compounds(child)

    def _is_name(self, i: int) -> bool:
        gerund = self._sentence.tags[i] == "VBG"  # "dining table"
        return gerund or self._sentence.is_noun(i)

    def _describes(self, i: int) -> bool:
        sentence = self._sentence
        dep, word = sentence.deps[i], sentence.lower[i]
        if dep in ("compound", "nmod"):
            if word in COLOURS or sentence.is_adjective(i):
                return True
            if sentence.tags[i] == "VBG" and self._lemma.knows(word, "adj"):
                return True
            return self._lemma.knows(word, "adj") and not self._lemma.knows(word, "noun")
        if dep != "amod":
            return False
        name = sentence.is_noun(i) and self._lemma.knows(word, "noun")
        return not name or self._lemma.knows(word, "adj") or word in COLOURS

    def adjectives(self, i: int) -> Iterator[int]:
        """Find the tokens that describe the noun at `i` within its phrase."""
        sentence = self._sentence
        for child in sentence.children[i]:
            dep = sentence.deps[child]
            if self._describes(child):
                if child > i and sentence.has(child, "prep"):
                    continue  # "a basket full of apples" is a relation
                if sentence.tags[child] != "CD" and child not in self.inside:
                    yield from self.coordinated(child)
            elif dep in ("compound", "nmod", "amod"):
                yield from self.adjectives(child)

    def coordinated(self, i: int) -> Iterator[int]:
        """An adjective and those that are joined to it, without quantifiers."""
        sentence = self._sentence
        if sentence.lower[i] not in QUANTIFIERS:
            yield i
        for other in sentence.of(i, "conj", "amod"):
            adjective = sentence.is_adjective(other) or sentence.lower[other] in COLOURS
            if adjective or sentence.tags[other] in ("VBN", "VBG"):
                yield from self.coordinated(other)

    def numbers(self, i: int) -> Iterator[tuple[range, int]]:
        """Find the numeral of the noun at `i`: tokens and value."""
        sentence = self._sentence
        many = sentence.tags[i] in ("NNS", "NNPS") or sentence.lower[i] in INVARIANT
        done = -1
        for child in sentence.of(i, "nummod", "compound", "nmod", "amod", "det", "quantmod"):
            if child < i and child >= done and is_numeral(sentence.lower[child]):
                tokens = numeral_at(sentence.lower, child)
                value = self._value(tokens)
                if value is not None and tokens.stop <= i and many == (value != 1):
                    yield tokens, value
                done = tokens.stop

    def _value(self, tokens: range) -> int | None:
        """The value of a numeral that says how many there are, exactly: no year, no measure, no
        name's number."""
        sentence = self._sentence
        first, after = tokens.start, tokens.stop
        lower = sentence.lower
        if first and (lower[first - 1] in ABOUT or lower[first - 2 : first] == ["up", "to"]):
            return None
        shares = [word for word in lower[max(first - 3, 0) : first] if word != "out"]
        if shares[-1:] in (["of"], ["in"]) and any(map(is_numeral, shares[:-1])):
            return None
        if set(lower[after : after + 1]) & AFTER or lower[after : after + 3] == [
            "and",
            "a",
            "half",
        ]:
            return None
        if first and sentence.is_noun(first - 1) and lower[first] != "a":
            return None
        value = numeral(lower[first:after])
        if value is not None and 1900 <= value < 2100 and sentence.words[first].isdigit():
            return None
        return value

    def before(self, i: int) -> int | None:
        """Find the nearest thing to the left of token `i`."""
        return max((head for head in self.heads if head < i), default=None)

    def after(self, i: int) -> int | None:
        """Find the nearest thing from token `i` on that no verb or sentence's end parts from it."""
        sentence = self._sentence
        for j in range(i, len(sentence)):
            if j in self.lemmas:
                return self.resolve(j)
            if sentence.words[j] in ".;!?" or sentence.tags[j] in ("VBZ", "VBP", "VBD", "PRP"):
                return None
        return None


def _is_word(word: str) -> bool:
    """Whether a token can name a thing: it has a letter, and is no address or list of ways."""
    letters = sum(map(str.isalpha, word.removesuffix("s")))
    return bool(letters) and "/" not in word and "@" not in word
