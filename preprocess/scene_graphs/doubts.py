"""What a caption names without saying that it is so: denied, supposed or asked.

Marks are words ("no", "without", "if", "might", a question mark); their scope is read off the
parse, and kept within their sentence. A question, or a sentence with a condition, asserts nothing.
A negation, a modal verb or a verb of wishing reaches what depends on its head to its right; there,
things that the caption takes as known ("the red door") stay things, and only what is said of them
is left out.

`doubted` asks words alone, no parse: who takes a caption for truth (`questions`) reads no sentence
with any mark.
"""

import re
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise

from septet.preprocess.scene_graphs.graph import Doubt
from septet.preprocess.scene_graphs.lemmas import Lemmas
from septet.preprocess.scene_graphs.nouns import Nouns
from septet.preprocess.scene_graphs.sentence import Sentence
from septet.preprocess.scene_graphs.verbs import Verbs
from septet.preprocess.scene_graphs.words import words

NOT = words("not n't n’t never nor neither hardly barely scarcely rarely seldom cannot")
NO = words("no neither none zero 0 nobody noone nothing nowhere")
WITHOUT = words("without w/o sans minus except excluding unlike lacking missing")
WITHOUT_OF = ("instead of", "rather than", "free of", "free from", "devoid of", "empty of",
              "other than", "apart from", "except for", "short of", "out of stock")  # fmt: skip
LACKS = words("lack avoid forbid prohibit ban remove omit exclude")
ABSENCE = words("absence lack shortage removal loss ban prohibition")
CONDITIONS = words(
    """if unless whether maybe perhaps possibly probably presumably supposedly allegedly imagine
    suppose supposing hypothetically guess wonder wondering wish hopefully"""
)
WHENEVER = words("when whenever until")
MODALS = words(
    """would could might may should will must shall can ca wo ought 'd 'll ’d ’ll wouldn couldn"""
)
WISHES = words(
    """want wish hope plan pretend refuse fail forget intend need dream expect threaten promise
    decline hesitate offer propose consider imagine claim"""
)
YET = words("about going supposed unable ready likely unlikely afraid reluctant meant due set")
"""Words that, with "to" and a verb, say what is not done, or not yet."""
ALMOST = words("almost nearly")
_QUESTION_WORDS = words("who whom whose what which why how where")
_AUXILIARIES = words(
    """is are was were am do does did can could will would should shall may might must has have had
    isn aren wasn weren don doesn didn"""
)
_OPENS = words(
    """the a an this that these those there you he she it they we i any my your his her our their
    two three some anyone anybody n't not"""
)
_KNOWN = words("the this that these those both")
_ENDS = frozenset(".;!?…")
_NO_SCOPE = words("only just merely simply far least")
_ONLY_SIGNS = words("sign signs symbol symbols signage zone zones notice sticker decal")

Scope = dict[int, Doubt]


class Doubts:
    """The scopes of the marks of a caption."""

    def __init__(self, sentence: Sentence, nouns: Nouns, verbs: Verbs, lemmas: Lemmas):
        self._sentence, self._nouns, self._verbs = sentence, nouns, verbs
        self._lemma = lemmas
        self._scope: Scope = {}
        self._named: dict[int, Doubt] = {}
        """Things that a mark is about by themselves: "no dog", known or not."""
        self._whole: set[int] = set()
        """Tokens of sentences that assert nothing."""
        if not any(map(_may_mark, sentence.lower)):
            return
        for part in self._sentences:
            why = _of_sentence(sentence, part)
            if why is not None:
                self._scope.update(dict.fromkeys(part, why))
                self._whole.update(part)
        for i in range(len(sentence)):
            if i not in self._whole:
                self._read(i)

    def of_thing(self, head: int) -> Doubt | None:
        """Why the thing with this head is not asserted; None where it is."""
        why = self._named.get(head)
        if why is None and (head in self._whole or not self._known(head)):
            why = self._scope.get(head)
        return why

    def asserts(self, head: int, token: int) -> bool:
        """Whether what a token says of a thing is asserted: it is in no scope, or with the thing
        in one that leaves known things alone ("cannot open the red door")."""
        return token not in self._scope or (
            head in self._scope and self._sentence.deps[token] in ("amod", "compound", "nmod")
        )

    def free(self, tokens: Iterable[int]) -> bool:
        """Whether no token is in a scope."""
        return self._scope.keys().isdisjoint(tokens)

    @cached_property
    def _sentences(self) -> list[range]:
        words_, first, found = self._sentence.words, 0, []
        for i, word in enumerate(words_):
            if word[0] in _ENDS:
                found.append(range(first, i + 1))
                first = i + 1
        return [*found, range(first, len(words_))]

    def _known(self, head: int) -> bool:
        sentence = self._sentence
        return sentence.tags[head].startswith("NNP") or any(
            sentence.deps[child] == "poss" or sentence.lower[child] in _KNOWN
            for child in sentence.children[head]
        )

    def _read(self, i: int) -> None:
        """Mark the scope of token `i`, if it is a mark."""
        sentence = self._sentence
        word, after = sentence.lower[i], sentence.lower[i + 1 : i + 2]
        pair = " ".join(sentence.lower[i : i + 2])
        if word in NO:
            self._no(i)
        if word in NOT and not (set(after) & _NO_SCOPE):
            self._not(i)
        elif word == "longer" and sentence.lower[i - 1] == "no":
            self._reach(self._head(i), i, "denied")
        elif word in WITHOUT or pair in WITHOUT_OF:
            self._without(i, i + len(pair.split()) if pair in WITHOUT_OF else i + 1)
        elif word in ABSENCE:
            self._absence(i)
        elif word == "free" and sentence.lower[i - 1 : i] == ["-"]:
            self._deny([j for j in (i - 2,) if j >= 0])
        elif pair in ("as if", "as though", "in case"):
            self._scope.update(dict.fromkeys(self._rest(i), "supposed"))
        elif word in MODALS and sentence.tags[i] == "MD":
            self._modal(i)
        elif word in YET and after == ["to"] and sentence.tags[i + 2 : i + 3] == ["VB"]:
            self._reach(i + 2, i, "supposed")
            self._scope.setdefault(i, "supposed")
        elif word in ALMOST and sentence.is_verb(self._head(i)):
            self._reach(self._head(i), i, "denied")
        elif i in self._verbs:
            self._verb(i)

    def _rest(self, i: int) -> range:
        return range(i, next((part.stop for part in self._sentences if i in part), i))

    def _head(self, i: int) -> int:
        """The verb or noun that an adverb or auxiliary says something of."""
        sentence, seen = self._sentence, {i}
        while sentence.deps[i] in ("neg", "advmod", "aux", "auxpass", "preconj", "det", "cc"):
            i = sentence.heads[i]
            if i in seen:
                break
            seen.add(i)
        return i

    def _reach(self, head: int, mark: int, why: Doubt) -> None:
        """Take the head and what depends on it to the right of the mark, up to another clause."""
        sentence = self._sentence
        found, open_ = {head}, [head]
        rest = self._rest(mark)
        while open_:
            for child in sentence.children[open_.pop()]:
                if child in found or child < rest.start or child >= rest.stop:
                    continue
                if self._contrasts(child) or self._new_clause(child):
                    continue
                found.add(child)
                open_.append(child)
        for i in found:
            self._scope.setdefault(i, why)

    def _clause(self, i: int) -> int:
        """The verb of the clause that token `i` belongs to."""
        sentence, seen = self._sentence, {i}
        while not sentence.is_verb(i) and sentence.heads[i] not in seen:
            i = sentence.heads[i]
            seen.add(i)
        return i

    def _contrasts(self, i: int) -> bool:
        """Whether a conjunct stands behind "but"."""
        sentence = self._sentence
        return sentence.deps[i] in ("conj", "appos", "prep") and (
            "but" in sentence.lower[max(i - 3, 0) : i]
        )

    def _new_clause(self, i: int) -> bool:
        """Whether a conjunct is a clause, or a thing, of its own ("and a small table")."""
        sentence = self._sentence
        if sentence.deps[i] not in ("conj", "ccomp", "parataxis", "appos"):
            return False
        if {"or", "nor"} & set(sentence.lower[max(i - 4, 0) : i]):
            return False
        if sentence.is_verb(i):
            finite = sentence.tags[i] in ("VBZ", "VBP", "VBD")
            return finite or sentence.has(i, "nsubj", "aux", "auxpass")
        return sentence.has(i, "det", "nummod", "poss")

    def _deny(self, heads: Iterable[int]) -> None:
        for head in heads:
            thing = self._nouns.resolve(head)
            if thing is not None:
                self._named[thing] = "denied"
            self._named[head] = "denied"

    def _phrase(self, i: int) -> list[int]:
        """The head of the first phrase from token `i` on, and what is joined to it."""
        sentence = self._sentence
        for j in self._rest(i - 1)[1:]:
            if sentence.lower[j] in (",", "but") or sentence.tags[j] in ("VBZ", "VBP", "VBD", "IN"):
                return []
            if j in self._nouns.lemmas:
                return [j, *(k for k in self._nouns.members(j) if k > j)]
        return []

    def _joined(self, heads: list[int]) -> list[int]:
        """Of things in a row, those that share the mark of the first."""
        kept: list[int] = heads[:1]
        for head in heads[1:]:
            if self._new_clause(head) or self._contrasts(head):
                break
            kept.append(head)
        return kept

    def _no(self, i: int) -> None:
        sentence = self._sentence
        word = sentence.lower[i]
        after = sentence.lower[i + 1 : i + 2]
        if (word == "no" and (after == ["longer"] or after == ["."])) or word == "neither":
            return
        head = self._head(i)
        if word == "no" and sentence.lower[head] in _ONLY_SIGNS and head != i + 1:
            return
        heads = self._joined(self._phrase(i + 1)) if word not in ("nobody", "nothing") else []
        if after == ["one"] or word in ("none", "nobody", "noone", "nothing"):
            heads = []
        self._deny(heads)
        for thing in heads or [head]:
            self._reach(thing, i, "denied")
            verb = sentence.heads[thing]
            if sentence.deps[thing] in ("nsubj", "nsubjpass") and verb in self._verbs:
                self._reach(verb, i, "denied")

    def _not(self, i: int) -> None:
        sentence = self._sentence
        word, head = sentence.lower[i], self._head(i)
        before = sentence.lower[i - 1] if i else ""
        stands_first = (
            not i or before in (",", "but", "and", "(", "or") or i - 1 in self._nouns.lemmas
        )
        names = sentence.tags[i + 1 : i + 2]
        noun_next = bool(names) and names[0][:2] in ("DT", "NN", "CD", "JJ", "PR")
        if word == "neither" or word == "nor":
            heads = self._joined(self._phrase(i + 1))
            for thing in heads:
                if not self._known(thing):
                    self._deny([thing])
            subject = (heads or [head])[0]
            while sentence.deps[subject] == "conj":
                subject = sentence.heads[subject]
            verb = sentence.heads[subject]
            if sentence.deps[subject] in ("nsubj", "nsubjpass"):
                self._reach(verb, subject, "denied")
            if sentence.is_verb(head):
                self._reach(head, i, "denied")
        elif stands_first and noun_next and word == "not":
            heads = self._joined(self._phrase(i + 1))
            self._deny(heads)
            for j in range(i, max([*heads, i]) + 1):
                self._scope.setdefault(j, "denied")
            if not heads:  # "not all of the birds are on the fence"
                self._reach(self._clause(head), i, "denied")
        else:
            self._reach(head, i, "denied")

    def _without(self, i: int, end: int) -> None:
        heads = self._joined(self._phrase(end))
        self._deny(heads)
        for head in heads:
            self._reach(head, end, "denied")
        for child in self._sentence.of(i, "pcomp"):
            self._reach(child, i, "denied")
        self._scope.update(dict.fromkeys(range(i, end), "denied"))

    def _absence(self, i: int) -> None:
        if self._sentence.lower[i + 1 : i + 2] == ["of"]:
            self._deny([i])
            self._without(i, i + 2)

    def _modal(self, i: int) -> None:
        sentence, verb = self._sentence, self._head(i)
        sees = sentence.lower[verb] in ("see", "seen", "find", "found")
        if not (sentence.lower[i] == "can" and sees):
            self._reach(verb, i, "supposed")

    def _verb(self, i: int) -> None:
        sentence = self._sentence
        lemma = self._lemma(sentence.lower[i], "VBZ")
        if lemma in LACKS:
            for child in sentence.of(i, "dobj"):
                self._deny(self._joined(self._nouns.members(child)))
                self._reach(child, i, "denied")
            self._scope.setdefault(i, "denied")
        elif lemma in WISHES:
            self._scope.setdefault(i, "supposed")
            for child in sentence.of(i, "xcomp", "ccomp", "dobj", "prep"):
                if sentence.deps[child] != "prep" or sentence.lower[child] in (
                    "of",
                    "about",
                    "for",
                ):
                    self._reach(child, i, "supposed")


def _of_sentence(sentence: Sentence, part: range) -> Doubt | None:
    """Why a whole sentence asserts nothing."""
    lower = [sentence.lower[i] for i in part]
    if any("?" in word for word in lower):
        return "asked"
    while lower and not lower[0][0].isalnum():
        lower, part = lower[1:], part[1:]
    first, second = [*lower, "", ""][:2]
    asks = first in _AUXILIARIES and second in _OPENS
    if asks or (first in _QUESTION_WORDS and second not in ("a", "an")) or first == "guess":
        return "asked"
    marks = set(lower)
    suppose = marks & CONDITIONS - ({"if"} if _as_if(lower) else set())
    if suppose or first in WHENEVER or first == "should" or (first, second) == ("in", "case"):
        return "supposed"
    commands = first in ("never", "do", "don")
    return "denied" if commands and marks & NOT else None


def _as_if(lower: list[str]) -> bool:
    at = lower.index("if") if "if" in lower else 0
    return at > 0 and lower[at - 1] == "as"


def _forms(verbs: Iterable[str]) -> frozenset[str]:
    """A verb's forms by all rules of spelling at once; some are no words."""
    found = {verb + ending for verb in verbs for ending in ("", "s", "es", "ed", "ing")}
    found |= {verb + "d" for verb in verbs if verb.endswith("e")}
    found |= {verb + verb[-1] + ending for verb in verbs for ending in ("ed", "ing")}
    found |= {verb[:-1] + ending for verb in verbs for ending in ("ing", "ies", "ied")}
    return frozenset(found)


_MARKS = (NOT | NO | WITHOUT | ABSENCE | CONDITIONS | MODALS | _forms(LACKS | WISHES)) | words(
    """when whenever until though instead rather free devoid longer than case cant dont doesnt didnt
    isnt arent wasnt werent wont wouldnt couldnt shouldnt hasnt havent forbidden forgot forgotten
    forgetting let please unable impossible almost nearly formerly false fake untrue
    supposed unlikely says say said saying reads"""
)
"""Words that call a sentence's truth into doubt, or may do so."""
_ALL = _MARKS | _QUESTION_WORDS | _AUXILIARIES | YET
_ASKS = re.compile(r"[?？¿؟]")
_PARTS = re.compile(r"(?<=[.!?;…])\s+|\s[|–—]\s")
_WORD = re.compile(r"\w+(?:['’]\w+)?")


def _may_mark(word: str) -> bool:
    return "?" in word or word in _ALL


def doubted(text: str) -> list[range]:
    """The characters of a text's sentences in which any word or sign marks a denial, a condition, a
    wish or a question."""
    starts = [0, *(found.end() for found in _PARTS.finditer(text)), len(text)]
    return [
        range(start, end) for start, end in pairwise(starts) if _in_doubt(text[start:end].lower())
    ]


def _in_doubt(sentence: str) -> bool:
    spoken = _WORD.findall(sentence.replace("’", "'"))
    if _ASKS.search(sentence) or "w/o" in sentence or not spoken:
        return bool(spoken)
    first = spoken[0].partition("'")[0]
    opens = first in _QUESTION_WORDS or first in _AUXILIARIES
    yet = any(a in YET and b == "to" for a, b in pairwise(spoken))
    return (
        opens
        or yet
        or any(word in _MARKS or "n't" in word or word.endswith(("'d", "'ll")) for word in spoken)
    )
