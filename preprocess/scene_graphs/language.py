"""What the rules over Universal Dependencies (`universal`) know of a language's words."""

from collections.abc import Mapping
from dataclasses import dataclass

Phrase = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Language:
    """The words of a language, in lower case."""

    contractions: Mapping[str, str]
    """Prepositions that are written with an article or cut, by their plain form."""
    of: str
    """The preposition that is no relation, and that stands behind `quantities` and `media`."""
    prepositions: frozenset[str]
    """Those that say how things stand to each other; others are no relation."""
    complex_prepositions: tuple[Phrase, ...]
    """Those of several tokens."""
    purpose: frozenset[str]
    """Prepositions that, before a bare singular, say what a thing is for."""
    states: frozenset[str]
    """Those of `purpose` that say how it is where they stand right behind it."""
    agents: frozenset[str]
    """Prepositions of who does what a passive says."""

    media: frozenset[str]
    """Lemmas that name the image where `of`, or one of `media_before`, follows: no objects."""
    media_before: frozenset[str]
    quantities: frozenset[str]
    """Lemmas that, with `of`, say how many: no objects, what follows takes their place."""
    no_things: frozenset[str]
    """Lemmas of nouns that name nothing that is seen: times, measures."""
    names: frozenset[Phrase]
    """Names of several words, the head first: what stands behind it is no thing of its own."""
    no_attributes: frozenset[str]
    """Lemmas of adjectives that say which, or how many."""
    colours: frozenset[str]
    """Lemmas that describe where they stand bare behind a noun, whatever their tag."""
    transfers: frozenset[str]
    """Lemmas of verbs that move their object: a place named with them is not where things are."""
    infinitives: tuple[tuple[str, str], ...]
    """Endings of verbs that a lemmatizer left inflected, and of their infinitives."""
    regular: tuple[str, tuple[str, ...]]
    """The infinitive's ending of regular verbs, and those of their past participles."""
    plurals: tuple[str, ...]
    """Endings of plurals."""
    irregular: tuple[str, ...]
    """Endings of other verbs' past participles, in the masculine singular."""
    participles: tuple[str, ...]
    """Endings of participles that have an s in the masculine singular."""

    questions: frozenset[str]
    """Words that make a question of the sentence that they open."""
    inverted: frozenset[str]
    """Subjects behind the verb of a question, with their hyphen."""
    conditions: frozenset[str]
    """Words that make a condition of their sentence, unless an adjective follows."""
    condition_phrases: tuple[Phrase, ...]
    supposing: frozenset[str]
    """Lemmas of verbs behind which nothing is said to be so."""
    negations: frozenset[str]
    """Words that deny the verb that they depend on."""
    negated: frozenset[str]
    """Words without which a negation with one of `only` denies nothing."""
    only: frozenset[str]
    without: frozenset[str]
    """Words that deny the phrase behind them."""
    without_phrases: tuple[Phrase, ...]
    absence: frozenset[str]
    """Lemmas that deny what hangs on them."""
    contrasts: frozenset[str]
    """Words that end a denial."""
    nobody: frozenset[str]
    """Words that, without a determiner, stand for no thing."""
    known: frozenset[str]
    """Determiners of things that are taken as known, denied or not."""

    numerals: Mapping[str, int]
    """Values of numerals in words, with spaces for hyphens."""
    numeral_words: frozenset[str]
    """Words that are part of numerals alone."""
    about: frozenset[str]
    """Words before a numeral with which it is not exact."""
    joined: frozenset[str]
    """Words and signs that join numerals."""
