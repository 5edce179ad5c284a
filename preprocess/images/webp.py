"""WebP images: the header, read before any decoder allocates memory for what it promises, and the
fast path for opaque still images, whose pixels are those of Pillow, bit for bit."""

import struct
from dataclasses import dataclass

import numpy as np

from septet.preprocess.images.orientation import Pixels, exif_orientation

_ALPHA, _ANIMATION = 0x10, 0x02
_MAX_CHUNKS = 1000


@dataclass(frozen=True)
class WebpHeader:
    """The facts of a WebP in its first chunk; sizes in pixels as stored. `is_plain` ones are opaque
    and still, and `decode` reads them."""

    width: int
    height: int
    is_plain: bool
    orientation: int


def read_header(data: bytes) -> WebpHeader | None:
    """Read the header of a WebP (RFC 9649); None where it cannot be followed."""
    kind = data[12:16]
    try:
        if kind == b"VP8X":
            flags = data[20]
            width = 1 + int.from_bytes(data[24:27], "little")
            height = 1 + int.from_bytes(data[27:30], "little")
            plain = not flags & (_ALPHA | _ANIMATION)
            return WebpHeader(width, height, plain, _orientation(data))
        if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return WebpHeader(width & 0x3FFF, height & 0x3FFF, True, 1)
        if kind == b"VP8L" and data[20] == 0x2F:
            (bits,) = struct.unpack_from("<I", data, 21)
            size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
            return WebpHeader(*size, not bits >> 28 & 1, 1)
    except (IndexError, struct.error):
        pass
    return None


def _orientation(data: bytes) -> int:
    at = 12
    for _ in range(_MAX_CHUNKS):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            return exif_orientation(data[at + 8 : at + 8 + size])
        at += 8 + size + (size & 1)
        if at >= len(data):
            break
    return 1


def decode(data: bytes) -> Pixels | None:
    """Decode a plain WebP to RGB pixels, as stored; None where libwebp cannot read it."""
    import cv2  # here, as most runs meet no WebP

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
