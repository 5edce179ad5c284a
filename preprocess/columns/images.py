"""Pictures as columns see them: RGB, upright, of bounded size."""

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.columns.base import Item, NoValue
from septet.preprocess.images.orientation import orient
from septet.preprocess.images.pillow import PillowPicture
from septet.preprocess.images.sniff import image_kind
from septet.schemas.reasons import RejectedError

MAX_PIXELS = 100_000_000


class PictureError(ValueError):
    """Bytes that are no picture which can be decoded."""


def read_picture(data: bytes) -> NDArray[np.uint8]:
    """Decode a picture file: the first frame, on white, EXIF orientation applied.

    Pillow, not a faster decoder: reference pipelines of tokenizers and detectors use it, and
    codes depend on every bit.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        PictureError: it cannot be decoded, or has more than 100 million pixels.
    """
    try:
        picture = PillowPicture(image_kind(data), data)
        if picture.width * picture.height > MAX_PIXELS:
            raise PictureError(f"{picture.width} x {picture.height} pixels")
        pixels = orient(picture.pixels()[0], picture.orientation)
    except RejectedError as error:
        raise PictureError(": ".join(filter(None, (error.reason, error.value)))) from error
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def picture_of(item: Item) -> NDArray[np.uint8] | NoValue:
    """A sample's picture as `read_picture` gives it, or why there is none: `no_image`, `picture`
    (it cannot be decoded)."""
    if item.image is None:
        return NoValue("no_image")
    try:
        return read_picture(item.image)
    except PictureError as error:
        return NoValue("picture", str(error))
