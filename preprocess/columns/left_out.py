"""Entries of a sample (boxes, phrases, questions) that a column leaves out of its value.

An entry that is malformed costs itself; what is left makes the value. So of the entries that a
source has for a sample each is in the value or counted here, with what was wrong with it.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

MALFORMED = (AttributeError, LookupError, TypeError, ValueError)
"""The exceptions that reading raises where a value has another form than expected."""

FACTS = (("dropped", pa.int32()), ("faults", pa.list_(pa.string())))
"""Fields of a column's facts: how many entries were left out, and why the first of them were."""
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


def told(what: str, error: Exception) -> str:
    """A fault as text: the entry, and what reading it raised."""
    return f"{what}: {type(error).__name__}: {error}"[:_CHARACTERS]
