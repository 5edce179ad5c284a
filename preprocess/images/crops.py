"""Random parts of images, drawn as in "random resized crop"."""

import math

import numpy as np

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; the right and bottom edges are outside."""


def random_box(
    height: int,
    width: int,
    draw: np.random.Generator,
    scale: tuple[float, float] = (0.9, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """A random part of an image, distributed as `torchvision.transforms.RandomResizedCrop`'s.

    Args:
        height: The image's height, pixels.
        width: The image's width, pixels.
        draw: Source of randomness.
        scale: Range of the part's area, as a share of the whole.
        ratio: Range of width / height, drawn evenly on a log scale. When ten draws do not fit,
            the largest centred part within the range is taken.
    """
    for _ in range(10):
        area = height * width * draw.uniform(*scale)
        aspect = math.exp(draw.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(draw.integers(width - w + 1)), int(draw.integers(height - h + 1))
            return x, y, x + w, y + h
    w = max(1, min(width, round(height * ratio[1])))
    h = max(1, min(height, round(width / ratio[0])))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h
