"""Plain JPEGs (Huffman, 8 bits, grey or three components): the fast path of decoding.

They are decoded by libjpeg-turbo, which scales by eighths within the inverse DCT and tells of
damage that other readers paint over in grey.
"""

import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg

from septet.preprocess.images.orientation import Pixels, exif_orientation
from septet.schemas.reasons import RejectedError

_MAX_SCANS = 100
_MARGIN = 1.1
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PLAIN_FRAMES = {0xC0, 0xC1, 0xC2}


@dataclass(frozen=True)
class JpegHeader:
    """What the segments before the first scan say. `is_plain` JPEGs are read by this module."""

    width: int
    height: int
    components: int
    orientation: int
    is_plain: bool


def read_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG; None where its segments cannot be followed to a frame."""
    at, orientation = 2, 1
    frame: tuple[int, int, int, int, int] | None = None
    try:
        while True:
            if data[at] != 0xFF:
                return None
            marker = data[at + 1]
            if marker == 0xFF:  # fill byte
                at += 1
                continue
            if marker in _STANDALONE:
                at += 2
                continue
            if marker == 0xDA:
                break
            (length,) = struct.unpack_from(">H", data, at + 2)
            if marker in _FRAMES and frame is None:
                frame = (marker, *struct.unpack_from(">BHHB", data, at + 4))
            elif marker == 0xE1 and data.startswith(b"Exif\0\0", at + 4) and orientation == 1:
                orientation = exif_orientation(data[at + 4 : at + 2 + length])
            at += 2 + length
    except (IndexError, struct.error):
        return None
    if frame is None:
        return None
    marker, precision, height, width, components = frame
    plain = marker in _PLAIN_FRAMES and precision == 8 and components in (1, 3)
    return JpegHeader(width, height, components, orientation, plain)


def decode(data: bytes, header: JpegHeader, width: int = 0, height: int = 0) -> Pixels | None:
    """Pixels of a plain JPEG, as stored (its orientation is not applied).

    Args:
        width, height: the size that is needed, in pixels. The result may be smaller than the
            picture, but is at least a tenth larger than this (a smaller step would blur in the
            resize that follows); 0 asks for the whole picture.

    Returns:
        The pixels, or None where libjpeg-turbo cannot read this one and Pillow should try.

    Raises:
        RejectedError: `decode_error`.
    """
    gray = header.components == 1
    return _decode(data, "GRAY" if gray else "RGB", round(width * _MARGIN), round(height * _MARGIN))


def check_content(data: bytes) -> bool:
    """Whether the entropy-coded data can be decoded to its end by libjpeg-turbo.

    False where libjpeg-turbo has no opinion.

    Raises:
        RejectedError: `decode_error`, where it is truncated or damaged.
    """
    return _decode(data, "RGB", 1, 1) is not None


def _decode(data: bytes, colorspace: str, width: int, height: int) -> Pixels | None:
    if data.count(b"\xff\xda") > _MAX_SCANS:  # each scan costs a pass over all pixels
        raise RejectedError("decode_error", f"more than {_MAX_SCANS} scans")
    try:
        # Scaling to more than half the size saves no time and costs detail: min_factor.
        pixels = simplejpeg.decode_jpeg(
            data, colorspace, min_height=height, min_width=width, min_factor=2, strict=True
        )
    except ValueError as error:
        message = str(error)
        damaged = message.startswith(("Corrupt JPEG data", "Premature end"))
        if damaged and "extraneous bytes" not in message:
            raise RejectedError("decode_error", message) from error
        return None
    return pixels[:, :, 0] if pixels.shape[2] == 1 else np.asarray(pixels)
