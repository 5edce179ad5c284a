"""Boxes that came with a sample: read out of its metadata, checked, normalised."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from septet.preprocess.boxes.transforms import Floats, areas, as_boxes, from_xywh, normalise
from septet.preprocess.synthetic.scenes import COLOURS

OVERHANG = 0.01
"""Boxes may reach out of the image by this share of a side, as rounding does; they are clipped.
"""

ASPECT_TOLERANCE = 0.02
"""Images whose width / height differ by more than this share are not resized forms of each
other: one was cut or padded."""


class NoBoxesError(ValueError):
    """The sample says nothing of boxes."""


class BoxesError(ValueError):
    """The sample's boxes cannot be used; says what was found."""


class SizeError(ValueError):
    """The size of the image that the boxes were drawn on is not known, or disagrees."""


@dataclass(frozen=True)
class LabelledBoxes:
    """Boxes of one sample."""

    boxes: Floats
    """float64 [n, 4], normalised corners, each with an area."""
    labels: list[str]
    """One a box; empty where there is none."""
    absent: list[str] = field(default_factory=list)
    """Labels that are known not to be in the image."""
    dropped: int = 0
    """How many boxes had no area and were left out."""


def read_extra(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a sample's source wanted carried: `extra` of its metadata, an object or JSON text.

    A list whose own column is called `extra` lies one level deeper; that level is opened too.
    """
    extra = _object(metadata.get("extra"))
    inner = _object(extra.get("extra"))
    return {**extra, **inner} if inner else extra


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return dict(value) if isinstance(value, Mapping) else {}


def image_size(metadata: Mapping[str, Any]) -> tuple[float, float] | None:
    """(width, height) of the image that pixel boxes were drawn on: `extra` may say it, else it
    is the image as it was fetched; None where nothing says it."""
    extra = read_extra(metadata)
    for places, width, height in (
        (extra, "width", "height"),
        (metadata, "original_width", "original_height"),
        (metadata, "width", "height"),
    ):
        try:
            size = float(places[width]), float(places[height])
        except (KeyError, TypeError, ValueError):
            continue
        if 0 < size[0] < np.inf and 0 < size[1] < np.inf:
            return size
    return None


def check_aspect(metadata: Mapping[str, Any], size: tuple[float, float] | None = None) -> None:
    """Check that the sample's image shows all that boxes of `size` (default: of the image as
    it was fetched) were drawn on.

    Raises:
        SizeError: the image in the shard has other proportions, so it was cut or padded.
    """
    size = size or image_size(metadata)
    width, height = metadata.get("width"), metadata.get("height")
    if not size or not width or not height:
        return
    # A resize rounds sides to whole pixels, which moves the proportions of small images.
    allowed = ASPECT_TOLERANCE + 1 / min(width, height)
    ratio = (size[0] / size[1]) / (width / height)
    if not 1 / (1 + allowed) <= ratio <= 1 + allowed:
        raise SizeError(
            f"boxes of an image of {size[0]:g} x {size[1]:g}, but the shard's image is "
            f"{width} x {height}"
        )


def boxes_of_extra(
    metadata: Mapping[str, Any],
    box_format: Literal["xyxy", "xywh"] = "xyxy",
    unit: Literal["normalised", "pixel"] = "normalised",
) -> LabelledBoxes:
    """The boxes in a sample's `extra`.

    Two forms are read: `{"boxes": [[…]], "labels": […], "absent": […]}` (labels and absent may be
    missing), and a scene's truth, `{"things": [{"box": …, "size": …, "colour": …, "shape": …}]}`,
    whose labels are the things' names; a scene's boxes are normalised corners whatever the
    arguments say. Lists may be JSON text, as sources in CSV have them.

    Raises:
        NoBoxesError: neither form is there.
        BoxesError: not n x 4 finite numbers, corners the wrong way round, outside of the image,
            or not as many labels as boxes.
        SizeError: pixels of an image of unknown size, or the image was cut since.
    """
    extra = read_extra(metadata)
    if isinstance(extra.get("things"), list) and "boxes" not in extra:
        return _of_things(extra["things"])
    if extra.get("boxes") is None:
        raise NoBoxesError("extra has neither boxes nor things")
    check_aspect(metadata)
    boxes, labels = as_list(extra["boxes"], "boxes"), as_list(extra.get("labels") or [], "labels")
    absent = [str(label) for label in as_list(extra.get("absent") or [], "absent")]
    if labels and len(labels) != len(boxes):
        raise BoxesError(f"{len(boxes)} boxes, {len(labels)} labels")
    size = (1.0, 1.0)
    if unit == "pixel" and boxes:
        known = image_size(metadata)
        if known is None:
            raise SizeError("pixel boxes, but neither extra nor metadata has width and height")
        size = known
    named = [str(label) for label in labels] or [""] * len(boxes)
    return normalised(boxes, named, size, box_format, absent)


def normalised(
    boxes: Sequence[Any],
    labels: list[str],
    size: tuple[float, float] = (1.0, 1.0),
    box_format: Literal["xyxy", "xywh"] = "xyxy",
    absent: list[str] | None = None,
) -> LabelledBoxes:
    """Checked boxes, divided by `size` (width, height), clipped where they overhang by little.

    Raises:
        BoxesError: see `boxes_of_extra`.
    """
    try:
        corners = as_boxes(np.asarray(boxes, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise BoxesError(str(error)) from error
    if box_format == "xywh":
        corners = from_xywh(corners)
    if size != (1.0, 1.0):
        corners = normalise(corners, *size)
    for number, box in enumerate(corners):
        told = f"box {number} is {[round(float(v), 4) for v in box]} of the sides"
        if not np.isfinite(box).all():
            raise BoxesError(f"box {number} is {box.tolist()}")
        if box[2] < box[0] or box[3] < box[1]:
            raise BoxesError(f"{told}: its corners are the wrong way round (is it xywh?)")
        if box.min() < -OVERHANG or box.max() > 1 + OVERHANG:
            raise BoxesError(f"{told}: outside of the image (pixels?)")
    corners = np.clip(corners, 0.0, 1.0)
    whole = np.flatnonzero(areas(corners) > 0)
    return LabelledBoxes(
        corners[whole], [labels[i] for i in whole], absent or [], len(corners) - len(whole)
    )


def as_list(value: Any, name: str) -> list[Any]:
    """A list out of metadata; it may be JSON text, as sources in CSV have it.

    Raises:
        BoxesError: it is none; says so with its `name`.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise BoxesError(f"{name} is text that is no JSON: {value[:60]!r}") from error
    if not isinstance(value, list | tuple | np.ndarray):
        raise BoxesError(f"{name} is {type(value).__name__}, expected a list")
    return list(value)


def _of_things(things: list[Any]) -> LabelledBoxes:
    """Boxes of a scene's truth, named as `septet.preprocess.synthetic.scenes.Thing.name` does.
    Absent are the same things in the other colours, those that a scene does not show."""
    try:
        boxes = [thing["box"] for thing in things]
        labels = [f"{thing['size']} {thing['colour']} {thing['shape']}" for thing in things]
        others = [f"{thing['size']} {c} {thing['shape']}" for thing in things for c in COLOURS]
    except (KeyError, TypeError) as error:
        raise BoxesError(f"a scene's things without {error}") from error
    absent = [name for name in dict.fromkeys(others) if name not in labels]
    return normalised(boxes, labels, absent=absent)
