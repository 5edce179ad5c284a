"""The table of Septet's own rules."""

from septet.preprocess.rules.domains import domain
from septet.preprocess.rules.language import language, language_quota
from septet.preprocess.rules.lengths import (
    too_few_ideographs,
    too_few_words,
    too_long,
    too_many_words,
    too_short,
)
from septet.preprocess.rules.parts_of_speech import part_of_speech
from septet.preprocess.rules.patterns import contact, filename, template, url_caption
from septet.preprocess.rules.repetition import punctuation_run, repeated_chars, repeated_words
from septet.preprocess.rules.rule import Rule
from septet.preprocess.rules.shares import (
    few_letters,
    many_capitalised,
    many_capitals,
    many_digits,
    other_script,
    small_initial,
)
from septet.preprocess.rules.vocabulary import rare_word, stop_list

_CONCEPTUAL = "CC3M (Sharma et al. 2018, §3)"
_ROOTS = "ROOTS (Laurençon et al. 2022), OBELICS (Laurençon et al. 2023)"

RULES: dict[str, Rule] = {
    "too_short": Rule(
        too_short, 3, ("min_chars", "min_chars_compact", "min_chars_unspaced"),
        "LAION-400M, DataComp, COYO; by script: Septet",
    ),
    "too_long": Rule(too_long, 1, ("max_chars",), "COYO (dataset card)"),
    "filename": Rule(filename, 1, ("drop_filenames",), ""),
    "url_caption": Rule(url_caption, 1, ("drop_urls",), ""),
    "template": Rule(template, 1, ("templates",), _CONCEPTUAL),
    "too_few_words": Rule(
        too_few_words, 3, ("min_words", "min_words_compact"),
        "ALIGN, CC12M, DataComp, COYO; by script: Septet",
    ),
    "too_many_words": Rule(too_many_words, 1, ("max_words",), "ALIGN, CC12M, COYO"),
    "too_few_ideographs": Rule(too_few_ideographs, 1, ("min_ideographs",), "M6 (unverified)"),
    "few_letters": Rule(few_letters, 1, ("min_letters",), _ROOTS),
    "many_digits": Rule(many_digits, 1, ("max_digits",), ""),
    "other_script": Rule(other_script, 1, ("min_script",), "M6 (unverified)", ("scripts",)),
    "punctuation_run": Rule(punctuation_run, 1, ("max_punctuation_run",), "M6 (unverified)"),
    "repeated_words": Rule(repeated_words, 1, ("max_word_repetition",), "CC12M (data card)"),
    "repeated_chars": Rule(repeated_chars, 1, ("max_char_repetition",), _ROOTS),
    "small_initial": Rule(small_initial, 1, ("first_capital",), _CONCEPTUAL),
    "many_capitalised": Rule(many_capitalised, 1, ("max_capitalised",), _CONCEPTUAL),
    "many_capitals": Rule(many_capitals, 1, ("max_capitals",), ""),
    "contact": Rule(contact, 1, ("drop_contacts",), "WebLI (PaLI's data card)"),
    "stop_list": Rule(stop_list, 1, ("stop_list",), "COYO, M6 (unverified)"),
    "rare_word": Rule(rare_word, 1, ("frequent",), f"ALIGN (Jia et al. 2021, §3), {_CONCEPTUAL}"),
    "domain": Rule(domain, 3, ("deny_domains", "allow_domains"), ""),
    "language": Rule(
        language, 2, ("languages",), "DataComp, COYO", ("undetermined", "language_score"), slow=True
    ),
    "language_quota": Rule(language_quota, 1, ("language_quotas",), "", slow=True),
    "part_of_speech": Rule(
        part_of_speech, 1, ("parts_of_speech",), f"{_CONCEPTUAL}, CC12M, COYO", slow=True
    ),
}  # fmt: skip
"""Reject reason to rule, in the order in which a row's first failure is looked for."""
