"""The values of a list's cells as captions and as strict JSON: a list holds whatever its writer put
there."""

import base64
import datetime
import decimal
import json
import math
from typing import Any

from septet.schemas.reasons import RejectedError

_SHOWN = 200


def as_text(value: Any) -> str | None:
    """The text of a cell; None where it is empty.

    Bytes are read as UTF-8 (Parquet files without the annotation of text).

    Raises:
        RejectedError: `caption_type`, a value of another type.
    """
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise RejectedError("caption_type", f"bytes that are not UTF-8: {error}") from error
    if not isinstance(value, str):
        raise RejectedError("caption_type", f"{type(value).__name__}: {value!r}"[:_SHOWN])
    return value


def as_captions(value: Any) -> list[str]:
    """The captions of a cell: one, or each of a list of strings; none where it is empty.

    Raises:
        RejectedError: `caption_type`, a value that is neither.
    """
    values = value if isinstance(value, list | tuple) else [value]
    texts = [as_text(one) for one in values]
    return [text for text in texts if text]


def as_json(value: Any) -> str:
    """A value as JSON that every strict reader takes. Keys are sorted, so equal values give equal
    text.

    NaN and infinities become null, bytes `{"base64": …}`, dates and times ISO 8601, decimals
    strings; lone surrogates become U+FFFD.
    """
    plain = _plain(value)
    return json.dumps(
        plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def as_annotations(values: dict[str, Any]) -> str | None:
    """The annotations of a row as JSON; None where all are empty, so that the row is the same
    sample as one that never had any."""
    return as_json(values) if any(value is not None for value in values.values()) else None


def scrub(text: str) -> str:
    """A text without lone surrogates, which no file can store: each becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {scrub(str(key)): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    return scrub(str(value))
