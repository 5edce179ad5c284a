"""The keep rule of bottom-up attention, by which a detector's proposals become regions.

Source: peteanderson80/bottom-up-attention, `tools/generate_tsv.py`; Anderson et al. 2018,
section 3.1. NumPy, so that the choice does not depend on a device.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def intersection_over_union(box: NDArray[Any], boxes: NDArray[Any]) -> NDArray[Any]:
    """IoU [n] of one box [4] with boxes [n, 4], corners; 0 where the union is empty."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    sides = np.maximum(high - low, 0)
    common = sides[:, 0] * sides[:, 1]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    union = (box[2] - box[0]) * (box[3] - box[1]) + area - common
    return common / np.where(union > 0, union, 1)


def max_confidences(
    boxes: NDArray[Any], probs: NDArray[Any], nms: float = 0.3
) -> NDArray[np.float32]:
    """The highest score of each box among the classes in which it survives NMS.

    For every class but background, all boxes are ranked by that class's score (equal scores by
    position) and a box goes where a better one that stays overlaps it by more than `nms`.

    Args:
        boxes: [n, 4], corners in any unit.
        probs: [n, 1 + classes], background first.
        nms: Greatest IoU of two boxes of one class.

    Returns:
        float32 [n]; 0 for a box that survives in no class.
    """
    count = len(boxes)
    best = np.zeros(count, np.float32)
    if not count:
        return best
    corners = np.asarray(boxes, np.float64)
    overlaps = np.stack([intersection_over_union(box, corners) for box in corners]) > nms
    scores = np.ascontiguousarray(np.asarray(probs, np.float32)[:, 1:].T)  # [classes, n]
    order = np.argsort(-scores, axis=1, kind="stable")
    alive = np.ones_like(scores, bool)
    every = np.arange(len(scores))
    for at in order.T:  # all classes side by side, rank by rank
        stays = alive[every, at]
        np.maximum.at(best, at[stays], scores[every, at][stays])
        alive &= ~(overlaps[at] & stays[:, None])
    return best


def keep(
    boxes: NDArray[Any],
    probs: NDArray[Any],
    threshold: float = 0.2,
    least: int = 10,
    most: int = 100,
    nms: float = 0.3,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Choose regions: those of confidence `threshold` or more, but at least `least` (the most
    confident ones, where too few reach it) and at most `most`. `least` = `most` is a fixed number.

    Args:
        boxes: [n, 4], corners in any unit.
        probs: [n, 1 + classes], background first.
        threshold: Least confidence, see `max_confidences`.
        least: Least number, where there are as many boxes.
        most: Greatest number.
        nms: See `max_confidences`.

    Returns:
        Positions int64 [m] in `boxes`, the most confident first (equal ones by position; the
        original writes them by position where their number is within bounds), and their
        confidences float32 [m].

    Raises:
        ValueError: bounds that no number meets.
    """
    if not 0 <= least <= most:
        raise ValueError(f"regions: 0 <= least <= most, found {least} and {most}")
    confidences = max_confidences(boxes, probs, nms)
    order = np.argsort(-confidences, kind="stable")
    enough = int((confidences >= threshold).sum())
    chosen = order[: min(max(enough, least), most)]
    return chosen, confidences[chosen]
