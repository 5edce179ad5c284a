"""Questions made from the scene graph of a caption that answers them.

The kinds are those of COCO-QA (Ren et al. 2015): object, number, color, location, with answers of
one word. As in VQ2A (Changpinyo et al. 2022) a pair is kept only where the answer comes back: the
question with its answer, put as a statement, is parsed, and has to say what the caption said; and
nothing else that the caption says may answer the question.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from septet.preprocess.questions.lexicon import NOUNS, how_many, what_colour
from septet.preprocess.questions.pairs import Question
from septet.preprocess.scene_graphs.doubts import doubted
from septet.preprocess.scene_graphs.graph import Attribute, Node, Object, Relation, SceneGraph
from septet.preprocess.scene_graphs.lemmas import PLURALS, Lemmas
from septet.preprocess.scene_graphs.parsers import SeptetParser
from septet.preprocess.scene_graphs.repairs import as_parsers_expect
from septet.preprocess.scene_graphs.words import COLOURS, INVARIANT, words

Fact = tuple[str, ...]
"""("number", object, value), ("color", object, colour), ("relation", subject, name, object)."""

PEOPLE = words(
    """man woman boy girl child person people kid baby lady guy player worker officer soldier girl
    toddler teenager couple friend mother father bride groom chef rider skier surfer"""
)
"""Words for people: they are asked for by "who"."""

WORN = words(
    """shirt hat suit dress jacket coat uniform sunglasses glasses helmet jeans pants shorts skirt
    tie scarf boot shoe cap outfit costume sweater raincoat swimsuit bikini"""
)
NOBODY = words(
    """someone somebody something anyone everyone everybody everything nobody nothing half size
    degree percent part rest kind type pack set piece none"""
)
"""Words that name no thing by themselves."""

SAYS_HOW = words("is are was were looks look painted colored coloured dyed turned been in all")

TIMES = words(
    """night day dusk dawn sunset sunrise winter summer autumn spring morning evening afternoon
    time year festival event rain snow front back middle background distance air"""
)
"""Words for times: nobody is there, so they are not asked for by "where"; and they do nothing."""

FOODS = ("orange", "cream")
MADE_OF_FOOD = words("juice slice peel tree grove soda zest marmalade jam sauce cheese cake soup")
"""Of these a word for a food says what they are, not which colour they have."""

SMALL = words(
    """a an the this that these those and or is are was were be being been has have who which that
    in on at to by for with of as it its his her their just also then slowly quickly happily"""
)
"""Words that may stand between a subject and what is said of it."""

_NEXT_PHRASE = re.compile(r"\s+(?:a|an|the|his|her|its|their|my|your|our)\s", re.IGNORECASE)
_COUNTED = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|\d+|some|many|several|these|those|both|all)"
    r"(?:\s[\w-]+){0,2}\s$",
    re.IGNORECASE,
)
_DASHED = re.compile(r"\s[-–—|:]\s|[.;:,]\s+(?!\w+(?:\s+and|,))")
_LETTERS = re.compile(r"[^\W\d_]+")

PLACES = (
    *("on", "in", "inside", "under", "behind", "beside", "near", "next to", "in front of"),
    *("on top of", "between"),
)
"""Prepositions that say where."""

SIDES = ("above", "below", "left of", "right of", "to the left of", "to the right of", "outside")
"""Prepositions that say how two things lie to each other."""


@dataclass(frozen=True)
class Candidate:
    """A question that has still to be checked, with what it is checked against."""

    pairs: tuple[Question, ...]
    """The question in each language asked for."""
    statement: str
    """The question with its answer, as a statement."""
    fact: Fact
    """The fact that the caption says and the statement has to say."""


def facts(graph: SceneGraph) -> set[Fact]:
    """The facts that a graph says, as words."""
    names = [o.lemma for o in graph.objects]
    found: set[Fact] = {("number", names[n.object], str(n.value)) for n in graph.numbers}
    found |= {("color", names[a.object], a.lemma) for a in graph.attributes if a.lemma in COLOURS}
    return found | {
        ("relation", names[r.subject], r.lemma, names[r.object]) for r in graph.relations
    }


def questions(
    parser: SeptetParser, captions: Sequence[str], languages: Sequence[str] = ("en",)
) -> list[list[Question]]:
    """Make question-answer pairs of captions.

    Args:
        parser: Makes the graphs, of captions and of statements.
        captions: English captions.
        languages: Of the questions: en, and de, fr, es for numbers and colours of things that
            `lexicon` names. Answers stay as the caption has them.

    Returns:
        For each caption its pairs, in the order of its graph; they do not depend on the others.
    """
    return [
        [pair for one in found for pair in one.pairs]
        for found in checked(parser, captions, languages)
    ]


def checked(
    parser: SeptetParser, captions: Sequence[str], languages: Sequence[str] = ("en",)
) -> list[list[Candidate]]:
    """The candidates of each caption whose statement says their fact again; see `questions`."""
    made = [
        [*candidates(caption, graph, languages, parser.lemmas)]
        for caption, graph in zip(captions, parser.graphs(captions), strict=True)
    ]
    statements = sorted({one.statement for found in made for one in found})
    said = dict(zip(statements, map(facts, parser.graphs(statements)), strict=True))
    return [[one for one in found if one.fact in said[one.statement]] for found in made]


def candidates(
    caption: str, graph: SceneGraph, languages: Sequence[str], lemmas: Lemmas
) -> Iterator[Candidate]:
    """Make the questions that a graph can answer in one way only, before they are parsed again.

    Nothing is asked of a sentence with a denial, a condition or a question in it, whatever the
    parse makes of these: a question that is trained on as truth has to be true. Nor is anything
    asked where a noun may be a verb, or a participle may belong to another noun.
    """
    counts = Counter(o.lemma for o in (*graph.objects, *graph.unasserted))
    parts = doubted(caption)
    alone = [
        counts[o.lemma] == 1
        and _common(caption, o)
        and not _within(o, parts)
        and not _may_act(caption, o, lemmas)
        for o in graph.objects
    ]
    numbers = Counter(n.object for n in graph.numbers)
    for number in graph.numbers:
        thing = graph.objects[number.object]
        if alone[number.object] and numbers[number.object] == 1 and number.value > 1:
            yield _number(thing, number.value, languages)
    colours = [a for a in graph.attributes if a.lemma in COLOURS]
    colours = [a for a in colours if _is_its_colour(caption, graph.objects[a.object], a)]
    of_thing = Counter(a.object for a in colours)
    for colour in colours:
        if alone[colour.object] and of_thing[colour.object] == 1:
            yield _colour(graph.objects[colour.object], colour.lemma, languages)
    if "en" in languages:
        for relation in graph.relations:
            if alone[relation.subject] and alone[relation.object]:
                yield from _relation(caption, graph, relation)


def _within(node: Node, parts: Sequence[range]) -> bool:
    return any(node.spans[0][0] in part for part in parts)


def _may_act(caption: str, thing: Object, lemmas: Lemmas) -> bool:
    """Whether what was read as a noun may be a verb: "lightning strikes", "sheep graze" where the
    numbers agree as subject's and verb's do, or "kicks the ball"."""
    start, end = thing.spans[0][0], thing.spans[-1][1]
    if _NEXT_PHRASE.match(caption, end):
        return True
    *_, name, last = ["", "", *thing.text.lower().split()]
    if not name or _COUNTED.search(caption[:start]):
        return False
    many = name in INVARIANT or lemmas(name, "NNS") != name
    return lemmas.knows(last if many else lemmas(last, "VBZ"), "verb") and (
        many or (last.endswith("s") and last != lemmas(last, "VBZ"))
    )


def _is_its_colour(caption: str, thing: Object, colour: Attribute) -> bool:
    """Whether a colour stands before the thing, or behind it and a verb that says how it is; not
    of "children eating ice cream", nor of "silver zips - front view" or "orange juice"."""
    if colour.lemma in FOODS and thing.lemma in MADE_OF_FOOD:
        return False
    (start, end), (first, last) = colour.spans[0], (thing.spans[0][0], thing.spans[-1][1])
    if start < first:
        return not _DASHED.search(caption[end:first])
    return bool(SAYS_HOW.intersection(caption[last:start].lower().split()))


def _may_be_anothers(caption: str, graph: SceneGraph, relation: Relation, *, bare: bool) -> bool:
    """Whether a relation may belong to another thing than its subject: a place behind another thing
    ("tosses pancakes in a pan"), a participle of what something is done to ("walks the runway
    wearing a coat"), or any behind a word that the graph does not know."""
    start, end = graph.objects[relation.subject].spans[-1][1], relation.spans[0][0]
    known = [span for node in graph.nodes() for span in node.spans]
    if any(
        found.group().lower() not in SMALL and not any(a <= found.start() < b for a, b in known)
        for found in _LETTERS.finditer(caption, start, max(start, end))
    ):
        return True
    if bare:
        return any(start <= o.spans[0][0] < end for o in graph.objects)
    taken = any(r.object == relation.subject and r.lemma != "of" for r in graph.relations)
    clause = SAYS_HOW | {"that", "which", "who"}
    return taken and clause.isdisjoint(caption[start:end].lower().split())


def _common(caption: str, thing: Object) -> bool:
    """Whether "the" may stand before a thing: not before names, not before "someone"."""
    start = thing.spans[0][0]
    name = start > 0 and caption[start].isupper() and as_parsers_expect(caption) == caption
    return not name and thing.lemma not in NOBODY | COLOURS


def _plural(thing: Object) -> bool:
    last = thing.text.lower().split()[-1]
    return last != thing.lemma or thing.lemma in PLURALS or thing.lemma == "people"


def _number(thing: Object, value: int, languages: Sequence[str]) -> Candidate:
    name = thing.text.lower()
    asked = {"en": f"How many {name} are there?"}
    asked |= {
        language: how_many(language, NOUNS[language][thing.lemma])
        for language in languages
        if thing.lemma in NOUNS.get(language, ())
    }
    pairs = tuple(Question(asked[la], str(value), "number", la) for la in languages if la in asked)
    return Candidate(pairs, f"There are {value} {name}.", ("number", thing.lemma, str(value)))


def _colour(thing: Object, colour: str, languages: Sequence[str]) -> Candidate:
    name, plural = thing.text.lower(), _plural(thing)
    verb = "are" if plural else "is"
    asked = {"en": f"What color {verb} the {name}?"}
    asked |= {
        language: what_colour(language, NOUNS[language][thing.lemma], plural)
        for language in languages
        if thing.lemma in NOUNS.get(language, ())
    }
    pairs = tuple(Question(asked[la], colour, "color", la) for la in languages if la in asked)
    return Candidate(pairs, f"The {name} {verb} {colour}.", ("color", thing.lemma, colour))


def _relation(caption: str, graph: SceneGraph, relation: Relation) -> Iterator[Candidate]:
    """Questions for the object, the subject, and the place."""
    subject, object_ = graph.objects[relation.subject], graph.objects[relation.object]
    said = [caption[start:end].lower().split() for start, end in relation.spans]
    spoken = [word for piece in said for word in piece]
    verb, place = _parts(spoken, relation.lemma)
    if len(said) > 1 or (verb is None and place not in PLACES + SIDES) or subject.lemma in TIMES:
        return
    if _may_be_anothers(caption, graph, relation, bare=verb is None):
        return
    what = " ".join(spoken)
    fact = ("relation", subject.lemma, relation.lemma, object_.lemma)
    name, other = subject.text.lower(), object_.text.lower()
    is_, answer = "are" if _plural(subject) else "is", other.split()[-1]
    statement = f"The {name} {is_} {what} the {other}."
    same = [r for r in graph.relations if r.lemma == relation.lemma]
    only_object = sum(r.subject == relation.subject for r in same) == 1
    only_subject = sum(r.object == relation.object for r in same) == 1
    if verb and only_object:
        who = "Who" if object_.lemma in PEOPLE else "What"
        pair = Question(f"{who} {is_} the {name} {what}?", answer, "object")
        yield Candidate((pair,), statement, fact)
    said_of_bodies = not verb and object_.lemma in WORN | TIMES | PEOPLE and place in ("in", "on")
    if only_subject and not said_of_bodies:
        who = "Who" if subject.lemma in PEOPLE else "What"
        pair = Question(f"{who} is {what} the {other}?", name.split()[-1], "object")
        yield Candidate((pair,), statement, fact)
    places = [r for r in graph.relations if r.subject == relation.subject and _is_place(r.lemma)]
    if place in PLACES and len(places) == 1 and object_.lemma not in WORN | TIMES | PEOPLE:
        doing = f" {verb}" if verb else ""
        pair = Question(f"Where {is_} the {name}{doing}?", answer, "location")
        yield Candidate((pair,), statement, fact)


def _parts(spoken: list[str], lemma: str) -> tuple[str | None, str]:
    """The participle that opens a relation, None where there is none, and its other words."""
    verb = spoken[0] if spoken and spoken[0].endswith("ing") and spoken[0] != lemma else None
    return verb, " ".join(spoken[1:] if verb else spoken)


def _is_place(lemma: str) -> bool:
    return any(lemma == place or lemma.endswith(f" {place}") for place in PLACES)
