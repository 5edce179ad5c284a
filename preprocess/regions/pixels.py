"""The preprocessing of images for a C4 network, without torch."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PIXEL_MEAN = (103.53, 116.28, 123.675)
"""BGR, 0-255: what detectron2's C4 models were trained with; Caffe's are 102.9801, 115.9465,
122.7717."""


def resized_size(width: int, height: int, shortest: int, longest: int) -> tuple[int, int]:
    """The (width, height) that detectron2's ResizeShortestEdge gives: the short side to `shortest`,
    but the long one at most `longest`; halves are rounded up; at least one pixel."""
    factor = shortest / min(width, height)
    wide, high = factor * width, factor * height
    if height < width:
        high = float(shortest)
    else:
        wide = float(shortest)
    if max(wide, high) > longest:
        again = longest / max(wide, high)
        wide, high = wide * again, high * again
    return max(1, int(wide + 0.5)), max(1, int(high + 0.5))


def resize(image: NDArray[np.uint8], shortest: int, longest: int) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] by Pillow's bilinear filter on whole numbers, see `resized_size`."""
    height, width = image.shape[:2]
    size = resized_size(width, height, shortest, longest)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
