"""Parsers of texts and of JSON that stand beside an image, in a file of its own or in a tar."""

from typing import Any

from septet.preprocess.text.json_depth import NestingError, parse_json
from septet.schemas.reasons import RejectedError

MAX_SIDECAR_BYTES = 2**20


def text_of(name: str, data: bytes) -> str:
    """The text of a sidecar.

    Raises:
        RejectedError: `sidecar_unreadable`: more than `MAX_SIDECAR_BYTES`, or not UTF-8.
    """
    if len(data) > MAX_SIDECAR_BYTES:
        raise RejectedError("sidecar_unreadable", f"{name}: more than {MAX_SIDECAR_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = f"byte 0x{data[error.start]:02x} at {error.start}"
        raise RejectedError("sidecar_unreadable", f"{name}: {at} is not UTF-8") from error


def json_of(name: str, text: str) -> dict[str, Any]:
    """The object that a sidecar holds.

    Raises:
        RejectedError: `sidecar_unreadable`: not JSON, or no object.
    """
    try:
        value = parse_json(text)
    except NestingError as error:
        raise RejectedError("sidecar_unreadable", f"{name}: {error}") from error
    except ValueError as error:
        raise RejectedError("sidecar_unreadable", f"{name}: not JSON: {error}") from error
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise RejectedError("sidecar_unreadable", f"{name}: expected an object, found {kind}")
    return value
