"""Images as columns see them: RGB, upright, of bounded size."""

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.columns.base import Item, NoValue
from septet.preprocess.images.decode import decode_rgb
from septet.schemas.reasons import RejectedError


class PictureError(ValueError):
    """Bytes that are no image which can be decoded."""


def read_picture(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file as `decode_rgb` does. Its pixels are those of Pillow, which the
    reference pipelines of tokenizers and detectors use, bit for bit.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        PictureError: it cannot be decoded, or has more than 100 million pixels.
    """
    try:
        return decode_rgb(data)
    except RejectedError as error:
        raise PictureError(str(error)) from error


def picture_of(item: Item) -> NDArray[np.uint8] | NoValue:
    """A sample's picture as `read_picture` gives it, or why there is none: `no_image`, `picture`
    (it cannot be decoded)."""
    if item.image is None:
        return NoValue("no_image")
    try:
        return read_picture(item.image)
    except PictureError as error:
        return NoValue("picture", str(error))
