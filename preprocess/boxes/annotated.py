"""Boxes that came with a sample: read from its metadata, checked, normalised."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from septet.preprocess.boxes.transforms import (
    Floats,
    areas,
    as_boxes,
    clip_to_image,
    from_xywh,
    normalise,
)
from septet.preprocess.columns.left_out import MALFORMED, mostly_malformed, text_of, told
from septet.preprocess.synthetic.scenes import COLOURS

ASPECT_TOLERANCE = 0.02
"""Images whose width / height differ by more than this share are not resized forms of each
other: one was cut or padded."""


class NoBoxesError(ValueError):
    """Raised when the sample says nothing of boxes."""


class BoxesError(ValueError):
    """Raised when boxes cannot be used; says what was found."""


class SizeError(ValueError):
    """Raised when the size of the image that the boxes were drawn on is not known, or disagrees."""


@dataclass(frozen=True)
class LabelledBoxes:
    """The boxes of one sample, with labels."""

    boxes: Floats
    """float64 [n, 4], normalised corners, each with an area."""
    labels: list[str]
    """A label for each box; empty where there is none."""
    absent: list[str] = field(default_factory=list)
    """Labels that are known not to be in the image."""
    faults: list[str] = field(default_factory=list)
    """What was wrong with each box, and each label of what is absent, that was left out."""
    empty: int = 0
    """How many of those faults say nothing against the form of a box: it had no area, or a label of
    what is absent is no text."""
    clipped: int = 0
    """How many of the boxes hung over the image's edge."""

    @property
    def is_malformed(self) -> bool:
        """Whether most of what the source has is."""
        return mostly_malformed(len(self.boxes), len(self.faults) - self.empty)


def read_extra(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a sample's source carried along: `extra` of its metadata, an object or JSON text.

    A list whose own column is called `extra` lies one level deeper; that level is opened too.
    """
    extra = _object(metadata.get("extra"))
    inner = _object(extra.get("extra"))
    return {**extra, **inner} if inner else extra


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except MALFORMED:
            return {}
    return dict(value) if isinstance(value, Mapping) else {}


def image_size(metadata: Mapping[str, Any]) -> tuple[float, float] | None:
    """The (width, height) of the image that pixel boxes were drawn on: as `extra` says, else of the
    image as it was fetched; None where nothing says it."""
    extra = read_extra(metadata)
    for places, width, height in (
        (extra, "width", "height"),
        (metadata, "original_width", "original_height"),
        (metadata, "width", "height"),
    ):
        try:
            return sound_size(places[width], places[height])
        except MALFORMED:
            continue
    return None


def sound_size(width: Any, height: Any) -> tuple[float, float]:
    """A size (width, height) that a source states, checked.

    Raises:
        MALFORMED: a side is no number that is finite and above 0.
    """
    size = float(width), float(height)
    if not (0 < size[0] < math.inf and 0 < size[1] < math.inf):
        raise ValueError(f"an image of {size[0]:g} x {size[1]:g} pixels")
    return size


def check_aspect(metadata: Mapping[str, Any], size: tuple[float, float] | None = None) -> None:
    """Check that the sample's image shows all that boxes of `size` (default: of the image as
    it was fetched) were drawn on.

    Raises:
        SizeError: the image in the shard has other proportions, so it was cut or padded.
    """
    size = size or image_size(metadata)
    try:
        width, height = sound_size(metadata["width"], metadata["height"])
    except MALFORMED:
        return
    if not size:
        return
    # A resize rounds sides to whole pixels, which moves the proportions of small images.
    allowed = ASPECT_TOLERANCE + 1 / min(width, height)
    # Logarithms, for quotients of sides that a source makes up may be 0 or infinite.
    apart = math.log(size[0]) - math.log(size[1]) - math.log(width) + math.log(height)
    if abs(apart) > math.log1p(allowed):
        raise SizeError(
            f"boxes of an image of {size[0]:g} x {size[1]:g}, but the shard's image is "
            f"{width:g} x {height:g}"
        )


def boxes_of_extra(
    metadata: Mapping[str, Any],
    box_format: Literal["xyxy", "xywh"] = "xyxy",
    unit: Literal["normalised", "pixel"] = "normalised",
) -> LabelledBoxes:
    """Read the boxes in a sample's `extra`.

    Two forms are read: `{"boxes": [[…]], "labels": […], "absent": […]}` (labels and absent may be
    missing), and a scene's truth, `{"things": [{"box": …, "size": …, "colour": …, "shape": …}]}`,
    whose labels are the things' names; a scene's boxes are normalised corners whatever the
    arguments say. Lists may be JSON text, as sources in CSV have them.

    A malformed box is left out, see `normalised`.

    Raises:
        NoBoxesError: neither form is there.
        BoxesError: no list, or not as many labels as boxes.
        SizeError: pixels of an image of unknown size, or the image was cut since.
    """
    extra = read_extra(metadata)
    if isinstance(extra.get("things"), list) and "boxes" not in extra:
        return _of_things(extra["things"])
    if extra.get("boxes") is None:
        raise NoBoxesError("extra has neither boxes nor things")
    check_aspect(metadata)
    boxes, labels = as_list(extra["boxes"], "boxes"), as_list(extra.get("labels") or [], "labels")
    absent, faults = [], []
    for label in as_list(extra.get("absent") or [], "absent"):
        try:
            absent.append(text_of(label, "a label"))
        except MALFORMED as error:
            faults.append(told("absent", error))
    if labels and len(labels) != len(boxes):
        raise BoxesError(f"{len(boxes)} boxes, {len(labels)} labels")
    size = (1.0, 1.0)
    if unit == "pixel" and boxes:
        known = image_size(metadata)
        if known is None:
            raise SizeError("pixel boxes, but neither extra nor metadata has width and height")
        size = known
    found = normalised(boxes, labels or [""] * len(boxes), size, box_format, absent)
    return replace(found, faults=[*found.faults, *faults], empty=found.empty + len(faults))


def normalised(
    boxes: Sequence[Any],
    labels: Sequence[Any],
    size: tuple[float, float] = (1.0, 1.0),
    box_format: Literal["xyxy", "xywh"] = "xyxy",
    absent: list[str] | None = None,
) -> LabelledBoxes:
    """Check boxes, divide them by `size` (width, height), and clip those that hang over.

    A box that is not four finite numbers, has its corners the wrong way round, lies outside of the
    image (see `clip_to_image`) or has no area is left out with its label, and so is one whose label
    is no text (null stands for no label); `faults` says why.
    """
    kept: list[Floats] = [np.zeros((0, 4))]
    names, faults, empty, clipped = [], [], 0, 0
    for number, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        try:
            corners, name = _corners(box, size, box_format), _label(label)
        except BoxesError as error:
            faults.append(f"box {number} {error}")
            continue
        inside, over, outside = clip_to_image(corners)
        if not outside[0] and areas(inside)[0] > 0:
            kept.append(inside)
            names.append(name)
            clipped += int(over[0])
        elif outside[0]:
            faults.append(f"box {number} is {_shares(corners[0])}: outside of the image (pixels?)")
        else:
            faults.append(f"box {number} has no area")
            empty += 1
    return LabelledBoxes(np.concatenate(kept), names, absent or [], faults, empty, clipped)


def _shares(corners: Floats) -> str:
    return f"{[round(float(v), 4) for v in corners]} of the sides"


def _corners(box: Any, size: tuple[float, float], box_format: Literal["xyxy", "xywh"]) -> Floats:
    """Check one box; returns it as normalised corners, float64 [1, 4].

    Raises:
        BoxesError: what is wrong with it.
    """
    try:
        corners = as_boxes(np.asarray(box, dtype=np.float64)[None])
    except MALFORMED as error:
        raise BoxesError(f"cannot be read: {error}") from error
    if len(corners) != 1:
        raise BoxesError("is empty")
    if box_format == "xywh":
        corners = from_xywh(corners)
    if size != (1.0, 1.0):
        corners = normalise(corners, *size)
    found = corners[0]
    if not np.isfinite(found).all():
        raise BoxesError(f"is {found.tolist()}")
    if found[2] < found[0] or found[3] < found[1]:
        raise BoxesError(f"is {_shares(found)}: its corners are the wrong way round (is it xywh?)")
    return corners


def _label(label: Any) -> str:
    """The label of a box as text; empty where there is none.

    Raises:
        BoxesError: what it is else.
    """
    try:
        return "" if label is None else text_of(label, "a label")
    except MALFORMED as error:
        raise BoxesError(f"has {error}") from error


def as_list(value: Any, name: str) -> list[Any]:
    """Read a list from metadata; it may be JSON text, as sources in CSV have it.

    Raises:
        BoxesError: it is none; says so with its `name`.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BoxesError(f"{name} is text that is no JSON: {value[:60]!r}") from error
    if not isinstance(value, list | tuple | np.ndarray):
        raise BoxesError(f"{name} is {type(value).__name__}, expected a list")
    return list(value)


def _of_things(things: list[Any]) -> LabelledBoxes:
    """Read the boxes of a scene's truth, named as `septet.preprocess.synthetic.scenes.Thing.name`
    does. Absent are the same things in the other colours, those that a scene does not show."""
    boxes, labels, others, faults = [], [], [], []
    for number, thing in enumerate(things):
        try:
            box, label = thing["box"], " ".join(thing[n] for n in ("size", "colour", "shape"))
            others += [f"{thing['size']} {colour} {thing['shape']}" for colour in COLOURS]
        except MALFORMED as error:
            faults.append(told(f"one of a scene's things, number {number}", error))
            continue
        boxes.append(box)
        labels.append(label)
    absent = [name for name in dict.fromkeys(others) if name not in labels]
    found = normalised(boxes, labels, absent=absent)
    return replace(found, faults=[*faults, *found.faults])
