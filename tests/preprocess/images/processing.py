"""Processing images and looking at what came out."""

import io

import numpy as np
from PIL import Image

from septet.preprocess.images.process import ProcessedImage, process_image
from septet.schemas import recipe
from septet.schemas.reasons import REASONS, Rejected
from tests.preprocess.images.photos import (
    opened,
)

KEEP = recipe.Image()  # nothing here is larger than 256 pixels
LOSSLESS = recipe.Image(encode_format="png")
HALF = recipe.Image(image_size=24)  # of the 64x48 photo's short side


def done(data, policy=KEEP):
    result = process_image(data, policy)
    assert isinstance(result, ProcessedImage), result
    seen = opened(result.data)
    assert seen.shape[:2] == (result.height, result.width)
    assert Image.open(io.BytesIO(result.data)).format == {"jpg": "JPEG"}.get(
        result.ext, result.ext.upper()
    )
    assert result.reencoded == (result.data != data)
    return result


def rejected(data, policy=KEEP):
    result = process_image(data, policy)
    assert isinstance(result, Rejected), result
    assert "fetch" in REASONS[result.reason].stages
    return result.reason, result.value


def difference(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()
