"""Captions with scene graphs labelled by hand, and how a parser's graphs are scored on them.

`benchmarks/data/scene_graphs.jsonl` (clean captions) and `scene_graphs_web.jsonl` (what web pages
hold: marks, product titles, capitals, telegraph style, denials, questions, numerals) hold a caption
a line. Labels are words, not positions; what a caption denies, supposes or asks is no label:

    objects       "dog"; "people/person" is either; "?row" neither counts nor costs
    attributes    "dog=white"
    numbers       "dog=2"
    actions       "child=jump": what an object does by itself
    relations     "man,ride,horse"; "man/horse,ride~on,beach": subjects that are both right,
                  and a verb that may be left out; "a,r,b|b,s,a" is either

Both parsers are normalised alike, so that neither loses by convention alone: an object is its
last word, singular; pronouns are no objects; "be" in front of a preposition is left out;
"-ed", "-ing" and "-s" are taken off attributes and verbs; of "a group of people" and "a picture of
a dog" only people and dog count and what is said of the group is said of the people (the label
of a demoted noun is never required, and never wrong); quantifiers ("other", "same") and
determiners are left out.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.words import MEDIA, QUANTIFIERS, QUANTITIES, words

DATA = Path(__file__).parent / "data"
SETS = {"clean": DATA / "scene_graphs.jsonl", "web": DATA / "scene_graphs_web.jsonl"}
SPLITS = ("dev", "held_out")
KINDS = ("objects", "attributes", "numbers", "actions", "relations")
PRONOUNS = words(
    """i you he she it we they me him her us them this that these those who whom which what
    one ones there its his their himself herself itself themselves each both everyone someone
    something -pron- all some another"""
)


def labels(of: str, split: str) -> list[dict[str, Any]]:
    """Labelled captions of a set, `clean` or `web`, and a split, `dev` or `held_out`."""
    lines = SETS[of].read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


def stem(word: str) -> str:
    """A word without the endings that lemmatizers take off or leave."""
    for ending in ("ing", "ed"):
        cut = word.removesuffix(ending)
        if cut != word and len(cut) >= 3 and any(v in cut for v in "aeiouy"):
            word = cut[:-1] if cut[-1] == cut[-2] and cut[-1] not in "ls" else cut
    return word.removesuffix("e") if len(word) > 3 else word


def noun(words: str) -> str:
    """An object's name: last word, singular."""
    word = words.lower().split()[-1] if words.split() else ""
    for many, one in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x")):
        if word.endswith(many):
            return word.removesuffix(many) + one
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        word = word[:-1]
    return word


def relation(name: str) -> str:
    """A relation's name: no leading "be", the first word stemmed."""
    words = name.lower().split()
    while len(words) > 1 and words[0] in ("be", "is", "are"):
        words = words[1:]
    return " ".join([stem(words[0]), *words[1:]]) if words else ""


Found = dict[str, set[tuple[str, ...]]]


def normalise(graph: SceneGraph) -> Found:
    """A parser's graph as sets of words."""
    names = [noun(o.lemma) for o in graph.objects]
    dropped = {i for i, o in enumerate(graph.objects) if o.lemma.lower() in PRONOUNS}
    demoted: dict[int, list[int]] = {}
    for r in graph.relations:
        if r.lemma.split()[-1:] == ["of"] and names[r.subject] in MEDIA | QUANTITIES:
            demoted.setdefault(r.subject, []).append(r.object)

    def meant(i: int) -> list[int]:
        return demoted.get(i, [] if i in dropped else [i])

    found: Found = {kind: set() for kind in KINDS}
    found["objects"] = {(names[j],) for i in range(len(names)) for j in meant(i)}
    for a in graph.attributes:
        if a.object not in demoted and a.object not in dropped and a.lemma not in QUANTIFIERS:
            kind = "attributes" if a.kind == "property" else "actions"
            found[kind].add((names[a.object], stem(a.lemma.lower())))
    for n in graph.numbers:
        if n.object not in demoted and n.object not in dropped:
            found["numbers"].add((names[n.object], str(n.value)))
    for r in graph.relations:
        if r.subject in demoted and r.lemma.split()[-1:] == ["of"]:
            continue
        for s in meant(r.subject):
            for o in meant(r.object):
                found["relations"].add((names[s], relation(r.lemma), names[o]))
    return found


def _alternatives(kind: str, label: str) -> set[tuple[str, ...]]:
    """Everything that satisfies a label."""
    found: set[tuple[str, ...]] = set()
    for choice in label.lstrip("?").split("|"):
        if kind == "objects":
            found |= {(noun(word),) for word in choice.split("/")}
        elif kind == "relations":
            subjects, name, objects = choice.split(",")
            verb, _, rest = name.rpartition("~")
            names = {f"{verb} {rest}", rest} if verb else {name}
            found |= {
                (noun(s), relation(r), noun(o))
                for s in subjects.split("/")
                for r in names
                for o in objects.split("/")
            }
        else:
            things, values = choice.split("=")
            clean = (lambda v: v) if kind == "numbers" else stem
            found |= {(noun(t), clean(v)) for t in things.split("/") for v in values.split("/")}
    return found


def allows(row: dict[str, Any], fact: Sequence[str]) -> bool:
    """Whether a label says the fact of a question (`septet.preprocess.questions.captions.Fact`)."""
    kind = {"number": "numbers", "color": "attributes", "relation": "relations"}[fact[0]]
    first, *rest = fact[1:]
    if kind == "numbers":
        found: tuple[str, ...] = (noun(first), rest[0])
    elif kind == "attributes":
        found = (noun(first), stem(rest[0]))
    else:
        found = (noun(first), relation(rest[0]), noun(rest[1]))
    return any(found in _alternatives(kind, label) for label in row[kind])


@dataclass
class Score:
    """Counts over captions."""

    right: int = 0
    """Labels that were found."""
    wrong: int = 0
    """Findings that fit no label."""
    missed: int = 0
    """Labels that were not found."""

    @property
    def precision(self) -> float:
        """Share of findings that are right."""
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        """Share of labels that were found."""
        return self.right / max(self.right + self.missed, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.right / max(2 * self.right + self.wrong + self.missed, 1)


def compare(graph: SceneGraph, row: dict[str, Any]) -> dict[str, tuple[int, set[Any], list[str]]]:
    """For each kind: labels found, findings that fit no label, labels missed."""
    found, answer = normalise(graph), {}
    for kind in KINDS:
        fitting: set[tuple[str, ...]] = set()
        right, missed = 0, []
        for label in row[kind]:
            ways = _alternatives(kind, label)
            fitting |= ways
            if not label.startswith("?"):
                if ways & found[kind]:
                    right += 1
                else:
                    missed.append(label)
        answer[kind] = (right, found[kind] - fitting, missed)
    return answer


def score(rows: Iterable[dict[str, Any]], parse: Callable[[str], SceneGraph]) -> dict[str, Score]:
    """Scores of a parser by kind of node."""
    scores = {kind: Score() for kind in KINDS}
    for row in rows:
        for kind, (right, wrong, missed) in compare(parse(row["caption"]), row).items():
            scores[kind].right += right
            scores[kind].wrong += len(wrong)
            scores[kind].missed += len(missed)
    return scores
