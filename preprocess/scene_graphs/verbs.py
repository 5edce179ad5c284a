"""The verbs of a caption: their subjects, objects and kinds."""

from collections.abc import Iterator

from septet.preprocess.scene_graphs.nouns import Nouns
from septet.preprocess.scene_graphs.sentence import Sentence

_RELATIVE = frozenset({"that", "which", "who", "whom"})
_ADVERB_RELATIVE = frozenset({"where", "when", "why", "how"})


class Verbs:
    """The verbs of a caption; auxiliaries and participles before a noun do not count."""

    def __init__(self, sentence: Sentence, nouns: Nouns):
        self._sentence, self._nouns = sentence, nouns
        self.tokens = [i for i in range(len(sentence)) if self._acts(i)]
        self._verbs = set(self.tokens)
        self._subjects: dict[int, list[int]] = {}

    def __contains__(self, i: int) -> bool:
        return i in self._verbs

    def _acts(self, i: int) -> bool:
        sentence = self._sentence
        if i in self._nouns.lemmas or i in self._nouns.inside:
            return False
        if not sentence.is_verb(i):
            return self._nouns.acts(i)
        dep, head = sentence.deps[i], sentence.heads[i]
        if dep in ("aux", "auxpass", "compound", "nmod"):
            return False
        if dep in ("prep", "punct", "det", "case"):
            return False
        if dep == "amod" or (dep == "conj" and sentence.deps[head] == "amod"):
            return i > head and sentence.has(i, "prep", "agent", "dobj") and dep == "amod"
        return dep != "acomp" or sentence.has(i, "dobj", "prep", "agent")

    def passive(self, i: int) -> bool:
        """Whether a participle's subject is what the action is done to."""
        sentence = self._sentence
        if sentence.tags[i] not in ("VBN", "VBD"):
            return False
        if sentence.has(i, "auxpass", "nsubjpass"):
            return True
        if sentence.has(i, "aux", "nsubj", "dobj"):
            return False
        if sentence.deps[i] == "conj" and sentence.heads[i] in self._verbs:
            return self.passive(sentence.heads[i])
        return sentence.tags[i] == "VBN" or sentence.has(i, "agent")

    def progressive(self, i: int) -> bool:
        """Whether it happens or happened ("is being washed", "was built"), rather than lasts."""
        sentence = self._sentence
        words = {sentence.lower[child] for child in sentence.of(i, "aux", "auxpass")}
        return bool(words & {"being", "was", "were", "been", "gets", "get"})

    def particles(self, i: int) -> list[int]:
        """ "blow out", "lie down": particles of a verb."""
        return [p for p in self._sentence.of(i, "prt") if p not in self._nouns.inside]

    def subjects(self, i: int) -> list[int]:
        """Things that do it; of a passive verb, those that it is done to."""
        if i not in self._subjects:
            self._subjects[i] = []  # a cycle of conjuncts and clauses ends here
            self._subjects[i] = self._find_subjects(i)
        return self._subjects[i]

    def _find_subjects(self, i: int) -> list[int]:
        sentence, nouns = self._sentence, self._nouns
        if sentence.has(i, "expl"):
            return [
                m for noun in sentence.of(i, "attr", "nsubj", "dobj") for m in nouns.members(noun)
            ]
        for subject in sentence.of(i, "nsubj", "nsubjpass"):
            if subject == i or (subject > i and sentence.deps[i] in ("acl", "relcl")):
                continue
            if sentence.lower[subject] in _RELATIVE and nouns.resolve(subject) is None:
                return self._antecedents(i)
            return nouns.members(subject)
        dep, head = sentence.deps[i], sentence.heads[i]
        if dep in ("acl", "relcl", "amod"):
            return [] if self.relative_adverb(i) else self._antecedents(i)
        if dep in ("conj", "advcl", "xcomp", "ccomp", "pcomp", "prep", "dep", "acomp", "parataxis"):
            return self._inherited(head)
        if dep == "ROOT" and sentence.tags[i] in ("VBG", "VBN", "VBZ", "VBP", "VBD"):
            left = [
                n for n in nouns.heads if n < i and sentence.deps[n] not in ("pobj", "dobj", "poss")
            ]
            return nouns.members(left[-1]) if left else []
        return []

    def _inherited(self, head: int) -> list[int]:
        sentence, nouns = self._sentence, self._nouns
        seen = set()
        while head not in seen:
            seen.add(head)
            if head in self._verbs:
                return self.subjects(head)
            if nouns.resolve(head) is not None:
                return nouns.members(head)
            head = sentence.heads[head]
        return []

    def relative_adverb(self, i: int) -> bool:
        """ "a meadow where cows graze"."""
        sentence = self._sentence
        return any(sentence.lower[child] in _ADVERB_RELATIVE for child in sentence.children[i])

    def _antecedents(self, i: int) -> list[int]:
        """What a clause that hangs on a noun is about."""
        sentence, nouns = self._sentence, self._nouns
        noun = sentence.heads[i]
        thing = nouns.resolve(noun)
        if thing is None:
            return self._inherited(noun) if noun in self._verbs else []
        members = [thing]
        plain = not sentence.has(noun, "prep", "acl", "relcl") or sentence.has(i, "nsubj")
        while sentence.deps[noun] == "conj" and sentence.heads[noun] in nouns.lemmas:
            last, noun = noun, sentence.heads[noun]
            alone = sentence.has(noun, "prep", "acl", "relcl") or sentence.deps[noun] in (
                "dobj", "pobj",
            )  # fmt: skip
            if alone or sentence.has(i, "nsubj") or (last != sentence.heads[i] and not plain):
                break
            resolved = nouns.resolve(noun)
            if resolved is not None:
                members.append(resolved)
        return sorted(set(members))

    def objects(self, i: int) -> Iterator[int]:
        """Tokens of its direct objects and of the nouns that a copula links."""
        sentence, nouns = self._sentence, self._nouns
        if sentence.has(i, "expl"):
            return
        for child in sentence.of(i, "dobj", "attr", "oprd", "dative"):
            if nouns.resolve(child) is not None and not nouns.acts(child):
                yield child
        if sentence.deps[i] == "relcl" and not self.passive(i) and not sentence.has(i, "dobj"):
            own = [s for s in sentence.of(i, "nsubj") if sentence.lower[s] not in _RELATIVE]
            if own and not sentence.has(i, "prep", "acomp", "attr") and not self.relative_adverb(i):
                yield sentence.heads[i]
        for child in sentence.of(i, "dobj"):
            if sentence.lower[child] in _RELATIVE and sentence.deps[i] == "relcl":
                yield sentence.heads[i]
