"""What a declared language weighs: a prior over languages, learnt for each site.

A page of Chinese software says `zh` and may be half translated; a template says `en` whatever
stands in it; a page in Silesian says `szl`, which the model does not know. How far a site's word
goes is seen on its *long texts*, where the model errs seldom. A text counts for the language that
`identify` gives it under the usual prior: so a site in a language that the model is weak in keeps
its word, unless other languages are clear.

With n distinct long texts of a site and a declared language, c(l) of them in language l, the
prior of l is

    (c(l) + CAUTION · usual(l)) / (n + CAUTION)

where `usual` is learnt over sites likewise: each site with at least `ENOUGH` long texts counts
once, with its shares, beside `SITES_OF_DEFAULT` sites of the default.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from septet.schemas.languages import UNDETERMINED

LONG_TEXT = 30
"""The least number of letters of a long text; letters of scripts without spaces count twice."""

MOST_TEXTS = 256
"""The most long texts of a site and declared language that are looked at: those whose hashes are
the least."""

CAUTION = 5
"""How many texts the usual prior counts for, beside those of a site."""

ENOUGH = 3
"""The least number of long texts of a site that say anything."""

SITES_OF_DEFAULT = 20
"""How many sites the default prior counts for, beside those of the corpus."""

_HONEST, _ENGLISH = 0.8, 0.1
"""The default: eight of ten texts are in the declared language, one is in English, the rest in any
of `_LANGUAGES`."""

_LANGUAGES = 176
_ENGLISH_HONEST, _OTHERS = 0.5, 20
"""The default of declared English, which templates and software say of their own accord: half are
in it, the rest in any of 20."""


class Prior(NamedTuple):
    """A prior over languages: weights of some, and the weight of each of the others. They need not
    sum to 1."""

    weights: Mapping[str, float]
    other: float

    def of(self, code: str) -> float:
        """The weight of a language."""
        return self.weights.get(code, self.other)

    @classmethod
    def even(cls) -> "Prior":
        """The prior of all languages alike."""
        return cls({}, 1.0)


@lru_cache(maxsize=1024)
def default_prior(declared: str | None) -> Prior:
    """The prior for a declared language of which nothing was learnt; even for None."""
    if declared is None or declared == UNDETERMINED:
        return Prior.even()
    if declared == "en":
        return Prior({"en": _ENGLISH_HONEST}, (1 - _ENGLISH_HONEST) / _OTHERS)
    rest = (1 - _HONEST - _ENGLISH) / _LANGUAGES
    return Prior({declared: _HONEST, "en": _ENGLISH}, rest)


def learnt_prior(texts: Mapping[str, float], usual: Prior, caution: float = CAUTION) -> Prior:
    """The prior after some texts (or shares of sites) were seen.

    Args:
        texts: How many were of each language.
        usual: The prior before.
        caution: How many texts the prior before counts for.
    """
    whole = sum(texts.values()) + caution
    codes = sorted({*texts, *usual.weights} - {UNDETERMINED})
    weights = {code: (texts.get(code, 0) + caution * usual.of(code)) / whole for code in codes}
    return Prior(weights, caution * usual.other / whole)
