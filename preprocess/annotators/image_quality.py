"""The column `image-quality`: how large an image is, and how sharp."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from septet.preprocess.columns.scorer import Scorer

SIDE = 256


class ImageQuality(Scorer):
    """The resolution and sharpness of each stored image.

    `sharpness` is the variance of the Laplacian, which blur lowers (Pech-Pacheco and others,
    Diatom autofocusing in brightfield microscopy, ICPR 2000: LAPV), of luma (ITU-R BT.601, 0 to
    255) with the kernel 0 1 0, 1 -4 1, 0 1 0. An image whose shorter side is longer than 256
    pixels is first scaled down to that, so that the number does not depend on resolution; a
    smaller one is taken as it is. Noise and text raise it, too: look at the report's images
    before you choose a threshold.

    Reasons for no value: `no_image`, `image` (it cannot be decoded, or has more than 100 million
    pixels).
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[Literal["image", "caption"], ...]] = ("image",)
    scores: ClassVar[Mapping[str, str]] = {
        "width": "pixels",
        "height": "pixels",
        "pixels": "width times height",
        "aspect": "the longer side by the shorter one, 1 and more",
        "sharpness": "variance of the Laplacian of luma, shorter side at most 256 pixels",
    }

    def score(
        self, images: Sequence[NDArray[np.uint8]], captions: Sequence[str]
    ) -> Mapping[str, Sequence[float | None]]:
        """See `Scorer.score`."""
        heights, widths = ([image.shape[axis] for image in images] for axis in (0, 1))
        sides = list(zip(widths, heights, strict=True))
        return {
            "width": widths,
            "height": heights,
            "pixels": [w * h for w, h in sides],
            "aspect": [max(pair) / min(pair) for pair in sides],
            "sharpness": [sharpness(image) for image in images],
        }


def sharpness(image: NDArray[np.uint8]) -> float:
    """The variance of the Laplacian of an image, uint8 [height, width, 3]; whole numbers decide
    it, so it is the same on every machine."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if (shorter := min(height, width)) > SIDE:
        # Rounded half up in whole numbers.
        size = ((2 * side * SIDE + shorter) // (2 * shorter) for side in (width, height))
        grey = cv2.resize(grey, tuple(size), interpolation=cv2.INTER_AREA)
    edges = cv2.Laplacian(grey, cv2.CV_16S).astype(np.int64)
    total, squares, count = int(edges.sum()), int((edges * edges).sum()), edges.size
    return (squares * count - total * total) / (count * count)
