"""EXIF orientation, found and applied (CIPA DC-008, tag 0x0112)."""

import struct

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""uint8, [height, width] for grey or [height, width, 3] for RGB."""

_TAG, _SHORT, _LONG = 0x0112, 3, 4


def exif_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) that an EXIF block states; 1 where it states none that is valid.

    Args:
        exif: a TIFF structure, with or without "Exif\\0\\0" before it.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, at)
            if tag == _TAG and kind in (_SHORT, _LONG):
                form = "H" if kind == _SHORT else "I"
                (value,) = struct.unpack_from(order + form, tiff, at + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:  # the block ends within its own table
        pass
    return 1


def orient(pixels: Pixels, orientation: int) -> Pixels:
    """Turn an image as it is meant to be seen.

    Orientations 5 to 8 exchange height and width.
    """
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
