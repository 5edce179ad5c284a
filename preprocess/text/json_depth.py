"""The bound on how deep JSON of strangers may nest.

Python's own bound is its stack, so it would depend on who calls whether a row is read.
"""

import json
import re
from typing import Any

MAX_DEPTH = 100
"""Most levels of arrays and objects within one value."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


class NestingError(ValueError):
    """Raised where a value nests deeper than `MAX_DEPTH`."""


def parse_json(text: str) -> Any:
    """Parse JSON that nests at most `MAX_DEPTH` deep.

    Raises:
        NestingError: nested deeper.
        ValueError: no JSON.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH:
        depth = 0
        for token in _TOKEN.finditer(text):
            depth += (token[0] in "[{") - (token[0] in "]}")
            if depth > MAX_DEPTH:
                raise NestingError(f"nested too deeply: more than {MAX_DEPTH} levels")
    return json.loads(text)
