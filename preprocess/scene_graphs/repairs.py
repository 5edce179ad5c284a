"""Repairs of mistakes that spaCy's small pipelines make with captions again and again, before the
rules read a parse.

Each repair asks for evidence that does not come from the parser: number agreement, or what
WordNet knows of a word.
"""

from septet.preprocess.scene_graphs.lemmas import Lemmas
from septet.preprocess.scene_graphs.sentence import Sentence
from septet.preprocess.scene_graphs.words import COLOURS


def as_parsers_expect(caption: str) -> str:
    """Write a caption in lower case if it is in title case or capitals, which taggers take for
    names; else it stays as it is. Letters keep their places."""
    words = [word for word in caption.split() if len(word) > 3 and word[0].isalpha()]
    capitals = sum(word[0].isupper() for word in words)
    title = len(words) >= 3 and capitals * 4 >= len(words) * 3
    if not title and not _shouts(caption):
        return caption
    lower = caption.lower()
    return lower if len(lower) == len(caption) else caption


def _shouts(caption: str) -> bool:
    """Whether most letters of a caption of several words are capitals."""
    upper = sum(map(str.isupper, caption))
    return 2 * upper > sum(map(str.isalpha, caption)) and " " in caption.strip()


def mend(sentence: Sentence, lemmas: Lemmas) -> None:
    """Mend a parse in place; to be called before anything asks for its children."""
    for i, tag in enumerate(sentence.tags):
        if tag == "NNS" and _is_verb(sentence, lemmas, i):
            _to_verb(sentence, i)
        elif tag == "VBZ" and sentence.deps[i] in ("compound", "nmod", "amod"):
            _before_object(sentence, i)
        elif tag in ("VBD", "VBN") and sentence.heads[i] == i:
            _before_noun(sentence, i)
        elif tag.startswith("NN") and sentence.lower[i] in COLOURS:
            _colour(sentence, lemmas, i)
        elif sentence.lower[i] in ("left", "right"):
            _beside(sentence, lemmas, i)
        elif tag.startswith("NN") and sentence.deps[i] in ("nmod", "compound"):
            _coordinate(sentence, i)


def _is_verb(sentence: Sentence, lemmas: Lemmas, i: int) -> bool:
    """Whether a word that is tagged as a plural is the verb of a singular subject: "a man with a
    beard talks" (a plural has no "a"), "athlete competes" (there is no noun "compete")."""
    if sentence.deps[i] in ("compound", "nmod", "amod", "poss"):
        return False
    before = [j for j in range(i) if sentence.heads[j] == i]
    if not any(sentence.is_noun(j) for j in before):
        return False
    word = sentence.lower[i]
    if not word.endswith("s") or not lemmas.knows(lemmas(word, "VBZ"), "verb"):
        return False
    singular = lemmas(word, "NNS")
    if any(sentence.lower[j] in ("a", "an") for j in before):
        return singular != word
    return not lemmas.knows(singular, "noun")


def _to_verb(sentence: Sentence, i: int) -> None:
    tags, deps, heads = sentence.tags, sentence.deps, sentence.heads
    before = [j for j in range(i) if heads[j] == i]
    noun = next(j for j in before if sentence.is_noun(j))
    tags[i] = "VBZ"
    for j in before:
        if j != noun:
            heads[j] = noun
    if deps[i] == "ROOT":
        deps[noun], heads[noun] = "nsubj", i
        return
    deps[noun], heads[noun] = deps[i], heads[i]
    root = i
    while heads[root] != root:
        root = heads[root]
    deps[i], heads[i] = "ROOT", i
    if root < i and sentence.is_noun(root):
        deps[root], heads[root] = "nsubj", i


def _before_object(sentence: Sentence, i: int) -> None:
    """ "man repairs bicycle": a word that is tagged as a verb in the third person is no part of a
    name."""
    deps, heads = sentence.deps, sentence.heads
    thing = heads[i]
    before = [j for j in range(i) if heads[j] in (i, thing)]
    names = [j for j in before if sentence.is_noun(j)]
    if thing < i or not names:
        return
    subject = names[-1]
    for j in before:
        heads[j] = subject
    deps[i], heads[i] = deps[thing], heads[thing] if heads[thing] != thing else i
    deps[thing], heads[thing] = "dobj", i
    deps[subject], heads[subject] = "nsubj", i


def _before_noun(sentence: Sentence, i: int) -> None:
    """ "blue and white striped umbrella": what only adjectives stand before does nothing, it
    describes."""
    tags, deps, heads = sentence.tags, sentence.deps, sentence.heads
    children = [j for j in range(len(sentence)) if heads[j] == i != j]
    subjects = [j for j in children if deps[j] in ("nsubj", "nsubjpass")]
    things = [j for j in children if deps[j] == "dobj" and j > i and sentence.is_noun(j)]
    bare = all(tags[j].startswith("JJ") for j in subjects) and "DT" not in tags[:i]
    if len(things) != 1 or not subjects or not bare:
        return
    (thing,) = things
    for j in children:
        heads[j] = thing
        if j in subjects:
            deps[j] = "amod"
    deps[thing], heads[thing] = "ROOT", thing
    deps[i], heads[i] = "amod", thing


def _colour(sentence: Sentence, lemmas: Lemmas, i: int) -> None:
    """ "an orange cross" is no orange that does something: a colour before a noun describes it."""
    deps, heads = sentence.deps, sentence.heads
    thing = i + 1
    if thing == len(sentence) or deps[i] == "amod":
        return
    if deps[i] == "compound" and heads[i] != thing:
        return
    one = any(sentence.lower[j] in ("a", "an") and heads[j] == i for j in range(i))
    if one and sentence.tags[thing] == "VBP" and lemmas.knows(sentence.lower[thing], "noun"):
        sentence.tags[thing] = "NN"  # as a verb it would end in -s
    if not _noun(sentence, lemmas, thing):
        return
    for j in range(len(sentence)):
        if heads[j] == i and j not in (i, thing):
            heads[j] = thing
    if heads[thing] == i or (heads[thing] == thing and heads[i] != thing):
        for j in range(i):
            if heads[j] == thing and deps[j] == "nsubj":
                deps[j], heads[j] = "ROOT", j
        deps[thing], heads[thing] = deps[i], heads[i] if heads[i] != i else thing
    deps[i], heads[i] = "amod", thing


def _noun(sentence: Sentence, lemmas: Lemmas, i: int) -> bool:
    """Whether a token is a noun, or is tagged as an adjective and can be one: then it is made
    one."""
    if sentence.is_adjective(i) and lemmas.knows(sentence.lower[i], "noun"):
        sentence.tags[i] = "NN"
    return sentence.is_noun(i)


def _beside(sentence: Sentence, lemmas: Lemmas, i: int) -> None:
    """ "a ball right of a box" has no thing of the name "ball right": the word before is the
    noun."""
    deps, heads = sentence.deps, sentence.heads
    noun = i - 1
    if noun < 0 or sentence.lower[i + 1 : i + 2] != ["of"] or heads[noun] != i:
        return
    if not _noun(sentence, lemmas, noun):
        return
    for j in range(noun):
        if heads[j] == i:
            heads[j] = noun
    deps[noun], heads[noun] = deps[i], heads[i] if heads[i] != i else noun
    deps[i], heads[i] = "prep", noun


def _coordinate(sentence: Sentence, i: int) -> None:
    """Two things that are parsed as one: in "broken glass and green shutters" an adjective cannot
    be coordinated with the noun "glass"."""
    tags, deps, heads = sentence.tags, sentence.deps, sentence.heads
    head = heads[i]
    joined = [
        j
        for j in range(i + 1, head)
        if heads[j] == i and deps[j] == "conj" and tags[j].startswith("JJ")
    ]
    if head > i and len(joined) == 1 and sentence.is_noun(head):
        (adjective,) = joined
        deps[adjective], heads[adjective] = "amod", head
        for j in range(i):
            if heads[j] == head:
                heads[j] = i
        deps[i], heads[i] = deps[head], heads[head] if heads[head] != head else i
        deps[head], heads[head] = "conj", i
