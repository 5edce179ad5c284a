"""JSON as the standard has it (RFC 8259), which knows no NaN and no infinities: Python's own writer
writes them all the same, and most other readers refuse the whole file."""

import json
import math
from collections.abc import Mapping
from typing import Any


def standard(value: Any) -> Any:
    """A value with the numbers that JSON does not have as the words `nan`, `inf` and `-inf`, which
    settings (pydantic) and `float` read back."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, Mapping):
        return {name: standard(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [standard(inner) for inner in value]
    return value


def to_json(value: Any, indent: int | None = None, ascii_only: bool = True) -> str:
    """A value as JSON, see `standard`."""
    found = standard(value)
    return json.dumps(found, ensure_ascii=ascii_only, allow_nan=False, indent=indent)


def figures_line(step: int, figures: Mapping[str, float]) -> str:
    """A line of `metrics.jsonl`: `step` and figures by name.

    A figure that is not finite is null, so that a column of numbers stays one; which number it was
    is said under `not_finite`, by name.
    """
    odd = {name: value for name, value in figures.items() if not math.isfinite(value)}
    told = {name: None if name in odd else value for name, value in figures.items()}
    return to_json({"step": step, **told, **({"not_finite": odd} if odd else {})})
