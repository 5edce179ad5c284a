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
once, with its shares, beside `SITES_OF_DEFAULT` sites of the default. What is seldom there is left
out of it, and all learnt weights are rounded to powers of two: so one more input changes what is
known of a site only where it shows something else, not wherever it adds to a count.
"""

import math
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

_LEAST_USUAL = 1 / 256
"""The least weight that is usual for another language; less is chance, and would be another with
each site more."""

_LEAST_REST = 1 / 64
"""The least weight of all languages that are not usual, together."""

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

    def rounded(self) -> "Prior":
        """The prior with each weight at the nearest power of two, by ratio."""
        weights = {code: _power_of_two(weight) for code, weight in self.weights.items()}
        return Prior(weights, _power_of_two(self.other))


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


def usual_prior(declared: str, sites: Mapping[str, float]) -> Prior:
    """What is usual for a declared language, with rounded weights.

    Args:
        declared: The language.
        sites: How many sites of it are in each language, each site cut into its shares.
    """
    default = default_prior(declared)
    learnt = learnt_prior(sites, default, SITES_OF_DEFAULT).weights
    weights = {
        code: max(weight, _LEAST_USUAL)
        for code, weight in learnt.items()
        if weight >= _LEAST_USUAL or code == declared
    }
    rest = max(1 - sum(weights.values()), _LEAST_REST)
    return Prior(weights, rest / (_OTHERS if declared == "en" else _LANGUAGES)).rounded()


def _power_of_two(weight: float) -> float:
    part, exponent = math.frexp(weight)  # weight = part * 2 ** exponent, part in [0.5, 1)
    return math.ldexp(0.5 if part < math.sqrt(0.5) else 1.0, exponent)
