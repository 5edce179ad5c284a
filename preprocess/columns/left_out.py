"""Entries of a sample (boxes, phrases, questions) that a column leaves out of its value.

An entry that is malformed costs itself; what is left makes the value, unless most boxes do not
fit the image. So of the entries that a source has for a sample each is in the value or counted
here, with what was wrong with it.
"""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""The exceptions that reading raises where a value has another form than expected, is a number too
large or is nested too deeply."""

FACTS = (("dropped", pa.int32()), ("faults", pa.list_(pa.string())))
"""Fields of a column's facts: how many entries were left out, and why the first of them were."""
BOX_FACTS = (*FACTS, ("clipped", pa.int32()))
"""The same of boxes, and how many were clipped to the image."""
_TOLD = 5
_CHARACTERS = 200


def left_out(faults: Sequence[str], more: int = 0) -> dict[str, Any]:
    """Make the facts of the entries that a sample's value lacks.

    Args:
        faults: A text for each entry that is left out: what was wrong with it.
        more: The number of further entries left out, because a setting allows no more.
    """
    return {
        "dropped": len(faults) + more,
        "faults": [fault[:_CHARACTERS] for fault in faults[:_TOLD]],
    }


def mostly_malformed(kept: int, malformed: int) -> bool:
    """Whether more of a sample's boxes are malformed than sound: then they have another form or
    unit than they are read in, and what is left is right by chance."""
    return malformed > kept


def text_of(value: Any, what: str) -> str:
    """A text that a source has, stripped; a number passes for one, as in JSON `"answer": 3` does.

    Raises:
        TypeError: it is neither; says so with `what` it is.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, str) and not (number and math.isfinite(value)):
        raise TypeError(f"{what} that is {type(value).__name__}, no text")
    return str(value).strip()


def told(what: str, error: Exception) -> str:
    """A fault as text: the entry, and what reading it raised."""
    return f"{what}: {type(error).__name__}: {error}"[:_CHARACTERS]
