"""The fast path for plain JPEGs (Huffman, 8 bits, grey or three components).

They are decoded by libjpeg-turbo, which scales by eighths within the inverse DCT and tells of
damage that other readers paint over in grey. Its pixels are those of Pillow, bit for bit.
"""

import struct
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg

from septet.preprocess.images.orientation import Pixels, exif_orientation
from septet.schemas.reasons import RejectedError

MAX_SCANS = 100
MAX_SCANNED_PIXELS = 1_000_000_000
"""Each scan costs a pass over all pixels, some nanoseconds for each. Encoders write at most about
20 scans; this bound leaves 10 to an image of 100 million pixels."""

_MARGIN = 1.1
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PLAIN_FRAMES = {0xC0, 0xC1, 0xC2}
_DAMAGE = ("Corrupt JPEG data", "Premature end")  # how libjpeg's warnings of lost pixels begin


@dataclass(frozen=True)
class JpegHeader:
    """The facts of a JPEG in the segments before its first scan. `is_plain` JPEGs are read by this
    module."""

    width: int
    height: int
    components: int
    orientation: int
    is_plain: bool
    profile: tuple[slice, ...]
    """The places of the segments of a colour profile."""


def read_header(data: bytes) -> JpegHeader | None:
    """Read the header of a JPEG; None where its segments cannot be followed to a frame."""
    at, orientation = 2, 1
    frame: tuple[int, int, int, int, int] | None = None
    profile: list[slice] = []
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
            elif marker == 0xE2 and data.startswith(b"ICC_PROFILE\0", at + 4):
                profile.append(slice(at, at + 2 + length))
            at += 2 + length
    except (IndexError, struct.error):
        return None
    if frame is None:
        return None
    marker, precision, height, width, components = frame
    plain = marker in _PLAIN_FRAMES and precision == 8 and components in (1, 3)
    plain = plain and width > 0 and height > 0
    return JpegHeader(width, height, components, orientation, plain, tuple(profile))


def count_scans(data: bytes) -> int:
    """The number of scans that a JPEG's markers begin, of its thumbnail, too."""
    # As pairs of bytes: a fifth of the time of `bytes.count`, and other threads run meanwhile.
    pairs = [np.frombuffer(data, "<u2", (len(data) - i) // 2, i) for i in (0, 1)]
    return sum(int(np.count_nonzero(each == 0xDAFF)) for each in pairs)


def check_scans(data: bytes, pixels: int) -> None:
    """Refuse a JPEG that takes unreasonably long to decode.

    Raises:
        RejectedError: `decode_error`.
    """
    scans = count_scans(data)
    if scans > MAX_SCANS or (scans > 1 and scans * pixels > MAX_SCANNED_PIXELS):
        raise RejectedError("decode_error", f"{scans} scans of {pixels} pixels")


def decode(data: bytes, header: JpegHeader, width: int = 0, height: int = 0) -> Pixels | None:
    """Decode a plain JPEG to pixels, as stored (its orientation is not applied).

    Args:
        data: The file.
        header: The file's header.
        width: Pixels that are needed. The result may be smaller than the image, but is at least a
            tenth larger than this (a smaller step would blur in the resize that follows); 0 asks
            for the whole image.
        height: Likewise.

    Returns:
        The pixels, or None where libjpeg-turbo cannot read this one and Pillow should try.

    Raises:
        RejectedError: `decode_error`.
    """
    gray = header.components == 1
    size = round(width * _MARGIN), round(height * _MARGIN)
    return _decode(data, header, "GRAY" if gray else "RGB", *size)


def check_content(data: bytes, header: JpegHeader) -> bool:
    """Check that the entropy-coded data can be decoded to its end by libjpeg-turbo.

    False where libjpeg-turbo has no opinion.

    Raises:
        RejectedError: `decode_error`, where it is truncated or damaged.
    """
    return _decode(data, header, "RGB", 1, 1) is not None


def _decode(
    data: bytes, header: JpegHeader, colorspace: str, width: int, height: int
) -> Pixels | None:
    try:
        # Scaling to more than half the size saves no time and costs detail: min_factor.
        pixels = simplejpeg.decode_jpeg(
            data, colorspace, min_height=height, min_width=width, min_factor=2, strict=True
        )
    except ValueError as error:
        message = str(error)
        if "ICC" in message and header.profile:  # damage of the profile, not of the pixels
            bare = _without(data, header.profile)
            return _decode(bare, replace(header, profile=()), colorspace, width, height)
        if message.startswith(_DAMAGE) and "extraneous bytes" not in message:
            raise RejectedError("decode_error", message) from error
        return None
    return pixels[:, :, 0] if pixels.shape[2] == 1 else np.asarray(pixels)


def _without(data: bytes, parts: tuple[slice, ...]) -> bytes:
    """`data` without those parts, which follow each other."""
    starts = [0, *(part.stop for part in parts)]
    ends = [*(part.start for part in parts), len(data)]
    return b"".join(data[start:end] for start, end in zip(starts, ends, strict=True))
