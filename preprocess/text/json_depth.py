"""The bound on how deep JSON of strangers may nest.

Python's own bound is its stack, so it would depend on who calls whether a row is read.
"""

import json
import re
from itertools import accumulate
from typing import Any

MAX_DEPTH = 100
"""Most levels of arrays and objects within one value."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {byte: 1 if byte in b"[{" else -1 for byte in b"[]{}"}


class NestingError(ValueError):
    """Raised where a value nests deeper than `MAX_DEPTH`."""

    def __init__(self) -> None:
        super().__init__(f"nested too deeply: more than {MAX_DEPTH} levels")


def parse_json(text: str) -> Any:
    """Parse JSON that nests at most `MAX_DEPTH` deep.

    Raises:
        NestingError: nested deeper.
        ValueError: no JSON.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH:
        check_depth(text.encode("utf-8", "surrogatepass"))
    return json.loads(text)


def check_depth(data: bytes) -> None:
    """Check that JSON nests at most `MAX_DEPTH` deep.

    Raises:
        NestingError: nested deeper.
    """
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        brackets = _STRING.sub(b"", data).translate(None, _OTHERS)
        if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH:
            raise NestingError
