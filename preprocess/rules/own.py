"""Rules of other packages and of your own: classes by name, found by entry point.

`examples/rules/many_emoji.py` is one.
"""

import difflib
import inspect
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar

from pydantic import ValidationError

from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.rule import Verdict
from septet.schemas import filter as schema
from septet.schemas.section import Section

GROUP = "septet.rules"


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
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP))}


@lru_cache(maxsize=64)
def rule_class(name: str) -> type[OwnRule]:
    """Find the class of a rule by its name, or by `module:Class` as Python would import it.

    Raises:
        RuleError: there is no such rule, or it cannot be imported.
    """
    known = own_rules()
    if ":" in name:
        known = {name: EntryPoint(name, name, GROUP)}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        others = f"there are {', '.join(known)}" if known else "no package offers any"
        hint = f"did you mean {near[0]!r}?" if near else others
        raise RuleError(f"filter.own_rules: no rule {name!r}; {hint}")
    try:
        found = known[name].load()
    except (ImportError, AttributeError) as error:
        raise RuleError(f"filter.own_rules: {name!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, OwnRule)):
        raise RuleError(
            f"{known[name].value} is no subclass of septet.preprocess.rules.own.OwnRule"
        )
    return found


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
