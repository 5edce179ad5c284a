"""What OFA sees of an image: random parts for training, the whole made square for evaluation, and
boxes as they lie in them (OFA-Sys/OFA, `utils/transforms.py`, `vision_helper.py`)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from septet.trainers.inputs.images import Pixels

Boxes = NDArray[np.float64]
"""Corners x0, y0, x1, y1 as shares of the sides, [n, 4]."""

MEAN = STD = (0.5, 0.5, 0.5)
"""Of RGB in [0, 1]."""

MOST = 672
"""Pixels of a side; a longer one is squeezed."""

JITTER = 1.5
"""Greatest factor on the shorter side of images to find objects in."""

LEVEL = 0.7
"""Strength of augmentations, 7 of 10."""

_GREY = (128, 128, 128)


def square(image: Pixels, side: int) -> Pixels:
    """The whole image, squeezed to side x side."""
    return _resized(image, side, side)


def _resized(image: Pixels, width: int, height: int) -> Pixels:
    if image.shape[1::-1] == (width, height):
        return np.ascontiguousarray(image)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _scaled(image: Pixels, shortest: float) -> Pixels:
    """The shorter side resized; neither side above `MOST`."""
    height, width = image.shape[:2]
    factor = shortest / min(height, width)
    return _resized(image, *(min(MOST, max(1, round(x * factor))) for x in (width, height)))


def centre(draw: np.random.Generator, image: Pixels, side: int, most: int, ops: int) -> Pixels:
    """The middle side x side of the image, whose shorter side is first resized to a number drawn
    from `side` to `most`; then `ops` augmentations."""
    found = _scaled(image, int(draw.integers(side, most + 1)))
    y, x = (round((n - side) / 2) for n in found.shape[:2])
    return augment(draw, np.ascontiguousarray(found[y : y + side, x : x + side]), ops)


def around(
    draw: np.random.Generator, image: Pixels, box: Boxes, side: int, most: int
) -> tuple[Pixels, Boxes]:
    """The same, but a part whose middle is a box's as far as the border allows; and where the box
    lies in it, [1, 4]."""
    found = _scaled(image, int(draw.integers(side, most + 1)))
    height, width = found.shape[:2]
    corners = box.reshape(4) * [width, height, width, height]
    middle = (corners[:2] + corners[2:]) / 2
    x, y = (
        int(np.clip(round(float(m) - side / 2), 0, n - side))
        for m, n in zip(middle, (width, height), strict=True)
    )
    part = np.ascontiguousarray(found[y : y + side, x : x + side])
    return part, _within(corners[None], x, y, side)


def jittered(
    draw: np.random.Generator, image: Pixels, boxes: Boxes, side: int
) -> tuple[Pixels, Boxes]:
    """A part of the image, perhaps mirrored, whose shorter side is first resized to 1 to 1.5 times
    `side`; and where the boxes lie in it, of no area where they do not."""
    if draw.random() < 0.5:
        image = image[:, ::-1]
        boxes = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], 1)
    found = _scaled(np.ascontiguousarray(image), side * draw.uniform(1, JITTER))
    height, width = found.shape[:2]
    y, x = int(draw.integers(height - side + 1)), int(draw.integers(width - side + 1))
    part = np.ascontiguousarray(found[y : y + side, x : x + side])
    return part, _within(boxes * [width, height, width, height], x, y, side)


def _within(corners: Boxes, x: int, y: int, side: int) -> Boxes:
    """Corners in pixels as shares of a part."""
    return np.clip((corners - [x, y, x, y]) / side, 0.0, 1.0)


def augment(draw: np.random.Generator, pixels: Pixels, ops: int) -> Pixels:
    """`ops` operations drawn with replacement, each done with probability 0.5 (RandAugment: Cubuk
    et al., arXiv 1909.13719, with OFA's ten)."""
    if not ops:
        return pixels
    image = Image.fromarray(pixels)
    for number in draw.integers(len(_OPERATIONS), size=ops):
        done, sign = draw.random() < 0.5, -1.0 if draw.random() < 0.5 else 1.0
        if done:
            image = _OPERATIONS[number](image, sign)
    return np.array(image)


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=_GREY
    )


_OPERATIONS: tuple[Callable[[Image.Image, float], Image.Image], ...] = (
    lambda image, sign: image,
    lambda image, sign: ImageOps.autocontrast(image),
    lambda image, sign: ImageOps.equalize(image),
    lambda image, sign: ImageEnhance.Brightness(image).enhance(0.1 + 1.8 * LEVEL),
    lambda image, sign: ImageEnhance.Sharpness(image).enhance(0.1 + 1.8 * LEVEL),
    lambda image, sign: _affine(image, 1, sign * 0.3 * LEVEL, 0, 0, 1, 0),
    lambda image, sign: _affine(image, 1, 0, 0, sign * 0.3 * LEVEL, 1, 0),
    lambda image, sign: _affine(image, 1, 0, sign * 10 * LEVEL, 0, 1, 0),
    lambda image, sign: _affine(image, 1, 0, 0, 0, 1, sign * 10 * LEVEL),
    lambda image, sign: image.rotate(sign * 30 * LEVEL, Image.Resampling.BILINEAR, fillcolor=_GREY),
)
