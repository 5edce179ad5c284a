"""The appearance of an image in few bytes, by which near-copies are told: a perceptual hash to find
them by, and a thumbnail to look again.

Both come from the pixels of the stored file as everybody sees them: upright, on white. They are
the same on every machine where these pixels are: what follows their reduction is whole-number
arithmetic.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from septet.preprocess.images.decode import OpenedImage
from septet.preprocess.images.orientation import Pixels

GREY_SIDE, COLOUR_SIDE = 48, 4
THUMBNAIL_BYTES = GREY_SIDE**2 + 2 * COLOUR_SIDE**2
_SIDE, _KEPT = 32, 8
_COSINES = np.round(
    2**20
    * np.cos(np.pi * np.arange(_KEPT)[:, None] * (2 * np.arange(_SIDE)[None] + 1) / (2 * _SIDE))
).astype(np.int64)
"""The lowest frequencies of a discrete cosine transform (DCT-II), unscaled."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """The appearance of an image.

    `phash`: 16 hex digits, laid out as ImageHash prints its `phash` (64 bits: which of the 8 x 8
    lowest frequencies of the cosine transform of 32 x 32 grey pixels are above their median), so
    that lists of such hashes can be compared. `thumbnail`: `THUMBNAIL_BYTES` bytes, 48 x 48 of
    luma, then 4 x 4 of Cr and of Cb (ITU-R BT.601), row by row.
    """

    phash: str
    thumbnail: bytes


def appearance(pixels: Pixels) -> Appearance:
    """Describe an image by its upright pixels, at least `decode.SMALL` a side where it has them."""
    if pixels.ndim == 2:
        grey, colour = pixels, np.full((COLOUR_SIDE, COLOUR_SIDE, 2), 128, np.uint8)
    else:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        few = cv2.resize(pixels, (GREY_SIDE, GREY_SIDE), interpolation=cv2.INTER_AREA)
        converted = cv2.cvtColor(few, cv2.COLOR_RGB2YCrCb)[:, :, 1:].astype(np.int64)
        step = GREY_SIDE // COLOUR_SIDE
        blocks = converted.reshape(COLOUR_SIDE, step, COLOUR_SIDE, step, 2).sum(axis=(1, 3))
        colour = ((blocks + step * step // 2) // (step * step)).astype(np.uint8)
    luma = cv2.resize(grey, (GREY_SIDE, GREY_SIDE), interpolation=cv2.INTER_AREA)
    square = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return Appearance(
        f"{perceptual_hash(square):016x}",
        luma.tobytes() + colour[:, :, 0].tobytes() + colour[:, :, 1].tobytes(),
    )


def perceptual_hash(grey: NDArray[np.uint8]) -> int:
    """The perceptual hash of 32 x 32 grey pixels, 64 bits."""
    low = (_COSINES @ grey.astype(np.int64) @ _COSINES.T).ravel()
    middle = np.sort(low)[low.size // 2 - 1 : low.size // 2 + 1].sum()
    return int.from_bytes(np.packbits(2 * low > middle).tobytes(), "big")


def appearance_of(data: bytes, max_pixels: int) -> Appearance:
    """Describe an image file that a store has.

    Raises:
        RejectedError: as of `decode.decode_rgb`.
    """
    return appearance(OpenedImage(data, max_pixels).small())


def hashes_of(column: list[str]) -> NDArray[np.uint64]:
    """Perceptual hashes as numbers, uint64 [n]."""
    return np.frombuffer(bytes.fromhex("".join(column)), ">u8").astype(np.uint64)
