"""Why a file is no picture that can be trained on."""

import re

from PIL import Image

IMAGE_REASONS = {
    "empty": "no bytes",
    "not_image": "another kind of file; value: which, or its first bytes in hexadecimal",
    "unsupported": "a picture of a kind that is not read; value: which",
    "too_many_pixels": "width x height, as the header states it or as it would be written, is over "
    "the policy's limit; value: the size",
    "too_many_frames": "more frames than the policy allows; value: the limit",
    "too_long_side": "the picture would be longer than its encoding allows; value: the size",
    "decode_error": "truncated or damaged; value: the decoder's message",
}
"""Every reason of an `ImageReject`."""

_ADDRESS = re.compile(r"\s*(?:at )?0x[0-9a-fA-F]{6,}")


class Unusable(Exception):
    """A file cannot be used: `reason` and `value` as in `IMAGE_REASONS`."""

    def __init__(self, reason: str, value: str | None = None):
        super().__init__(f"{reason}: {value}")
        self.reason, self.value = reason, value


def decode_error(error: Exception) -> Unusable:
    """The reject for a decoder's exception: one short line, the same in every run."""
    if isinstance(error, Image.DecompressionBombError):  # of a frame, where the header was small
        count = re.search(r"\d+ pixels", str(error))
        return Unusable("too_many_pixels", count[0] if count else None)
    lines = str(error).strip().splitlines()
    message = _ADDRESS.sub("", lines[0]) if lines else type(error).__name__
    return Unusable("decode_error", message[:100])
