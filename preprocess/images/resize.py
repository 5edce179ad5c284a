"""The five resize modes of img2dataset: sizes as whole-number arithmetic, pixels by OpenCV."""

from dataclasses import dataclass

import cv2
import numpy as np

from septet.preprocess.images.orientation import Pixels

# Parallelism is over images; OpenCV's own threads would only get in its way.
cv2.setNumThreads(0)


@dataclass(frozen=True)
class ResizePlan:
    """A plan of a resize: scale to `scaled`, then crop or pad to `final`; both (width, height) in
    pixels."""

    scaled: tuple[int, int]
    final: tuple[int, int]


def plan_resize(
    width: int, height: int, image_size: int, resize_mode: str, resize_only_if_bigger: bool
) -> ResizePlan | None:
    """Plan what `resize_mode` does to an image of that size; None where it stays as it is.

    The side that a mode measures is the short one for keep_ratio and center_crop, else the long
    one. With `resize_only_if_bigger` an image whose measured side is at most `image_size` is
    neither enlarged nor cropped nor padded, as in img2dataset.
    """
    if resize_mode == "no":
        return None
    short = resize_mode in ("keep_ratio", "center_crop")
    measured = min(width, height) if short else max(width, height)
    if resize_only_if_bigger and measured <= image_size:
        return None
    scaled = (_scale(width, image_size, measured), _scale(height, image_size, measured))
    square = (image_size, image_size)
    plan = ResizePlan(scaled, square if resize_mode in ("center_crop", "border") else scaled)
    return None if plan.scaled == plan.final == (width, height) else plan


def _scale(side: int, target: int, measured: int) -> int:
    """side * target / measured, rounded half up, at least 1."""
    return max(1, (2 * side * target + measured) // (2 * measured))


def resize(pixels: Pixels, plan: ResizePlan) -> Pixels:
    """Carry out a plan: area averages where the image shrinks, Lanczos where it grows."""
    height, width = pixels.shape[:2]
    if plan.scaled != (width, height):
        shrinks = plan.scaled[0] <= width and plan.scaled[1] <= height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        pixels = cv2.resize(pixels, plan.scaled, interpolation=method)
    if plan.final == plan.scaled:
        return pixels
    (width, height), (new_width, new_height) = plan.scaled, plan.final
    if new_width <= width and new_height <= height:
        top, left = (height - new_height) // 2, (width - new_width) // 2
        return pixels[top : top + new_height, left : left + new_width]
    top, left = (new_height - height) // 2, (new_width - width) // 2
    canvas = np.full((new_height, new_width, *pixels.shape[2:]), 255, np.uint8)
    canvas[top : top + height, left : left + width] = pixels
    return canvas
