"""Rejects for the errors of image decoders."""

import re

from PIL import Image

from septet.schemas.reasons import RejectedError

_ADDRESS = re.compile(r"\s*(?:at )?0x[0-9a-fA-F]{6,}")


def decode_error(error: Exception) -> RejectedError:
    """Make the reject for a decoder's exception: one short line, the same in every run."""
    if isinstance(error, MemoryError):  # this machine's fault, or a bound's: see `process_image`
        raise error
    if isinstance(error, Image.DecompressionBombError):  # of a frame, where the header was small
        count = re.search(r"\d+ pixels", str(error))
        return RejectedError("too_many_pixels", count[0] if count else None)
    lines = str(error).strip().splitlines()
    message = _ADDRESS.sub("", lines[0]) if lines else type(error).__name__
    return RejectedError("decode_error", message[:100])
