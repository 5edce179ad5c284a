"""Bars of charts, each with the condition that keeps just what it counts; values of addresses."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from septet.pipelines.browse.drawing import as_text
from septet.pipelines.browse.spread import Bins
from septet.pipelines.browse.sql import Column
from septet.pipelines.report import readable
from septet.pipelines.views.expressions import ExpressionError, is_spoken
from septet.schemas.reasons import REASONS

FACETS = ("language", "caption_from", "format", "source")
SIDES = ("width", "height")
_SPREADS = (*SIDES, "original_bytes", "language_score")


@dataclass(frozen=True)
class Bar:
    """A bar of a chart: what it is of, its count, its share of the largest, and the condition that
    keeps just it (empty where none can)."""

    label: str
    count: int
    share: float
    keep: str


def address(path: str, /, **query: Any) -> str:
    """A path with a query; what is empty is left out."""
    given = {name: value for name, value in query.items() if value not in ("", None)}
    return path + ("?" + urlencode(given) if given else "")


def both(keep: str, other: str) -> str:
    """Two conditions as one."""
    if not keep.strip() or not other:
        return keep.strip() or other
    one = keep.strip()
    return f"({one}) and {other}" if re.search(r"\bor\b", one) else f"{one} and {other}"


def words(text: str) -> str:
    """The condition that captions hold each of some words, or texts in quotes."""
    found = re.findall(r'"([^"]+)"|([^\s"]+)', unicodedata.normalize("NFC", text))
    return " and ".join(f'caption contains "{one or other}"' for one, other in found)


def numbers(columns: Mapping[str, Column], own: Sequence[str] = _SPREADS) -> list[str]:
    """The fields of which histograms are shown: some of the corpus's own, and those of columns."""
    names = [*own, *(name for name in columns if "." in name)]
    return [name for name in names if name in columns and columns[name].is_number]


def of_values(field: str, values: Sequence[tuple[Any, int]], most: int = 0) -> list[Bar]:
    """The bars of a facet.

    Args:
        field: The field.
        values: Its values with their counts.
        most: The count of the longest bar; the greatest of these where it is 0.
    """
    most = most or max((count for _, count in values), default=1)
    return [
        Bar(as_text(value) if value is not None else "(none)", count, 100 * count / most,
            equals(field, value))
        for value, count in values
    ]  # fmt: skip


def of_bins(field: str, found: Bins, most: int = 0) -> list[Bar]:
    """The bars of a histogram; `most` as of `of_values`."""
    most = most or max(found.counts) or 1
    last = len(found.counts) - 1
    bars = []
    for number, count in enumerate(found.counts):
        low, high = found.edges[number], found.edges[number + 1]
        sign = "<=" if number == last else "<"
        label = f"{_edge(low)} to {_edge(high)}"
        sides = [f"{field} >= {low:.12g}"] if low > -1e300 else []  # conditions know no infinity
        sides += [f"{field} {sign} {high:.12g}"] if math.isfinite(high) else []
        keep = " and ".join(sides) if is_spoken(field) else ""
        bars.append(Bar(label, count, 100 * count / most, keep))
    return bars


def meaning(reason: str) -> str:
    """What a reason of rejects means; nothing of one that is not known."""
    known = REASONS.get(reason)
    return known.meaning if known else ""


def whole_number(form: Mapping[str, str], name: str = "page", least: int = 1) -> int:
    """A whole number of an address; `least` where it is not given.

    Raises:
        ExpressionError: it is none.
    """
    text = form.get(name, str(least))
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise ExpressionError(
            f"{name}: expected a whole number from {least} on, found {text[:40]!r}"
        )
    return int(text)


def number(form: Mapping[str, str], name: str) -> float | None:
    """A number of an address; None where it is not given.

    Raises:
        ExpressionError: it is none.
    """
    text = form.get(name, "")
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ExpressionError(f"{name}: expected a number, found {text[:40]!r}")
    return value


def equals(field: str, value: Any) -> str:
    """The condition that a field has a value; empty where none can say it."""
    if not is_spoken(field):
        return ""
    if value is None:
        return f"{field} missing"
    if isinstance(value, bool):
        return f"{field} == {str(value).lower()}"
    if isinstance(value, int | float):
        return f"{field} == {value}"
    mark = next((mark for mark in "\"'" if mark not in str(value)), "")
    return f"{field} == {mark}{value}{mark}" if mark and isinstance(value, str) else ""


def _edge(value: float) -> str:
    return readable.number(value) if abs(value) >= 1000 else f"{value:.4g}"
