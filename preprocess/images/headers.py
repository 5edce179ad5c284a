"""The sizes that an image's header states, read before any decoder is asked."""

import struct
from collections.abc import Collection

from septet.preprocess.images import jpeg, webp
from septet.preprocess.images.plug_ins import OPTIONAL
from septet.preprocess.images.sniff import image_kind

HEAVY_PIXELS = 25_000_000
"""Pixels to decode (times scans) from which on an image is heavy: about half a second."""


def is_heavy(data: bytes, more: Collection[str] = ()) -> bool:
    """Whether decoding a file may take long or much memory: it promises many pixels or scans, or is
    of a kind whose header says too little (TIFF, AVIF, HEIC, JPEG XL).

    Raises:
        RejectedError: `empty`, `not_image` or `unsupported`.
    """
    kind = image_kind(data, more)
    if kind in ("tiff", "avif", *OPTIONAL):
        return True
    width, height = _size(kind, data)
    scans = jpeg.count_scans(data) if kind == "jpeg" else 1
    return width * height * max(1, scans / 4) > HEAVY_PIXELS


def _size(kind: str, data: bytes) -> tuple[int, int]:
    """The width and height that the header states; 0, 0 where it cannot be followed."""
    try:
        if kind == "png":
            width, height = struct.unpack_from(">II", data, 16)
        elif kind == "gif":
            width, height = struct.unpack_from("<HH", data, 6)
        elif kind == "bmp":
            short = data[14] == 12
            width, height = struct.unpack_from("<HH" if short else "<ii", data, 18)
        else:
            header = jpeg.read_header(data) if kind == "jpeg" else webp.read_header(data)
            width, height = (header.width, header.height) if header else (0, 0)
    except struct.error:
        return 0, 0
    return abs(width), abs(height)
