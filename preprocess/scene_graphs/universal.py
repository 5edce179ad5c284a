"""Scene graphs by rules over Universal Dependencies, a language's words apart (`language`).

The same graph as English's rules make, with less in it: names are no objects, "de" is no relation,
and what hangs on a doubtful attachment, agrees with nothing, or may be denied is left out.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from septet.preprocess.scene_graphs.graph import (
    Attribute,
    Number,
    Object,
    Relation,
    SceneGraph,
    Spans,
    Unasserted,
)
from septet.preprocess.scene_graphs.language import Language
from septet.preprocess.scene_graphs.universal_doubts import UniversalDoubts, at, kind, of
from septet.preprocess.scene_graphs.words import words

_THINGS = words("nsubj obj iobj obl nmod conj ROOT appos xcomp parataxis dislocated dep")
"""Dependencies of words that can name a thing."""
_DIGITS = re.compile(r"\d{1,4}")
_BETWEEN = frozenset({"DET", "ADJ", "NUM"})


def universal_graph(
    doc: Any, caption: str, places: list[int] | None, language: Language
) -> SceneGraph:
    """Make the scene graph of a caption.

    Args:
        doc: spaCy's parse, with lemmas and morphology.
        caption: The caption as it is stored.
        places: The place in the caption of each character that was parsed; None where these are
            the same.
        language: The words of its language.
    """
    return _Rules(doc, caption, places, language).graph()


class _Rules:
    def __init__(self, doc: Any, caption: str, places: list[int] | None, language: Language):
        self.doc, self.caption, self.language = doc, caption, language
        self.lower = [token.lower_ for token in doc]
        self.starts = [token.idx if places is None else places[token.idx] for token in doc]
        self.plain = [language.contractions.get(word, word) for word in self.lower]
        self.units = list(self._complex())
        """Prepositions of several words: tokens, name, and the noun that they govern."""
        self.inside = {i for unit, _, _ in self.units for i in unit}
        self.placed = {thing.i for _, _, thing in self.units if thing is not None}
        self.named = self._names()
        self.things = [token for token in doc if self._is_thing(token)]
        self.ids = {token.i for token in self.things}
        self.stands = self._demoted()
        self.properties: set[tuple[int, int]] = set()
        """(thing, attribute)."""
        self.triples: dict[tuple[int, int, str], tuple[int, ...]] = {}
        self.spent: set[tuple[int, int]] = set()

    def graph(self) -> SceneGraph:
        doubts = UniversalDoubts(self.doc, self.lower, self.plain, self.language)
        heads = [token.i for token in self.things if token.i not in self.stands]
        position = {head: n for n, head in enumerate(h for h in heads if h not in doubts.things)}
        for token in self.doc:
            self._describes(token)
            if token.pos_ == "VERB":
                self._acts(token)
        for token in self.things:
            self._placed(token)
        for unit, name, thing in self.units:
            if thing is not None:
                self._place(self._host(unit, thing), thing, name, unit)
        objects = tuple(self._object(head) for head in position)
        unasserted = tuple(
            Unasserted(found.lemma, found.spans, found.text, why)
            for head in heads
            if (why := doubts.things.get(head)) and (found := self._object(head))
        )
        attributes = tuple(
            Attribute(self._said(self.doc[token]), self._spans([token]), position[head])
            for head, token in sorted(self.properties)
            if head in position and token not in doubts.scope
        )
        numbers = tuple(
            Number(" ".join(self.lower[i] for i in tokens), self._spans(tokens), position[head], n)
            for head in position
            for tokens, n in self._numbers(self.doc[head])
        )
        relations = [
            Relation(name, self._spans(tokens), position[subject], position[object_])
            for (subject, object_, name), tokens in self.triples.items()
            if subject in position and object_ in position and doubts.scope.isdisjoint(tokens)
        ]
        relations.sort(key=lambda r: (r.spans, r.subject, r.object, r.lemma))
        return SceneGraph(objects, attributes, numbers, tuple(relations), unasserted)

    def _spans(self, tokens: Iterable[int]) -> Spans:
        found: list[tuple[int, int]] = []
        for i in sorted(set(tokens)):
            start, end = self.starts[i], self.starts[i] + len(self.doc[i])
            if found and not self.caption[found[-1][1] : start].strip():
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
        return tuple(found)

    def _object(self, head: int) -> Object:
        spans = self._spans([head, *self.named.get(head, ())])
        text = " ".join(self.caption[start:end] for start, end in spans)
        return Object(self._lemma(self.doc[head]), spans, text)

    def _lemma(self, token: Any) -> str:
        word, lemma = token.lower_, token.lemma_.lower()
        if token.pos_ == "NOUN" and word.removesuffix("s") == lemma + "e" and lemma.endswith("é"):
            return lemma + "e"  # "mariée" is no form of "marié"
        if token.pos_ == "VERB" and not lemma.endswith(("er", "ir", "re")):
            for ending, instead in self.language.infinitives:
                if lemma.endswith(ending):
                    return lemma.removesuffix(ending) + instead
        return lemma

    def _said(self, token: Any) -> str:
        """An attribute's lemma: of participles the masculine singular."""
        word = str(token.lower_)
        if token.pos_ != "VERB":
            return self._lemma(token)
        if not word.endswith(self.language.participles):
            word = word.removesuffix("s")
        return word.removesuffix("e")

    def _complex(self) -> Iterator[tuple[list[int], str, Any]]:
        i = 0
        while i < len(self.doc):
            ahead = self.lower[i : i + 1] + self.plain[i + 1 :][:8]
            found = at(ahead, 0, self.language.complex_prepositions)
            if found:
                unit = list(range(i, i + len(found)))
                yield (
                    unit,
                    " ".join(found).replace(" - ", "-").replace("' ", "'"),
                    self._governed(unit[-1]),
                )
                i += len(found)
            else:
                i += 1

    def _governed(self, last: int) -> Any:
        """The noun behind a preposition."""
        for token in self.doc[last + 1 :]:
            if token.pos_ == "NOUN":
                return token
            if token.pos_ not in _BETWEEN:
                return None
        return None

    def _names(self) -> dict[int, list[int]]:
        found = {}
        for token in self.doc:
            if token.pos_ not in ("NOUN", "VERB"):
                continue
            for name in self.language.names:
                rest = self.lower[token.i + 1 : token.i + len(name)]
                if (token.lemma_.lower(), *rest) == name:
                    found[token.i] = list(range(token.i + 1, token.i + len(name)))
        return found

    def _is_thing(self, token: Any) -> bool:
        word = token.lower_
        if token.pos_ != "NOUN" or kind(token) not in _THINGS or token.i in self.inside:
            return False
        if sum(map(str.isalpha, word)) < 2 or set("/@") & set(word):
            return False
        if word in self.language.nobody and not of(token, "det", "nummod", "amod"):
            return False
        if any(token.i in rest for rest in self.named.values()) or self._is_colour(token):
            return False
        return token.lemma_.lower() not in self.language.no_things | self.language.absence

    def _is_colour(self, token: Any) -> bool:
        if token.lemma_.lower() not in self.language.colours or token.pos_ not in ("NOUN", "ADJ"):
            return False
        return not of(token, "det", "nummod", "case")

    def _demoted(self) -> dict[int, Any]:
        """What stands for a thing that names the image or a quantity, by that thing's token."""
        found: dict[int, Any] = {}
        language = self.language
        for token in self.things:
            lemma, after = self._lemma(token), self.plain[token.i + 1 : token.i + 2]
            if lemma not in language.media | language.quantities:
                continue
            if after == [language.of]:
                inner = self._governed(token.i + 1)
                found[token.i] = inner if inner is not None and inner.i in self.ids else None
            elif lemma in language.media and set(after) & language.media_before:
                found[token.i] = None
        return found

    def _resolve(self, token: Any) -> Any:
        """The thing that a noun names; None where it names none."""
        seen = set()
        while token is not None and token.i in self.stands and token.i not in seen:
            seen.add(token.i)
            token = self.stands[token.i]
        return token if token is not None and token.i in self.ids else None

    def _members(self, token: Any) -> list[Any]:
        """A thing and those joined to it."""
        found = [self._resolve(token)]
        for other in of(token, "conj"):
            if other.pos_ == "NOUN":
                found += self._members(other)
        return [thing for thing in found if thing is not None]

    def _plural(self, token: Any) -> bool | None:
        """Whether a word is a plural, by its spelling, which is surer than its morphology; None
        where it may be either."""
        ending = token.lower_.endswith(self.language.plurals)
        return None if ending and self._lemma(token).endswith(token.lower_[-1]) else ending

    def _agrees(self, token: Any, noun: Any) -> bool:
        mine, theirs = self._plural(token), self._plural(noun)
        return mine is None or theirs is None or mine == theirs

    def _described(self, token: Any) -> list[Any]:
        """The thing that an adjective behind or before a noun describes: the nearest that it
        agrees with, of those that hang on each other."""
        noun = token.head
        while noun.pos_ == "NOUN":
            if self._agrees(token, noun):
                found = self._resolve(noun)
                return [] if found is None else [found]
            if kind(noun) not in ("nmod", "amod", "conj") or noun.head.i > noun.i:
                break
            noun = noun.head
        return []

    def _participle(self, token: Any) -> bool:
        """Whether a verb is a past participle; of regular verbs, the spelling says so."""
        regular, endings = self.language.regular
        if self._lemma(token).endswith(regular):
            return bool(token.lower_.endswith(endings))
        return bool(self._said(token).endswith(self.language.irregular))

    def _describes(self, token: Any) -> None:
        """Find adjectives, participles and colours, and what they describe."""
        colour = self._is_colour(token)
        adjective = token.pos_ == "ADJ" or colour
        if not adjective and not (token.pos_ == "VERB" and self._participle(token)):
            return
        if token.lemma_.lower() in self.language.no_attributes or token.i in self.inside:
            return
        first = token
        while kind(first) == "conj" and (
            first.head.pos_ == token.pos_ or self._is_colour(first.head)
        ):
            first = first.head
        if of(first, "cop", "aux") and not of(first, "obj"):
            state = (
                adjective or any(c.dep_ == "aux:pass" for c in first.children) or of(first, "cop")
            )
            things = [m for s in of(first, "nsubj") for m in self._members(s)] if state else []
            if any(c.dep_ == "obl:agent" and self._has_agent(c) for c in first.children):
                things = []
        elif kind(first) in ("amod", "acl") or (
            colour and kind(first) in ("nmod", "appos", "conj", "dep")
        ):
            things = [] if of(first, "obj") else self._described(first)
        else:
            things = []
        for thing in things:
            if self._agrees(token, thing) or len(things) > 1 or first is not token:
                self.properties.add((thing.i, token.i))

    def _has_agent(self, token: Any) -> bool:
        return any(self.plain[c.i] in self.language.agents for c in of(token, "case"))

    def _subjects(self, verb: Any) -> list[Any]:
        for subject in of(verb, "nsubj"):
            if "Rel" in subject.morph.get("PronType"):
                break
            return self._members(subject) if subject.pos_ == "NOUN" else []
        if "Inf" in verb.morph.get("VerbForm"):
            return []
        if kind(verb) in ("acl", "amod") and verb.head.pos_ == "NOUN":
            thing = self._resolve(verb.head)
            return [] if thing is None else [thing]
        if kind(verb) == "conj" and verb.head.pos_ == "VERB":
            return self._subjects(verb.head)
        return []

    def _objects(self, verb: Any) -> list[Any]:
        found: list[Any] = []
        for child in of(verb, "obj"):
            if "Rel" in child.morph.get("PronType") and kind(verb) == "acl":
                thing = self._resolve(verb.head)
                found += [] if thing is None else [thing]
            elif child.pos_ == "NOUN" and not of(child, "case"):
                found += self._members(child)
        return [thing for thing in found if thing.i not in self.placed]

    def _acts(self, verb: Any) -> None:
        """Find verbs with objects, and passive ones with an agent."""
        for child in of(verb, "obl"):
            if self._participle(verb) and self._has_agent(child) and child.pos_ == "NOUN":
                patients = self._subjects(verb)
                case = of(child, "case")[0].i
                self._relate(self._members(child), patients, self._lemma(verb), [verb.i, case])
                return
        if self._participle(verb) and (kind(verb) in ("acl", "amod") or self._passive(verb)):
            return
        subjects = self._subjects(verb)
        if self._relate(subjects, self._objects(verb), self._lemma(verb), [verb.i]):
            self.spent |= {(verb.i, subject.i) for subject in subjects}

    def _passive(self, verb: Any) -> bool:
        return any(child.dep_ in ("aux:pass", "nsubj:pass", "cop") for child in verb.children)

    def _relate(
        self, subjects: Sequence[Any], objects: Sequence[Any], name: str, tokens: Sequence[int]
    ) -> bool:
        pairs = [(s.i, o.i) for s in subjects for o in objects if s.i != o.i]
        for subject, object_ in pairs:
            self.triples.setdefault((subject, object_, name), tuple(tokens))
        return bool(pairs)

    def _placed(self, thing: Any) -> None:
        """Find the preposition of a thing and what it places."""
        cases = [case for case in of(thing, "case") if case.i < thing.i]
        first = thing
        if kind(thing) == "conj" and thing.head.i in self.ids and cases:
            first = thing.head  # "à la vanille et au chocolat"
        if not cases or kind(first) not in ("nmod", "obl") or cases[0].i in self.inside:
            return
        name = self.plain[cases[0].i]
        if name not in self.language.prepositions or thing.i in self.placed:
            return
        if name in self.language.purpose and self._bare(thing, cases[0].i):
            behind = first.head.i == cases[0].i - 1
            if not behind or (name not in self.language.states and first.head.pos_ == "NOUN"):
                return
        self._place(first.head, thing, name, [cases[0].i])

    def _bare(self, thing: Any, case: int) -> bool:
        """Whether a preposition and a singular stand without article."""
        article = of(thing, "det", "nummod", "amod") or self.plain[case] != self.lower[case]
        return not article and not self._plural(thing)

    def _host(self, unit: list[int], thing: Any) -> Any:
        """What a preposition of several words hangs on."""
        host, seen = thing.head, {thing.i}
        while host.i in unit and host.i not in seen:
            seen.add(host.i)
            host = host.head
        return host

    def _place(self, host: Any, thing: Any, name: str, tokens: list[int]) -> None:
        """Relate what a preposition hangs on with what it governs, where that is safe."""
        things = [m for m in self._members(thing) if m.i == thing.i or not of(m, "case")]
        if host.i == thing.i or host.i in self.inside:
            return
        if host.pos_ == "ADJ" and kind(host) == "amod":
            host = host.head
        if host.pos_ == "NOUN":
            verb = host.head
            moved = kind(host) in ("obj", "obl") and self._lemma(verb) in self.language.transfers
            if host.i < thing.i and not moved:
                members = [m for m in self._members(host) if m.i < thing.i]
                self._relate(members, [m for m in things if m not in members], name, tokens)
            return
        if host.pos_ == "VERB":
            self._place_by_verb(host, things, name, tokens)

    def _place_by_verb(self, verb: Any, things: list[Any], name: str, tokens: list[int]) -> None:
        state = self._participle(verb)
        if state and name in self.language.agents:
            return
        lemma, subjects = self._lemma(verb), self._subjects(verb)
        unsafe = lemma in self.language.transfers or not self._objects(verb)
        if of(verb, "obj") and not state and unsafe:
            return
        for subject in subjects:
            if state or (verb.i, subject.i) in self.spent:
                self._relate([subject], things, name, tokens)
            elif self._relate([subject], things, f"{lemma} {name}", [verb.i, *tokens]):
                self.spent.add((verb.i, subject.i))

    def _numbers(self, noun: Any) -> Iterator[tuple[list[int], int]]:
        """Find the numeral of a thing: tokens and value, where it says exactly how many."""
        joined, last = self.language.joined, noun.i - 1

        def counts(i: int) -> bool:
            return i >= 0 and (
                self.doc[i].pos_ == "NUM" or bool(set(self._words(i)) & self.language.numeral_words)
            )

        while last >= 0 and self.doc[last].pos_ == "ADJ" and not counts(last):
            last -= 1
        if not counts(last) and not (last > 1 and self.lower[last - 1] in joined):
            return
        first = last
        while first and (counts(first - 1) or self.lower[first - 1] in joined):
            first -= 1
        before = self.lower[max(first - 2, 0) : first]
        if set(before[-1:]) & self.language.about or (
            before[-1:] == [self.language.of] and set(before) & self.language.about
        ):
            return
        tokens = list(range(first, last + 1))
        value = self._value(tokens)
        if value is not None and value > 1 and self._plural(noun) is not False:
            yield tokens, value

    def _words(self, i: int) -> list[str]:
        return self.lower[i].replace("-", " ").split()

    def _value(self, tokens: list[int]) -> int | None:
        if len(tokens) == 1 and _DIGITS.fullmatch(self.lower[tokens[0]]):
            value = int(self.lower[tokens[0]])
            return None if 1900 <= value < 2100 else value
        said = " ".join(word for i in tokens for word in self._words(i))
        return self.language.numerals.get(said)
