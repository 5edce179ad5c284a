"""What a caption names without saying that it is so, read off Universal Dependencies.

Coarser than English's (`doubts`): a question or a condition takes its whole sentence, and what is
near a denial without being clearly in or out of it is neither asserted nor called denied.
"""

from typing import Any

from septet.preprocess.scene_graphs.graph import Doubt
from septet.preprocess.scene_graphs.language import Language, Phrase

_ENDS = frozenset(".;!?…")
_SUBJECTS = ("nsubj", "nsubj:pass")


def kind(token: Any) -> str:
    """The dependency of a token without its subtype."""
    return str(token.dep_).partition(":")[0]


def of(token: Any, *kinds: str) -> list[Any]:
    """The dependents of these kinds."""
    return [child for child in token.children if kind(child) in kinds]


def at(lower: list[str], i: int, phrases: tuple[Phrase, ...]) -> Phrase | None:
    """The longest of the phrases that begins at token `i`."""
    found = [p for p in phrases if tuple(lower[i : i + len(p)]) == p]
    return max(found, key=len, default=None)


class UniversalDoubts:
    """The doubts of a caption: `things` by the token of a thing, with the doubt or None where
    nothing is said of it; `scope`, the tokens that assert nothing."""

    def __init__(self, doc: Any, lower: list[str], plain: list[str], language: Language):
        self._doc, self._lower, self._plain, self._language = doc, lower, plain, language
        self.things: dict[int, Doubt | None] = {}
        self.scope: set[int] = set()
        for part in self._sentences():
            why = self._of_sentence(part)
            if why is not None:
                self.scope.update(part)
                self.things.update(dict.fromkeys(part, why))
                continue
            for i in part:
                self._read(i, part)

    def _sentences(self) -> list[range]:
        first, found = 0, []
        for i, word in enumerate(self._lower):
            if word[0] in _ENDS:
                found.append(range(first, i + 1))
                first = i + 1
        return [*found, range(first, len(self._lower))]

    def _of_sentence(self, part: range) -> Doubt | None:
        """Why a whole sentence asserts nothing; None where it does."""
        language, lower = self._language, self._lower
        said = [i for i in part if lower[i][0].isalnum()]
        if not said:
            return None
        if lower[part[-1]].startswith("?") or lower[said[0]] in language.questions:
            return "asked"
        if any(self._inverted(i) for i in part):
            return "asked"
        for i in part:
            token = self._doc[i]
            if lower[i] in language.conditions and not self._adverb(i):
                return "supposed"
            if at(lower, i, language.condition_phrases):
                return "supposed"
            if "Cnd" in token.morph.get("Mood") or "Fut" in token.morph.get("Tense"):
                return "supposed"
        return None

    def _inverted(self, i: int) -> bool:
        """Whether a verb's subject stands behind it ("a-t-il")."""
        word, before = self._lower[i], self._lower[i - 1 : i]
        return i > 0 and (word if before != ["-"] else f"-{word}") in self._language.inverted

    def _adverb(self, i: int) -> bool:
        """Whether a word of conditions says how much ("une si belle plage"), or is a pronoun
        ("s'assied")."""
        if i + 1 == len(self._doc):
            return True
        after = self._doc[i + 1]
        pronoun = self._lower[i] in ("s'", "s’") and self._lower[i + 1] not in ("il", "ils")
        return pronoun or after.pos_ in ("ADJ", "ADV")

    def _read(self, i: int, part: range) -> None:
        language, lower, token = self._language, self._lower, self._doc[i]
        if lower[i] in language.negations:
            rest = {lower[j] for j in part if j > i}
            if not rest & language.only or rest & language.negated:
                self._reach(self._verb(token), i, "denied")
        elif token.lemma_.lower() in language.supposing and token.pos_ in ("VERB", "AUX"):
            self._reach(self._verb(token), i, "supposed")
        elif token.lemma_.lower() in language.absence:
            self._absence(token)
        phrase = at(lower[i : i + 1] + self._plain[i + 1 :][:8], 0, language.without_phrases)
        if phrase:
            self.things.update(dict.fromkeys(range(i, i + len(phrase))))
        if lower[i] in language.without or phrase:
            self._phrase(i + len(phrase or (i,)), part)
        if lower[i : i + 2] == ["plus", "de"] and i not in self.scope:
            self._vague(i + 2)

    def _verb(self, token: Any) -> Any:
        """What a negation says something of."""
        while token.pos_ in ("ADV", "AUX", "PART") and token.head.i != token.i:
            token = token.head
        return token

    def _known(self, token: Any) -> bool:
        return any(self._lower[child.i] in self._language.known for child in of(token, "det"))

    def _reach(self, verb: Any, mark: int, why: Doubt) -> None:
        """Take a verb, and what depends on it to the right of the mark up to another clause. Its
        objects are in doubt, known things around it stay, of all others nothing is said."""
        self.scope.add(verb.i)
        self.things[verb.i] = why
        own = {child.i for child in of(verb, "obj", "xcomp", "ccomp", "nsubj") if child.i > mark}
        stop = min(
            (
                i
                for i in range(mark, len(self._lower))
                if self._lower[i] in self._language.contrasts
            ),
            default=len(self._lower),
        )
        open_ = [verb]
        while open_:
            token = open_.pop()
            for child in token.children:
                if not mark < child.i < stop or self._new_clause(child):
                    continue
                self.scope.add(child.i)
                open_.append(child)
                if token.i in own and kind(child) in ("conj", "obj", "amod"):
                    own.add(child.i)
                if child.i in own:
                    self.things[child.i] = why if not self._known(child) else None
                elif not self._known(child):
                    self.things.setdefault(child.i, None)

    def _new_clause(self, token: Any) -> bool:
        return kind(token) in ("conj", "parataxis") and any(
            child.dep_ in _SUBJECTS for child in token.children
        )

    def _phrase(self, i: int, part: range) -> None:
        """Deny the first thing or verb from token `i` on, with what is joined to it."""
        for j in range(i, part.stop):
            token = self._doc[j]
            if self._lower[j] in {",", *self._language.contrasts}:
                return
            if token.pos_ == "VERB":
                self._reach(token, j, "denied")
                return
            if token.pos_ in ("NOUN", "PROPN", "PRON") and kind(token) != "expl":
                self._deny(token, j)
                return

    def _deny(self, head: Any, first: int) -> None:
        self.things[head.i] = "denied"
        self.scope.add(head.i)
        for child in head.subtree:
            if child.i <= first or child.i == head.i:
                continue
            joined = kind(child) == "conj" and child.head.i in self.scope
            if joined and not of(child, "det", "nummod", "case"):
                self.things[child.i] = "denied"
                self.scope.add(child.i)
            elif kind(child) in ("amod", "case", "cc"):
                self.scope.add(child.i)
            elif not self._known(child):
                self.things.setdefault(child.i, None)

    def _vague(self, i: int) -> None:
        """ "plus de": more, or no more. With a numeral it is more."""
        if i < len(self._doc) and self._doc[i].pos_ == "NOUN":
            self.things.setdefault(i, None)

    def _absence(self, token: Any) -> None:
        """Say nothing of what hangs on a word of absence, nor of what it describes."""
        about = [token, *token.subtree]
        if kind(token) in ("amod", "acl"):
            about.append(token.head)
        about += of(token, "nsubj")
        for other in about:
            self.things[other.i] = None
            self.scope.add(other.i)
