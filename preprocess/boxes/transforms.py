"""Boxes under the changes of an image: resize, crop, flip.

Boxes are float arrays [n, 4] of corners x0, y0, x1, y1, y downwards, in pixels or normalised to
the image's sides; windows are in the same unit. An image of width W spans [0, W]: corners lie
between pixels, so a box over all of it is (0, 0, W, H). Results keep the dtype that came
(float32 or float64; whole numbers become float64).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
Window = tuple[float, float, float, float]


def as_boxes(boxes: ArrayLike) -> Floats:
    """`boxes` as a float array [n, 4]; an empty list gives [0, 4].

    Raises:
        ValueError: another shape, or something that is no number.
    """
    array = np.asarray(boxes)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"boxes are numbers [n, 4], not {array.dtype} {array.shape}")
    if not array.size and array.ndim < 3:
        return np.zeros((0, 4), array.dtype if array.dtype.kind == "f" else np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes are [n, 4], not {list(array.shape)}")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def from_xywh(boxes: ArrayLike) -> Floats:
    """Corners of boxes given as x, y of the top-left corner, width, height (COCO's form)."""
    array = as_boxes(boxes)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1)


def to_xywh(boxes: ArrayLike) -> Floats:
    """The inverse of `from_xywh`: exact where x + width was, else within one rounding."""
    array = as_boxes(boxes)
    return np.concatenate([array[:, :2], array[:, 2:] - array[:, :2]], axis=1)


def areas(boxes: ArrayLike) -> Floats:
    """Areas [n], 0 for boxes whose corners are the wrong way round."""
    array = as_boxes(boxes)
    sides: Floats = np.maximum(array[:, 2:] - array[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


LEAST_INSIDE = 0.5
"""The share of a box's area that lies in the image where the box counts as one of that image."""
ROUNDING = 1e-6
"""The share of a side by which float32 moves corners on an image's edge."""


def clip_to_image(
    boxes: Floats,
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Clip normalised boxes [n, 4] to the image.

    Returns:
        The boxes; whether each hung over by more than rounding; whether each lies outside, which
        one does whose larger part does.
    """
    inside = np.clip(boxes, 0, 1)
    with np.errstate(all="ignore"):  # sides of boxes that are no numbers, or too large
        over = np.asarray((abs(inside - boxes) > ROUNDING).any(axis=1))
        outside = areas(inside) < LEAST_INSIDE * areas(boxes)
    return inside, over, outside


def scale(boxes: ArrayLike, x: float, y: float) -> Floats:
    """Boxes after a resize by factors x and y: multiplied. Normalised boxes stay as they are.

    The inverse is `scale(…, 1 / x, 1 / y)`, exact for powers of two, else within two roundings.
    """
    array = as_boxes(boxes)
    return array * np.array([x, y, x, y], array.dtype)


def normalise(boxes: ArrayLike, width: float, height: float) -> Floats:
    """Pixels to shares of the sides."""
    array = as_boxes(boxes)
    return array / np.array([width, height, width, height], array.dtype)


def denormalise(boxes: ArrayLike, width: float, height: float) -> Floats:
    """Shares of the sides to pixels."""
    return scale(boxes, width, height)


def flip(boxes: ArrayLike, width: float = 1.0) -> Floats:
    """Boxes of the image mirrored left to right: x0, x1 become width - x1, width - x0.

    Its own inverse: exactly so for whole pixels, else within one rounding of `width`.
    """
    array = as_boxes(boxes)
    wide = array.dtype.type(width)
    return np.stack([wide - array[:, 2], array[:, 1], wide - array[:, 0], array[:, 3]], axis=1)


def crop(
    boxes: ArrayLike, window: Window, min_share: float = 0.0
) -> tuple[Floats, NDArray[np.int64]]:
    """Boxes within a window, clipped to it.

    Args:
        boxes: [n, 4].
        window: The part that is cut out of the image, in the unit of the boxes.
        min_share: Boxes of which less than this share of the area lies within are dropped. Boxes
            of which nothing lies within always are; a box without area counts as a whole one
            where it lies within.

    Returns:
        The boxes [m, 4], measured from the window's top-left corner, and the positions [m] in
        `boxes` that they had.

    Raises:
        ValueError: the window has no area.
    """
    array = as_boxes(boxes)
    x0, y0, x1, y1 = window
    if not (x1 > x0 and y1 > y0):
        raise ValueError(f"a window needs x0 < x1 and y0 < y1, not {window}")
    low, high = np.array([x0, y0], array.dtype), np.array([x1, y1], array.dtype)
    clipped = np.concatenate(
        [np.clip(array[:, :2], low, high), np.clip(array[:, 2:], low, high)], axis=1
    )
    before, after = areas(array), areas(clipped)
    within = np.all((array[:, :2] <= high) & (array[:, 2:] >= low), axis=1)
    share = np.where(before > 0, after / np.where(before > 0, before, 1), within)
    kept = np.flatnonzero((share > 0) & (share >= min_share))
    return clipped[kept] - np.concatenate([low, low]), kept


def uncrop(boxes: ArrayLike, window: Window) -> Floats:
    """Boxes of a window in the image's coordinates; undoes `crop` for boxes that lie within."""
    array = as_boxes(boxes)
    return array + np.array([window[0], window[1]] * 2, array.dtype)


def view(
    boxes: ArrayLike, window: Window, flipped: bool = False, min_share: float = 0.0
) -> tuple[Floats, NDArray[np.int64]]:
    """Normalised boxes in a view of the image: cropped, resized to anything, mirrored or not.

    Args:
        boxes: [n, 4], normalised.
        window: The crop, normalised.
        flipped: Whether the view is mirrored.
        min_share: See `crop`.

    Returns:
        Boxes [m, 4] normalised to the view, and their positions [m] in `boxes`.
    """
    cut, kept = crop(boxes, window, min_share)
    cut = np.minimum(normalise(cut, window[2] - window[0], window[3] - window[1]), 1)
    return (flip(cut) if flipped else cut), kept
