"""Language identification of captions.

Short captions fool any model: on captions of four to eight words lid.176 is right on little more
than half of 78 languages, and a fixed score throws good data away. So three witnesses are heard:
the model, which reads the words alone (`preprocess.text.language.words`); the script, which few
languages share; and the page or list, whose word weighs as much as its site has earned
(`preprocess.text.language.declared`).
"""

from typing import NamedTuple

from septet.preprocess.text.language.declared import Prior, default_prior
from septet.preprocess.text.language.model import LanguageModel, language_model
from septet.preprocess.text.language.scripts import (
    HAN,
    dominant_script,
    is_written_in,
    not_japanese,
)
from septet.preprocess.text.language.words import words_of
from septet.schemas.languages import UNDETERMINED, language_code

_LEAST = 1e-3
"""The likelihood that a declared language has at least, where the model gives it less: softmax
scores of short texts are surer than they are right."""

_UNKNOWN = 0.05
"""The likelihood of a declared language that the model has never seen: it gives the score to
neighbours (Silesian as German, 0.78)."""

_OTHER_SCRIPT = 1e-3
"""The factor on a language that is not written in the text's script."""

_NO_LANGUAGE = 0.01
"""The likelihood of none of the languages that the model knows, where none of its guesses is
written in the text's script; less as far as some are."""

_WITHOUT_KANA, _MOST_COUNTED = 0.4, 6
"""The factor on Japanese for each Han character, of six at most, of a text without kana."""


class Language(NamedTuple):
    """The language of a caption: ISO 639 code, the probability of it in [0, 1], and where it comes
    from: `model`; `page`, where the model alone would not say so; `undetermined`; `unknown_label`,
    where the model gives a label that is no language that Septet knows."""

    code: str
    score: float
    origin: str


def known_languages() -> frozenset[str]:
    """The codes that the model that ships with Septet knows."""
    return language_model().codes


def primary_subtag(tag: str | None) -> str | None:
    """The primary subtag of a language tag: `pt-BR` gives `pt`, `iw` gives `he`; None for what is
    no language tag."""
    return language_code(tag or "")


def identify(
    caption: str,
    declared: str | None = None,
    sure: float = 0.5,
    prior: Prior | None = None,
    model: LanguageModel | None = None,
) -> Language:
    """Identify the language of a caption.

    The probability of a language is its likelihood times its prior, over the sum of all. The
    likelihood is the model's score, corrected by the script.

    Args:
        caption: A cleaned caption (one line).
        declared: The language that its page or list declares, as a BCP 47 tag.
        sure: The least probability of a language; below it none can be told.
        prior: What is known of the site; without one what is usual for the declared language.
        model: The model; without one that which ships with Septet.
    """
    model = model or language_model()
    words = words_of(caption)
    script = dominant_script(words)
    if script is None:
        return Language(UNDETERMINED, 0.0, "undetermined")
    scores, unknown = model.guesses(words)
    said = primary_subtag(declared)
    likely = _likelihoods(scores, words, script, said, model)
    alone = code, score = _best(likely, Prior.even())
    if said is not None or prior is not None:
        code, score = _best(likely, prior or default_prior(said))
    if code == UNDETERMINED or score < sure:
        return Language(UNDETERMINED, score, "unknown_label" if unknown else "undetermined")
    by_model = alone[0] == code and alone[1] >= sure
    return Language(code, score, "model" if by_model else "page")


def _likelihoods(
    scores: dict[str, float], words: str, script: str, said: str | None, model: LanguageModel
) -> dict[str, float]:
    likely = dict(scores)
    if script == HAN:  # what Chinese and Japanese share
        likely["zh"] = max(likely.get("zh", 0.0), _LEAST)
        if "ja" in likely:
            likely["ja"] *= _WITHOUT_KANA ** min(_MOST_COUNTED, len(words))
    elif script in _ONE_LANGUAGE and (only := _ONE_LANGUAGE[script]) in model.codes:
        likely[only] = max(likely.values(), default=1.0)
    if said is not None:
        least = _LEAST if said in model.codes else _UNKNOWN
        likely[said] = max(likely.get(said, 0.0), least)
    for code in likely:
        unread = code == "ja" and script == HAN and not_japanese(words)
        if unread or not is_written_in(code, script):
            likely[code] *= _OTHER_SCRIPT
    none = _NO_LANGUAGE * max(0.0, 1.0 - sum(likely.values()))
    likely[UNDETERMINED] = likely.get(UNDETERMINED, 0.0) + none
    return likely


_ONE_LANGUAGE = {"Kana": "ja", "Hangul": "ko", "Greek": "el", "Armenian": "hy", "Thai": "th"}
"""Scripts that one language of today has for itself."""


def _best(likely: dict[str, float], prior: Prior) -> tuple[str, float]:
    """The likeliest language by likelihood and prior, and its probability."""
    best, most, whole = UNDETERMINED, 0.0, 0.0
    for code, value in likely.items():
        weighed = value * prior.weights.get(code, prior.other)
        whole += weighed
        if weighed > most or (weighed == most and code < best):
            best, most = code, weighed
    return best, most / whole if whole else 0.0
