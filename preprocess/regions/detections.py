"""The regions that a detector found on one image."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FEATURES = 2048
"""Width of a region's feature."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """The regions of one image, n of them. What a source does not know is None."""

    features: Floats
    """float32 [n, 2048]."""
    boxes: Floats
    """float32 [n, 4]: x0, y0, x1, y1, normalised to the image's sides, y downwards."""
    probs: Floats | None = None
    """float32 [n, 1 + classes]: distribution over the classes, background first."""
    labels: NDArray[np.int32] | None = None
    """int32 [n]: the likeliest class, counted without background."""
    scores: Floats | None = None
    """float32 [n], confidence."""
    attributes: NDArray[np.int32] | None = None
    """int32 [n]: the likeliest attribute."""
    attribute_scores: Floats | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, rows: NDArray[Any]) -> "Detections":
        """Some regions, in the order of `rows`."""
        return replace(
            self, **{name: array[rows] for name, array in vars(self).items() if array is not None}
        )


class Detector(Protocol):
    """A backend that finds regions on images."""

    def detect(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """Find all regions that the detector proposes, before the keep rule.

        Args:
            images: uint8 [height, width, 3], RGB, of any sizes.

        Returns:
            One for each image, in order; none depends on the other images.
        """
        ...


def locations(boxes: NDArray[Any]) -> Floats:
    """The 5-d locations of boxes, of ViLBERT (Lu et al. 2019, section 3.1) and ERNIE-ViL.

    Args:
        boxes: [n, 4], normalised corners.

    Returns:
        float32 [n, 5]: x0/W, y0/H, x1/W, y1/H and the share of the image's area.
    """
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    return np.concatenate([corners, area[:, None]], axis=1)
