"""What a rule is, and what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.captions import Captions
from septet.schemas.filter import Filter


class Verdict(NamedTuple):
    """The verdict of a rule on n captions: `failed` bool [n] without nulls, and `value` [n] of any
    type, what each was measured at; values of captions that passed are read where a setting of
    `septet.schemas.cuts` bounds them."""

    failed: pa.Array
    value: pa.Array
    held_to: np.ndarray | None = None
    """The place among the rule's switches of the setting that held for each caption, uint8 [n];
    None where it is the first."""


@dataclass(frozen=True)
class Rule:
    """A rule of Septet's own. Its name is the reason of the rows that fail it."""

    apply: Callable[[Captions, Filter], Verdict]
    version: int
    """Raised when the rule fails other captions than before, or gives other values."""
    switches: tuple[str, ...]
    """Settings of `filter`; the rule runs where one of them is set."""
    source: str
    """Whose rule it is; empty where it is common practice."""
    also: tuple[str, ...] = ()
    """Further settings that it reads."""
    slow: bool = False
    """Whether it is to see only captions that passed all rules that are not."""

    @property
    def text(self) -> str:
        """What the rule is, in a line or two."""
        return " ".join((self.apply.__doc__ or "").split())

    def runs(self, settings: Filter) -> bool:
        """Whether the settings ask for it."""
        return any(_is_set(name, getattr(settings, name)) for name in self.switches)


def _is_set(name: str, value: object) -> bool:
    """Whether a setting's value can drop anything: a share of 0 at most can, 0 words at least
    cannot."""
    return bool(value) or (value == 0 and name.startswith("max_"))


def values_where(failed: pa.Array, values: pa.Array) -> pa.Array:
    """Values of the captions that failed, spread over all captions: null for the others."""
    return pc.replace_with_mask(pa.nulls(len(failed), values.type), failed, values)
