"""Candidates split by all rules that a recipe asks for into those that pass and rejects."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.own import checked, make_rules
from septet.preprocess.rules.rule import Verdict
from septet.preprocess.rules.table import RULES
from septet.preprocess.rules.tally import CAME_IN, Tally
from septet.preprocess.text.language.sites import LanguageTeller
from septet.schemas.cuts import CUTS
from septet.schemas.filter import Filter
from septet.schemas.languages import UNDETERMINED

REJECTED = [
    "id", "reason", "value", "image_url", "caption", "page_url", "source", "rule", "extra",
    "annotations",
]  # fmt: skip
"""Columns of the rejects that `apply_rules` gives."""


_DECIMALS = 3
"""Of a fraction in a reject row."""


class Asked(NamedTuple):
    """A rule that a recipe asks for: its reason, its name with version, whether it is slow, the
    rule itself with its settings, and those of its switches that bound a number."""

    reason: str
    name: str
    slow: bool
    judge: Callable[[Captions], Verdict]
    cuts: tuple[str, ...] = ()


def asked_rules(settings: Filter) -> list[Asked]:
    """The rules that a recipe asks for, in the order in which a row's first failure is looked for.

    Raises:
        RuleError: one of `own_rules` cannot be used.
    """
    asked = [
        Asked(
            reason, f"{reason}@{rule.version}", rule.slow, _with(rule.apply, settings),
            tuple(name for name in rule.switches if name in CUTS["filter"]),
        )
        for reason, rule in RULES.items()
        if rule.runs(settings)
    ]  # fmt: skip
    own = [
        Asked("own_rule", name, True, checked(name, rule))
        for name, rule in make_rules(settings.own_rules)
    ]
    last = [one for one in asked if one.reason == "part_of_speech"]
    return [one for one in asked if one not in last] + own + last


def _with(
    apply: Callable[[Captions, Filter], Verdict], settings: Filter
) -> Callable[[Captions], Verdict]:
    return lambda captions: apply(captions, settings)


def apply_rules(
    rows: pa.Table, rules: list[Asked], teller: LanguageTeller, tally: Tally | None = None
) -> tuple[pa.Table, pa.Table]:
    """Split candidates into those that pass every rule and the rejects.

    Quick rules see all rows; languages are told, and slow rules asked, of those alone that pass
    them.

    Args:
        rows: A table of `septet.schemas.tables.CANDIDATES` whose captions are not null.
        rules: Those of `asked_rules`.
        teller: What tells languages.
        tally: Where to count what the rules measured, of rows that pass too.

    Returns:
        Passed rows (`FILTERED`) and rejects with reason and value (the columns `REJECTED`), both in
        the order of the input.
    """
    tally = tally or Tally()
    passed, rejected = pass_quick_rules(rows, rules, tally)
    tally.count_languages(rows["page_language"], pa.chunked_array([pa.repeat(CAME_IN, len(rows))]))
    lost = [rejected]
    passed = teller.add_language(passed)
    _count_scores(passed, teller.sure, tally)
    for rule in rules:
        if rule.slow and len(passed):
            passed, more = _split(passed, [(rule, rule.judge(Captions(passed)))], tally)
            lost.append(more)
    table = pa.concat_tables(one.select(REJECTED) for one in lost)
    return passed, table


def _count_scores(rows: pa.Table, sure: float, tally: Tally) -> None:
    """Count how probable the languages of rows are, by whether they were told; not of texts whose
    language no cut would tell."""
    scores = rows["language_score"].to_numpy()
    told = pc.not_equal(rows["language"], UNDETERMINED).to_numpy()
    seen = told | ((scores < sure) & (scores > 0))
    tally.count_values("filter", "language_score", scores[seen], ~told[seen])


def pass_quick_rules(rows: pa.Table, rules: list[Asked], tally: Tally) -> tuple[pa.Table, pa.Table]:
    """Split candidates by the rules that are not slow."""
    captions = Captions(rows)
    return _split(rows, [(rule, rule.judge(captions)) for rule in rules if not rule.slow], tally)


def _split(
    rows: pa.Table, verdicts: list[tuple[Asked, Verdict]], tally: Tally
) -> tuple[pa.Table, pa.Table]:
    """Split rows by verdicts on all of them; each reject has the first one that fails it."""
    open_ = np.ones(len(rows), bool)
    places: list[np.ndarray] = []
    columns: dict[str, list[pa.Array]] = {"reason": [], "value": [], "rule": []}
    for rule, verdict in verdicts:
        failed = verdict.failed.to_numpy(zero_copy_only=False)
        _count_values(rule, verdict, failed, open_, tally)
        failed = failed & open_
        if failed.any():
            at = np.flatnonzero(failed)
            open_ &= ~failed
            places.append(at)
            columns["reason"].append(pa.repeat(rule.reason, len(at)))
            columns["value"].append(as_text(verdict.value.take(pa.array(at))))
            columns["rule"].append(pa.repeat(rule.name, len(at)))
    if not places:
        empty = rows.slice(0, 0)
        for name in columns:
            empty = empty.append_column(name, pa.nulls(0, pa.string()))
        return rows, empty
    order = np.argsort(np.concatenate(places), kind="stable")
    lost = rows.filter(pa.array(~open_))
    for name, parts in columns.items():
        lost = lost.append_column(name, pa.concat_arrays(parts).take(pa.array(order)))
    tally.count_languages(lost["page_language"], lost["reason"])
    return rows.filter(pa.array(open_)), lost


def as_text(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Values that rules measured, as reject rows have them."""
    if pa.types.is_floating(values.type):
        values = pc.round(values, _DECIMALS)
    return pc.cast(values, pa.string())


def _count_values(
    rule: Asked, verdict: Verdict, failed: np.ndarray, seen: np.ndarray, tally: Tally
) -> None:
    """Count the values of the rows that a rule saw, bool [n], by the setting that held for each."""
    if not rule.cuts:
        return
    values = verdict.value.to_numpy(zero_copy_only=False)
    if verdict.held_to is None:
        tally.count_values("filter", rule.cuts[0], values[seen], failed[seen])
        return
    for place, setting in enumerate(rule.cuts):
        here = seen & (verdict.held_to == place)
        tally.count_values("filter", setting, values[here], failed[here])
