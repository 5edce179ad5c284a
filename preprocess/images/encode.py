"""An encoder of image files: JPEG by libjpeg-turbo, PNG and WebP by OpenCV."""

import cv2
import numpy as np
import simplejpeg

from septet.preprocess.images.orientation import Pixels
from septet.schemas.reasons import RejectedError

LONGEST_SIDE = {"jpg": 65_500, "png": 1_000_000, "webp": 16_383}
"""Pixels that a side may have in each format (libjpeg, libpng's default limit, libwebp)."""


def check_encodable(width: int, height: int, encode_format: str) -> None:
    """Refuse sizes that the format cannot hold.

    Raises:
        RejectedError: `too_long_side`.
    """
    if max(width, height) > LONGEST_SIDE[encode_format]:
        raise RejectedError("too_long_side", f"{width}x{height}")


def encode(pixels: Pixels, encode_format: str, quality: int) -> bytes:
    """Encode pixels as an image file.

    Args:
        pixels: grey or RGB.
        encode_format: jpg, png or webp.
        quality: 1 to 100, for jpg (4:2:0) and webp; png is lossless and does not ask.
    """
    pixels = np.ascontiguousarray(pixels)
    gray = pixels.ndim == 2
    if encode_format == "jpg":
        data: bytes = simplejpeg.encode_jpeg(
            pixels[:, :, None] if gray else pixels,
            quality=quality,
            colorspace="GRAY" if gray else "RGB",
            colorsubsampling="Gray" if gray else "420",
        )
        return data
    options = {
        "png": [cv2.IMWRITE_PNG_COMPRESSION, 6],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }[encode_format]
    bgr = pixels if gray else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(f".{encode_format}", bgr, options)
    if not done:
        raise RuntimeError(f"OpenCV could not write a {encode_format} of {pixels.shape}")
    return encoded.tobytes()
