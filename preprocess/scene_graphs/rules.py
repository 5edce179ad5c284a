"""The rules over tags and dependencies that make a scene graph of a parsed caption.

What the Stanford parser (Schuster et al. 2015) and SPICE (Anderson et al. 2016, section 3.1) find,
by rules of our own: objects, attributes (adjectives, participles, predicate adjectives, and what
an object does by itself), relations (verbs, prepositions, verbs with prepositions). What the
caption denies, supposes or asks (`doubts`) is none of these.
"""

from collections.abc import Iterable

from septet.preprocess.scene_graphs.doubts import Doubts
from septet.preprocess.scene_graphs.graph import (
    Attribute,
    Number,
    Object,
    Relation,
    SceneGraph,
    Unasserted,
)
from septet.preprocess.scene_graphs.lemmas import Lemmas
from septet.preprocess.scene_graphs.nouns import Nouns
from septet.preprocess.scene_graphs.prepositions import Preposition, find_prepositions
from septet.preprocess.scene_graphs.repairs import mend
from septet.preprocess.scene_graphs.sentence import Sentence
from septet.preprocess.scene_graphs.verbs import Verbs
from septet.preprocess.scene_graphs.words import (
    CATENATIVES,
    COLOURS,
    COPULAS,
    NO_RELATION,
    QUANTIFIERS,
)

Triple = tuple[int, int, str, tuple[int, ...]]
"""Head tokens of subject and object, lemma, tokens of the relation."""


def scene_graph(sentence: Sentence, lemmas: Lemmas) -> SceneGraph:
    """Make the scene graph of a caption.

    Args:
        sentence: The parsed caption.
        lemmas: Lemmas of its words.
    """
    mend(sentence, lemmas)
    return _Rules(sentence, lemmas).graph()


class _Rules:
    def __init__(self, sentence: Sentence, lemma: Lemmas):
        self.sentence, self.lemma = sentence, lemma
        self.prepositions = find_prepositions(sentence)
        self.nouns = Nouns(sentence, self.prepositions, lemma)
        self.verbs = Verbs(sentence, self.nouns)
        self.triples: dict[tuple[int, int, str], tuple[int, ...]] = {}
        self.properties: dict[tuple[int, int], str] = {}
        """Kind by (head token of the object, token of the attribute)."""
        self.busy: set[int] = set()
        """Verbs that say something by a relation or an adjective."""
        self.spent: set[tuple[int, int]] = set()
        """(verb, subject): the verb's own words are used once for each subject."""

    def graph(self) -> SceneGraph:
        sentence, nouns = self.sentence, self.nouns
        for verb in self.verbs.tokens:
            self._transitive(verb)
            self._predicates(verb)
        for unit in self.prepositions:
            self._preposition(unit)
        for verb in self.verbs.tokens:
            self._intransitive(verb)
        for head in nouns.heads:
            for token in nouns.adjectives(head):
                self.properties.setdefault((head, token), "property")
            self._after(head)

        doubts = Doubts(sentence, nouns, self.verbs, self.lemma)
        heads = [head for head in nouns.heads if doubts.of_thing(head) is None]
        position = {head: i for i, head in enumerate(heads)}
        objects = tuple(map(self._object, heads))
        unasserted = tuple(
            Unasserted(o.lemma, o.spans, o.text, why)
            for head in nouns.heads
            if (why := doubts.of_thing(head)) and (o := self._object(head))
        )
        attributes = [
            Attribute(self._word(token, kind), self._spans_of(token, kind), position[head], kind)  # type: ignore[arg-type]
            for (head, token), kind in sorted(self.properties.items())
            if head in position and doubts.asserts(head, token)
        ]
        numbers = [
            Number(self._said(tokens), sentence.spans([*tokens]), position[head], value)
            for head in heads
            for tokens, value in nouns.numbers(head)
        ]
        relations = [
            Relation(name, sentence.spans(list(tokens)), position[subject], position[object_])
            for (subject, object_, name), tokens in self.triples.items()
            if subject in position and object_ in position and doubts.free(tokens)
        ]
        relations.sort(key=lambda r: (r.spans, r.subject, r.object, r.lemma))
        return SceneGraph(objects, tuple(attributes), tuple(numbers), tuple(relations), unasserted)

    def _object(self, head: int) -> Object:
        spans = self.sentence.spans(self.nouns.span(head))
        text = " ".join(self.sentence.text[start:end] for start, end in spans)
        return Object(self.nouns.lemmas[head], spans, text)

    def _said(self, tokens: Iterable[int]) -> str:
        pieces = (self.sentence.text[a:b] for a, b in self.sentence.spans([*tokens]))
        return " ".join(" ".join(pieces).lower().split())

    def _word(self, token: int, kind: str) -> str:
        word, tag = self.sentence.lower[token], self.sentence.tags[token]
        if kind == "action":
            particles = [self.sentence.lower[p] for p in self.verbs.particles(token)]
            return " ".join([self._verb_lemma(token), *particles])
        return self.lemma(word, tag) if tag in ("JJR", "JJS") else word

    def _verb_lemma(self, token: int) -> str:
        tag = self.sentence.tags[token]
        return self.lemma(self.sentence.lower[token], tag if tag.startswith("VB") else "VBZ")

    def _spans_of(self, token: int, kind: str) -> tuple[tuple[int, int], ...]:
        particles = self.verbs.particles(token) if kind == "action" else []
        return self.sentence.spans([token, *particles])

    def _relate(
        self, subjects: Iterable[int], objects: Iterable[int], name: str, tokens: Iterable[int]
    ) -> bool:
        said = False
        for subject in subjects:
            for object_ in objects:
                if subject != object_:
                    self.triples.setdefault((subject, object_, name), tuple(sorted(set(tokens))))
                    said = True
        return said

    def _verb_words(self, verb: int) -> tuple[str, list[int]]:
        particles = self.verbs.particles(verb)
        name = " ".join([self._verb_lemma(verb), *(self.sentence.lower[p] for p in particles)])
        return name, [verb, *particles]

    def _transitive(self, verb: int) -> None:
        """Find verbs with objects, and passive ones with an agent."""
        name, tokens = self._verb_words(verb)
        subjects = self.verbs.subjects(verb)
        if self.verbs.passive(verb):
            for unit in self.prepositions:
                if unit.lemma == "by" and unit.head == verb and unit.object is not None:
                    agents = self.nouns.members(unit.object)
                    if self._relate(agents, subjects, name, [*tokens, unit.start]):
                        self.busy.add(verb)
        for token in self.verbs.objects(verb):
            if self._is_colour(token):
                self._describe(subjects, token)
                self.busy.add(verb)
                continue
            if self._relate(subjects, self.nouns.members(token), name, tokens):
                self.spent |= {(verb, subject) for subject in subjects}
            self.busy.add(verb)
        if self.sentence.has(verb, "dobj", "attr"):
            self.busy.add(verb)

    def _is_colour(self, token: int) -> bool:
        return self.sentence.lower[token] in COLOURS and not self.sentence.has(token, "det")

    def _describe(self, things: Iterable[int], token: int) -> None:
        for thing in things:
            self.properties.setdefault((thing, token), "property")

    def _predicates(self, verb: int) -> None:
        """Find predicate adjectives: "the car is red", "looks sad", "is painted blue"."""
        sentence = self.sentence
        for child in sentence.of(verb, "acomp", "oprd", "attr", "conj", "advmod", "advcl"):
            dep = sentence.deps[child]
            adjective = sentence.is_adjective(child) or (
                self._is_colour(child) and self.nouns.resolve(child) is None
            )
            participle = dep == "acomp" and sentence.tags[child] in ("VBN", "VBG")
            if not adjective and not participle:
                continue
            if dep == "advmod" and self._verb_lemma(verb) not in COPULAS:
                continue
            if any(u.start <= child < u.end for u in self.prepositions):
                continue
            things = self.verbs.subjects(verb)
            if dep == "oprd" and sentence.has(verb, "dobj"):
                things = [m for t in sentence.of(verb, "dobj") for m in self.nouns.members(t)]
            for token in self.nouns.coordinated(child):
                if sentence.lower[token] not in QUANTIFIERS and token not in self.verbs:
                    self._describe(things, token)
            self.busy.add(verb)
        if sentence.has(verb, "xcomp", "ccomp") and self._verb_lemma(verb) in CATENATIVES:
            self.busy.add(verb)

    def _intransitive(self, verb: int) -> None:
        """Find what a thing does by itself, or the state that it is in ("the door is closed")."""
        if verb in self.busy:
            return
        lemma = self._verb_lemma(verb)
        if lemma in COPULAS or lemma in ("have", "do"):
            return
        state = self.verbs.passive(verb) and not self.verbs.progressive(verb)
        for thing in self.verbs.subjects(verb):
            self.properties.setdefault((thing, verb), "property" if state else "action")

    def _after(self, head: int) -> None:
        """Find adjectives after the noun that parsers hang on it as clauses."""
        for child in self.sentence.of(head, "acl", "relcl"):
            if self.sentence.is_adjective(child):
                for token in self.nouns.coordinated(child):
                    self.properties.setdefault((head, token), "property")

    def _preposition(self, unit: Preposition) -> None:
        sentence, nouns = self.sentence, self.nouns
        if unit.lemma in NO_RELATION or unit.clause:
            return
        token = unit.object
        thing = None if token is None else nouns.resolve(token)
        if token is None:
            thing = nouns.after(unit.end)
        if thing is None:
            return
        objects = nouns.members(token if token is not None else thing)
        tokens = list(range(unit.start, unit.end))
        name, host = self._host(unit)
        tokens = [*name, *tokens]
        words = " ".join([*(sentence.lower[i] for i in name), unit.lemma])
        if host is None:
            before = nouns.before(unit.start)
            if before is not None and unit.lemma != "of":
                self._relate([before], objects, words, tokens)
        elif host in self.verbs:
            self._verb_preposition(host, unit, objects, words, tokens)
        else:
            head = nouns.resolve(host)
            if head is not None and not nouns.demoted(host):
                if unit.lemma == "of":
                    objects = [o for o in objects if o == objects[0] or not sentence.has(o, "det")]
                self._relate([head], objects, words, tokens)
            elif head is not None and unit.lemma != "of":
                self._relate(nouns.members(host), objects, words, tokens)

    def _host(self, unit: Preposition) -> tuple[list[int], int | None]:
        """What a preposition hangs on: adjectives that belong to it, and a verb's or noun's
        token."""
        sentence, nouns = self.sentence, self.nouns
        own: list[int] = []
        host, seen = unit.head, set(range(unit.start, unit.end))
        while host not in seen:
            seen.add(host)
            if host in self.verbs or nouns.resolve(host) is not None:
                return own, host
            adjective = sentence.is_adjective(host) or sentence.tags[host] == "VBN"
            before_noun = sentence.deps[host] == "amod" and sentence.heads[host] > host
            predicate = not before_noun and sentence.deps[host] != "advmod"
            if adjective and predicate and host < unit.start and not own:
                own = [host]
            host = sentence.heads[host]
        return own, None

    def _verb_preposition(
        self, verb: int, unit: Preposition, objects: list[int], words: str, tokens: list[int]
    ) -> None:
        subjects = self.verbs.subjects(verb)
        if unit.lemma == "by" and self.verbs.passive(verb):
            return  # the agent is already the subject of a relation
        if not subjects:
            before = self.nouns.before(unit.start)
            if before is not None and unit.lemma != "of":
                self._relate([before], objects, words, tokens)
            return
        lemma, own = self._verb_words(verb)
        bare = lemma == "be" or unit.start < verb
        for subject in subjects:
            if bare or (verb, subject) in self.spent:
                said = self._relate([subject], objects, words, tokens)
            else:
                said = self._relate([subject], objects, f"{lemma} {words}", [*own, *tokens])
        if said:
            self.busy.add(verb)
            self.spent |= {(verb, subject) for subject in subjects}
