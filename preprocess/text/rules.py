"""Text rules: functions from a table of candidates to a verdict on each row.

A rule returns a `Verdict`: which rows fail, and the value that failed, as text. Reject rows name
the rule with `RULES_VERSION`, which is raised whenever a rule changes.
"""

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.text.language import UNDETERMINED
from septet.preprocess.text.language.model import language_model
from septet.preprocess.text.language.quotas import over_quota
from septet.preprocess.text.language.sites import LanguageTeller
from septet.preprocess.text.words import count_words, unspaced_letters
from septet.schemas.languages import with_included
from septet.schemas.recipe import Filter

RULES_VERSION = 2


class Verdict(NamedTuple):
    """The verdict of a rule: `failed` bool [n]; `value` string [n], what each row was measured
    at."""

    failed: pa.ChunkedArray
    value: pa.ChunkedArray


Rule = Callable[[pa.Table, Filter], Verdict]

_FILENAME = r"^\S+\.(?i:jpe?g|png|gif|webp|bmp|tiff?|svg|avif|heic|pdf|mp4|psd)$"


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(values, pa.string())


def too_short(table: pa.Table, settings: Filter) -> Verdict:
    """The rule against captions of fewer characters than `min_chars` (`min_chars_unspaced` where
    most are of a script without spaces)."""
    length = pc.utf8_length(table["caption"])
    mostly_unspaced = pc.greater(pc.multiply(unspaced_letters(table["caption"]), 2), length)
    least = pc.if_else(mostly_unspaced, settings.min_chars_unspaced, settings.min_chars)
    return Verdict(pc.less(length, least), _text(length))


def too_long(table: pa.Table, settings: Filter) -> Verdict:
    """The rule against captions of more characters than `max_chars`."""
    length = pc.utf8_length(table["caption"])
    return Verdict(pc.greater(length, settings.max_chars), _text(length))


def too_few_words(table: pa.Table, settings: Filter) -> Verdict:
    """The rule against captions of fewer words than `min_words` (see
    `septet.preprocess.text.words`)."""
    words = count_words(table["caption"])
    return Verdict(pc.less(words, settings.min_words), _text(words))


def too_many_words(table: pa.Table, settings: Filter) -> Verdict:
    """The rule against captions of more words than `max_words`."""
    words = count_words(table["caption"])
    return Verdict(pc.greater(words, settings.max_words), _text(words))


def filename(table: pa.Table, settings: Filter) -> Verdict:
    """The rule against captions that are a file's name."""
    matches = pc.match_substring_regex(table["caption"], _FILENAME)
    return Verdict(pc.and_(matches, settings.drop_filenames), table["caption"])


def language(table: pa.Table, settings: Filter) -> Verdict:
    """The rule against languages other than `languages`; needs the columns that
    `LanguageTeller` gives."""
    if settings.languages is None:
        none = pa.chunked_array([pa.repeat(False, len(table))])
        return Verdict(none, table["language"])
    kept = with_included(settings.languages)
    if settings.undetermined == "keep":
        kept.append(UNDETERMINED)
    wanted = pc.is_in(table["language"], value_set=pa.array(kept, pa.string()))
    return Verdict(pc.invert(wanted), table["language"])


def language_quota(table: pa.Table, settings: Filter) -> Verdict:
    """The rule against more of a language than `language_quotas` leaves."""
    over = over_quota(table["id"], table["language"], settings.language_quotas)
    return Verdict(pa.chunked_array([over]), table["language"])


RULES: dict[str, Rule] = {
    "too_short": too_short,
    "too_long": too_long,
    "filename": filename,
    "too_few_words": too_few_words,
    "too_many_words": too_many_words,
    "language": language,
    "language_quota": language_quota,
}
"""Reject reason to rule, in the order in which a row's first failure is looked for."""


def apply_rules(
    candidates: pa.Table, settings: Filter, teller: LanguageTeller | None = None
) -> tuple[pa.Table, pa.Table]:
    """Split candidates into those that pass every rule and the rejects.

    Args:
        candidates: A table of `septet.schemas.tables.CANDIDATES`.
        settings: The recipe's `filter` section.
        teller: What tells languages; when absent the recipe's model, by the usual priors.

    Returns:
        Passed rows (`FILTERED`) and rejects with reason and value (columns `id`, `reason`,
        `value` and those of `REJECTS` that the rows have), both in the order of the input.
    """
    if teller is None:
        teller = LanguageTeller(language_model(settings.language_model), settings.language_score)
    passed, rejected = teller.add_language(candidates), []
    for reason, rule in RULES.items():
        verdict = rule(passed, settings)
        if pc.any(verdict.failed).as_py():
            lost = passed.append_column("value", verdict.value).filter(verdict.failed)
            lost = lost.append_column("rule", pa.repeat(f"{reason}@{RULES_VERSION}", len(lost)))
            rejected.append(lost.append_column("reason", pa.repeat(reason, len(lost))))
            passed = passed.filter(pc.invert(verdict.failed))
    columns = [
        "id", "reason", "value", "image_url", "caption", "page_url", "source", "rule", "extra",
        "annotations",
    ]  # fmt: skip
    if not rejected:
        fields = [pa.field(name, pa.string()) for name in columns]
        return passed, pa.schema(fields).empty_table()
    return passed, pa.concat_tables([table.select(columns) for table in rejected])
