"""Pictures as columns see them: RGB, upright, of bounded size."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_PIXELS = 100_000_000


class PictureError(ValueError):
    """Bytes that are no picture which can be decoded."""


def open_picture(data: bytes) -> Image.Image:
    """Decode a picture file with Pillow: the first frame, EXIF orientation applied, mode RGB.

    Pillow, not a faster decoder: reference pipelines of tokenizers and detectors use it, and
    codes depend on every bit.

    Raises:
        PictureError: it cannot be decoded, or has more than 100 million pixels.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(f"{image.width} x {image.height} pixels")
            upright = ImageOps.exif_transpose(image)
            if "A" in upright.getbands() or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                white = Image.new("RGBA", upright.size, "white")
                return Image.alpha_composite(white, upright).convert("RGB")
            return upright.convert("RGB")
    except PictureError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError(f"{type(error).__name__}: {error}") from error


def read_picture(data: bytes) -> NDArray[np.uint8]:
    """`open_picture` as uint8 [height, width, 3]."""
    return np.asarray(open_picture(data))
