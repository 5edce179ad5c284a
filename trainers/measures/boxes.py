"""Grounding accuracy, objects found and detection AP: whether boxes that a model writes lie where
they should."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from septet.preprocess.boxes.transforms import areas, as_boxes, to_xywh
from septet.preprocess.regions.select import intersection_over_union


class Boxes(NamedTuple):
    """Labelled boxes of an image."""

    boxes: NDArray[np.floating]
    """Corners x0, y0, x1, y1 [n, 4], in pixels."""
    labels: Sequence[str]
    scores: Sequence[float] | None = None
    """Of written ones; without them the first is the surest."""


def grounding(
    written: Sequence[ArrayLike | None], expected: Sequence[ArrayLike]
) -> dict[str, float]:
    """`grounding_accuracy`, the share of phrases whose first written box has an IoU of at least
    0.5 with the right one (RefCOCO: Yu et al., arXiv 1608.00272), and `grounding_iou`, the mean;
    for `Generation`. Nothing written is wrong."""
    found = [
        0.0
        if box is None or not np.size(box)
        else float(intersection_over_union(as_boxes(box)[0], as_boxes(right)).max())
        for box, right in zip(written, expected, strict=True)
    ]
    return {
        "grounding_accuracy": sum(iou >= 0.5 for iou in found) / len(found),
        "grounding_iou": sum(found) / len(found),
    }


def hits(written: Boxes, expected: Boxes, overlap: float = 0.5) -> int:
    """How many of the expected boxes are found: one that is written, and stands for no other, has
    the label and at least this IoU."""
    left, found = list(zip(expected.boxes, expected.labels, strict=True)), 0
    for box, label in zip(written.boxes, written.labels, strict=True):
        for i, (right, name) in enumerate(left):
            if name == label and intersection_over_union(box, right[None])[0] >= overlap:
                del left[i]
                found += 1
                break
    return found


def objects(written: Sequence[Boxes], expected: Sequence[Boxes]) -> dict[str, float]:
    """`objects`, 2 hits / (written + there), where a hit has the label and half of the box, and
    `labels`, the same by labels alone; for `Generation`."""
    whole = sum(len(each.labels) for each in (*written, *expected))
    pairs = list(zip(written, expected, strict=True))
    return {
        name: 2 * sum(hits(ours, theirs, overlap) for ours, theirs in pairs) / max(whole, 1)
        for name, overlap in (("objects", 0.5), ("labels", 0.0))
    }


def detection(written: Sequence[Boxes], expected: Sequence[Boxes]) -> dict[str, float]:
    """`ap` (the mean over IoU 0.50 to 0.95) and `ap50` as COCO counts them, by faster-coco-eval;
    for `Generation`. Labels that no image has are no part of the mean.

    Raises:
        ValueError: faster-coco-eval is not installed, or there is no box to find.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise ValueError(
            "detection AP needs faster-coco-eval, which is not installed; "
            "pip install 'septet[measures]'"
        ) from error
    names = sorted({label for each in expected for label in each.labels})
    if not names:
        raise ValueError(f"none of {len(expected)} images has a box to find; measure on others")
    numbers = {name: i for i, name in enumerate(names, 1)}
    images = [{"id": i, "width": 1, "height": 1} for i in range(1, len(expected) + 1)]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (ours, theirs) in enumerate(zip(written, expected, strict=True), 1):
        for box, area, label in zip(
            to_xywh(theirs.boxes).tolist(), areas(theirs.boxes), theirs.labels, strict=True
        ):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": numbers[label],
                 "bbox": box, "area": float(area), "iscrowd": 0}
            )  # fmt: skip
        scores = ours.scores or [1 / (1 + i) for i in range(len(ours.labels))]
        for box, label, score in zip(
            to_xywh(ours.boxes).tolist(), ours.labels, scores, strict=True
        ):
            if label in numbers:
                results.append(
                    {"image_id": image, "category_id": numbers[label], "bbox": box, "score": score}
                )
    if not results:
        return {"ap": 0.0, "ap50": 0.0}
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    with contextlib.redirect_stdout(io.StringIO()):  # It prints tables.
        truth = COCO({"images": images, "annotations": annotations, "categories": categories})
        found = COCOeval_faster(truth, truth.loadRes(results), "bbox")
        found.evaluate()
        found.accumulate()
        found.summarize()
    return {"ap": float(found.stats[0]), "ap50": float(found.stats[1])}
