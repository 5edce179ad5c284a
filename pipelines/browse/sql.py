"""Conditions of views as SQL: what `septet curate --keep` takes, asked of DuckDB.

Both ways mean the same, to the last null; a test compares them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from septet.pipelines.views.expressions import (
    Comparison,
    Condition,
    ExpressionError,
    Joined,
    Share,
)


class Column(NamedTuple):
    """A field: the alias of the table that has it, its name there, its type, and the name under
    which that table has it in lower case, if it has."""

    table: str
    name: str
    type: pa.DataType
    lower: str = ""

    @property
    def sql(self) -> str:
        """Its value as SQL."""
        return f"{self.table}.{quoted(self.name)}"

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers, so that they have an order and a histogram."""
        return pa.types.is_integer(self.type) or pa.types.is_floating(self.type)

    @property
    def known(self) -> str:
        """Its value as SQL, null where it says nothing: NaN is no number."""
        if pa.types.is_floating(self.type):
            return f"CASE WHEN isnan({self.sql}) THEN NULL ELSE {self.sql} END"
        return self.sql


Shares = Callable[[Share], str]
"""Gives a condition in SQL for the samples with the highest or lowest values of a field."""


def quoted(name: str) -> str:
    """A name as SQL writes those that may hold anything."""
    return '"' + name.replace('"', '""') + '"'


def as_sql(
    condition: Condition, columns: Mapping[str, Column], shares: Shares
) -> tuple[str, list[Any]]:
    """A condition in SQL and the values of its parameters.

    Args:
        condition: A condition whose fields are all known.
        columns: The fields.
        shares: Chooses for `top` and `bottom`.

    Raises:
        ExpressionError: a value that does not fit its field.
    """
    if isinstance(condition, Joined):
        parts = [as_sql(part, columns, shares) for part in condition.parts]
        values = [value for _, some in parts for value in some]
        if condition.word == "not":
            return f"(NOT {parts[0][0]})", values
        return "(" + f" {condition.word.upper()} ".join(sql for sql, _ in parts) + ")", values
    column = columns[condition.field]
    if isinstance(condition, Share):
        if not column.is_number:
            raise ExpressionError(
                f"{condition.field} holds {column.type}: `top` and `bottom` are of numbers"
            )
        return shares(condition), []
    return _compared(condition, column)


def _compared(condition: Comparison, column: Column) -> tuple[str, list[Any]]:
    if condition.sign in ("exists", "missing"):
        return f"({column.known} IS {'NOT ' * (condition.sign == 'exists')}NULL)", []
    values: list[Any] = [condition.fit(column.type, value) for value in condition.values]
    known = f"({column.known})"
    if column.is_number:
        known = f"CAST({known} AS DOUBLE)"
        if condition.sign == "in" and pa.types.is_float32(column.type):
            values = [float(pa.scalar(value, pa.float32()).as_py()) for value in values]
    if condition.sign == "contains":
        lower = f"{column.table}.{quoted(column.lower)}" if column.lower else f"lower({known})"
        return f"contains({lower}, lower(?))", values
    if condition.sign == "in":
        return f"({known} IN ({', '.join('?' * len(values))}))", values
    sign = {"==": "=", "!=": "<>"}.get(condition.sign, condition.sign)
    return f"({known} {sign} ?)", values
