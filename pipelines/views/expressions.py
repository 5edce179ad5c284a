"""Conditions on samples: `width >= 200 and language in de, fr`, `clip.similarity top 30%`.

```
condition = both {"or" both}
both      = one {"and" one}
one       = "not" one | "(" condition ")" | FIELD test
test      = ("<" | "<=" | ">" | ">=" | "==" | "!=") VALUE
          | ["not"] "contains" VALUE
          | ["not"] "in" VALUE {"," VALUE}
          | ("top" | "bottom") NUMBER "%"
          | "exists" | "missing"
```

A field is a column of the sidecars, or COLUMN.FACT of a column's. A value is a number, true, false,
a word, or a text in quotes; `contains` asks for one in capitals or small letters. What is not known
keeps no sample, but for `missing`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Value = str | float | bool
Table = Mapping[str, pa.Array]
"""Values of each field, of the samples of a shard."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"]*"|'[^']*')|(?P<sign><=|>=|==|!=|[<>=(),%])|(?P<word>[^\s<>=!(),%"']+))"""
)
_SIGNS: dict[str, Callable[..., pa.Array]] = {
    "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
    "=": pc.equal, "==": pc.equal, "!=": pc.not_equal,
}  # fmt: skip
_WORDS = ("and", "or", "not", "in", "top", "bottom", "exists", "missing")


class ExpressionError(ValueError):
    """Raised when a condition cannot be understood, or does not fit a field."""


@dataclass(frozen=True)
class Comparison:
    """A condition on one field."""

    field: str
    sign: str
    values: tuple[Value, ...] = ()

    def mask(self, table: Table) -> pa.Array:
        """Whether each sample meets it, null where the field says nothing."""
        column = table[self.field]
        if pa.types.is_floating(column.type):  # what is no number says nothing
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if self.sign in ("exists", "missing"):
            return pc.is_valid(column) if self.sign == "exists" else pc.is_null(column)
        fit = [self.fit(column.type, value) for value in self.values]
        if self.sign == "contains":
            wanted = pc.utf8_lower(pa.scalar(fit[0])).as_py()
            return pc.match_substring(pc.utf8_lower(column), wanted)
        if pa.types.is_integer(column.type):  # among which 1.5 is none
            column = column.cast(pa.float64(), safe=False)
        if self.sign == "in":
            found = pc.is_in(column, value_set=pa.array(fit, column.type))
            return pc.if_else(pc.is_valid(column), found, pa.scalar(None, pa.bool_()))
        return _SIGNS[self.sign](column, pa.scalar(fit[0]))

    def fit(self, kind: pa.DataType, value: Value) -> Value:
        """The value as it is compared with those of a field.

        Raises:
            ExpressionError: no value of that type can be it.
        """
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            if isinstance(value, str):
                return value
            wanted = "a text: write the value in quotes"
        elif pa.types.is_boolean(kind):
            if isinstance(value, bool):
                return value
            wanted = "true or false"
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            if isinstance(value, float):
                return value
            wanted = "a number"
        else:
            wanted = "nothing that can be compared"
        raise ExpressionError(f"{self.field} {self.sign} {value!r}: {self.field} is {wanted}")

    def tests(self) -> Iterator["Comparison | Share"]:
        """All conditions on one field of it."""
        yield self


@dataclass(frozen=True)
class Share:
    """The samples with the highest or lowest values of a field: so many of all that have one."""

    field: str
    end: Literal["top", "bottom"]
    percent: float

    def mask(self, table: Table) -> pa.Array:
        """As `choose` decided, which stands under `repr(self)`."""
        return table[repr(self)]

    def choose(self, values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which samples are among them, bool [n], within each group; of equal values the first.

        Args:
            values: The field's, NaN where it says nothing.
            groups: A number for each sample's group.
        """
        order = np.lexsort(
            [np.arange(len(values)), -values if self.end == "top" else values, groups]
        )
        order = order[~np.isnan(values[order])]
        _, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
        place = np.arange(len(order)) - np.repeat(starts, counts)
        most = np.floor(counts * self.percent / 100 + 0.5)
        chosen = np.zeros(len(values), bool)
        chosen[order[place < np.repeat(most, counts)]] = True
        return chosen

    def tests(self) -> Iterator["Comparison | Share"]:
        """All conditions on one field of it."""
        yield self


@dataclass(frozen=True)
class Joined:
    """Conditions joined by `and`, `or`, or one by `not`."""

    word: Literal["and", "or", "not"]
    parts: tuple["Condition", ...]

    def mask(self, table: Table) -> pa.Array:
        """Whether each sample meets it, null where that is not known."""
        masks = [part.mask(table) for part in self.parts]
        if self.word == "not":
            return pc.invert(masks[0])
        join = pc.and_kleene if self.word == "and" else pc.or_kleene
        found = masks[0]
        for mask in masks[1:]:
            found = join(found, mask)
        return found

    def tests(self) -> Iterator[Comparison | Share]:
        """All conditions on one field of it."""
        for part in self.parts:
            yield from part.tests()


Condition = Comparison | Share | Joined


def is_spoken(field: str) -> bool:
    """Whether a condition can name a field: one word, of no other meaning."""
    found = _TOKEN.fullmatch(field)
    return found is not None and found["word"] == field and field not in _WORDS


def parse(text: str) -> Condition:
    """Parse a condition.

    Raises:
        ExpressionError: it is none; says where, and what was expected.
    """
    return _Parser(text).parse()


class _Parser:
    """A parser of one condition; recursion is bounded by the number of its tokens."""

    MOST = 200

    def __init__(self, text: str):
        self._text, self._at = text, 0
        self._tokens: list[tuple[str, int]] = []
        end = 0
        while text[end:].strip():
            found = _TOKEN.match(text, end)
            if found is None:
                raise self._error("a quote that is closed, or another sign", end)
            end = found.end()
            self._tokens.append(
                (found[0].strip(), found.start() + len(found[0]) - len(found[0].lstrip()))
            )
        if len(self._tokens) > self.MOST:
            raise ExpressionError(
                f"a condition of {len(self._tokens):,} words: give several --keep"
            )

    def _error(self, expected: str, at: int | None = None) -> ExpressionError:
        place = at if at is not None else self._place()
        found = repr(self._text[place : place + 20]) if self._text[place:].strip() else "the end"
        whole = self._text
        if len(whole) > 300:
            whole = f"…{whole[max(0, place - 150) : place + 50]}…"
        return ExpressionError(f"{whole!r}: expected {expected}, found {found}")

    def _place(self) -> int:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else len(self._text)

    def _peek(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> str | None:
        if self._peek() in wanted:
            self._at += 1
            return self._tokens[self._at - 1][0]
        return None

    def parse(self) -> Condition:
        found = self._joined("or")
        if self._peek():
            raise self._error("'and', 'or' or the end")
        return found

    def _joined(self, word: Literal["and", "or"]) -> Condition:
        def part() -> Condition:
            return self._joined("and") if word == "or" else self._one()

        parts = [part()]
        while self._take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _one(self) -> Condition:
        if self._take("not"):
            return Joined("not", (self._one(),))
        if self._take("("):
            found = self._joined("or")
            if not self._take(")"):
                raise self._error("')'")
            return found
        return self._test()

    def _test(self) -> Condition:
        field = self._peek()
        if not field or field in _WORDS or not re.fullmatch(r"[\w.:-]+", field):
            raise self._error("the name of a field")
        self._at += 1
        if sign := self._take(*_SIGNS):
            return Comparison(field, "==" if sign == "=" else sign, (self._value(),))
        if word := self._take("exists", "missing"):
            return Comparison(field, word)
        if end := self._take("top", "bottom"):
            return Share(field, "top" if end == "top" else "bottom", self._percent())
        is_not = self._take("not")
        if self._take("contains"):
            held = Comparison(field, "contains", (self._text_value(),))
            return Joined("not", (held,)) if is_not else held
        if not self._take("in"):
            raise self._error(
                "'in' or 'contains'" if is_not else "a comparison (<, >=, ==, in, top, exists …)"
            )
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        found = Comparison(field, "in", tuple(values))
        return Joined("not", (found,)) if is_not else found

    def _percent(self) -> float:
        at = self._place()
        value = self._value()
        if not isinstance(value, float) or not self._take("%") or not 0 < value <= 100:
            raise self._error("a share above 0% and up to 100%, such as 30%", at)
        return value

    def _text_value(self) -> str:
        """A value as it is written: of texts, digits are no number."""
        token = self._peek()
        self._value()
        return token[1:-1] if token[0] in "\"'" else token

    def _value(self) -> Value:
        token = self._peek()
        if not token or token in ("(", ")", ",", "%", *_SIGNS):
            raise self._error("a value")
        self._at += 1
        if token[0] in "\"'":
            return token[1:-1]
        if token.lower() in ("true", "false"):
            return token.lower() == "true"
        try:
            number = float(token)
        except ValueError:
            return token
        return number if np.isfinite(number) else token
