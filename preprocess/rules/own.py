"""Rules of other packages and of your own: classes by name, found by entry point.

`examples/rules/many_emoji.py` is one.
"""

import difflib
import inspect
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint
from typing import ClassVar

import pyarrow as pa
from pydantic import ValidationError

from septet.preprocess.entry_points import offered, require_single
from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.rule import Verdict
from septet.preprocess.rules.table import RULES
from septet.schemas import filter as schema
from septet.schemas.rule_sets import RULE_SETS
from septet.schemas.section import Section

GROUP = "septet.rules"
_CLASS = re.compile(r"[\w.]+:[\w.]+")


class OwnRule(Section):
    """A rule outside Septet. Its fields, with a `description` each, are its settings.

    The first paragraph of the docstring says what it drops. Rows that fail it are rejects for the
    reason `own_rule`, and name it in `rule`.
    """

    version: ClassVar[int] = 1
    """Raised when the rule fails other captions than before."""

    @abstractmethod
    def judge(self, captions: Captions) -> Verdict:
        """Say which captions fail, and what each was measured at. Must depend on nothing but each
        row: neither on its neighbours nor on the time."""

    @classmethod
    def text(cls) -> str:
        """What the rule is, in a line or two."""
        return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


class RuleError(ValueError):
    """Raised when a rule cannot be used as asked; the message says what to do."""


def own_rules() -> dict[str, EntryPoint]:
    """The entry points of all rules that installed packages offer, by name."""
    return offered(GROUP)


@lru_cache(maxsize=64)
def rule_class(name: str) -> type[OwnRule]:
    """Find the class of a rule by its name, or by `module:Class` as Python would import it.

    Raises:
        RuleError: there is no such rule, its name is one of Septet's own, two packages offer it, or
            it cannot be imported.
    """
    known = own_rules()
    if ":" in name:
        if not _CLASS.fullmatch(name):
            raise RuleError(f"filter.own_rules: {name!r} is no class; expected module:Class")
        known = {name: EntryPoint(name, name, GROUP)}
    if name in RULES or name in RULE_SETS:
        raise RuleError(
            f"filter.own_rules: {name!r} is the name of a rule or a set of Septet's own; name the "
            "class itself (module:Class), or have its package offer it by another name"
        )
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        others = f"there are {', '.join(known)}" if known else "no package offers any"
        hint = f"did you mean {near[0]!r}?" if near else others
        raise RuleError(f"filter.own_rules: no rule {name!r}; {hint}")
    try:
        require_single(GROUP, name)
    except ValueError as error:
        raise RuleError(f"filter.own_rules: {error}") from error
    try:
        found = known[name].load()
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise RuleError(
            f"filter.own_rules: {name!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, OwnRule)) or inspect.isabstract(found):
        raise RuleError(
            f"{known[name].value} is no subclass of septet.preprocess.rules.own.OwnRule with a "
            "method `judge`"
        )
    return found


def checked(name: str, rule: OwnRule) -> Callable[[Captions], Verdict]:
    """A rule's `judge`, whose verdict is looked at before it is believed."""

    def judge(captions: Captions) -> Verdict:
        found = rule.judge(captions)
        if not _is_verdict(found, len(captions)):
            raise RuleError(
                f"filter.own_rules: {name} does not give what is expected of `judge`: a Verdict of "
                "two Arrow arrays with an entry for each caption, bool without nulls and what can "
                "be cast to string"
            )
        return found

    return judge


def _is_verdict(found: object, count: int) -> bool:
    if not isinstance(found, Verdict):
        return False
    failed, value, _ = found
    if not isinstance(failed, pa.Array) or not isinstance(value, pa.Array):
        return False
    try:
        pa.nulls(0, value.type).cast(pa.string())
    except pa.ArrowNotImplementedError:
        return False
    fits = len(failed) == len(value) == count
    return fits and pa.types.is_boolean(failed.type) and not failed.null_count


def make_rules(asked: Sequence[schema.OwnRule]) -> list[tuple[str, OwnRule]]:
    """The rules that a recipe asks for, each with its name and version as reject rows have it.

    Raises:
        RuleError: there is no such rule, or a setting is unknown or does not fit.
    """
    made = []
    for one in asked:
        found = rule_class(one.rule)
        try:
            rule = found.model_validate(one.settings)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(map(str, fault["loc"])) or "settings"
            there = ", ".join(found.model_fields) or "none"
            raise RuleError(
                f"filter.own_rules: {one.rule}: `{key}`: {fault['msg']}; its settings: {there}"
            ) from error
        made.append((f"{one.rule}@{found.version}", rule))
    return made
