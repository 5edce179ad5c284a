"""Images as columns see them: RGB, upright, of bounded size."""

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.columns.base import Item, NoValue
from septet.preprocess.images.decode import decode_rgb
from septet.schemas.reasons import RejectedError


class ImageError(ValueError):
    """Raised when bytes are no image that can be decoded."""


def read_image(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file as `decode_rgb` does. Its pixels are those of Pillow, which the
    reference pipelines of tokenizers and detectors use, bit for bit.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        ImageError: it cannot be decoded, or has more than 100 million pixels.
    """
    try:
        return decode_rgb(data)
    except RejectedError as error:
        raise ImageError(str(error)) from error


def image_of(item: Item) -> NDArray[np.uint8] | NoValue:
    """Decode a sample's image as `read_image` does, or say why there is none: `no_image`, `image`
    (it cannot be decoded)."""
    if item.image is None:
        return NoValue("no_image")
    try:
        return read_image(item.image)
    except ImageError as error:
        return NoValue("image", str(error))
