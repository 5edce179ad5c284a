"""The column `boxes`: labelled boxes, and their tokens."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from septet.preprocess.boxes import annotated
from septet.preprocess.boxes.annotated import LabelledBoxes
from septet.preprocess.boxes.tokens import SCHEMES, BoxTokens, Ofa
from septet.preprocess.boxes.transforms import areas
from septet.preprocess.columns import base
from septet.preprocess.columns.base import Column, Drawing, Item, Mark, NoValue, Value
from septet.preprocess.columns.left_out import BOX_FACTS, left_out
from septet.preprocess.columns.members import pack_json, unpack_arrays, unpack_json
from septet.preprocess.columns.weights import weights_digest
from septet.preprocess.regions.labels import name_of, read_labels
from septet.schemas.columns import MemberFormat

EXTRA = "extra"


def known_schemes(schemes: tuple[str, ...]) -> tuple[str, ...]:
    """Check names of token schemes; returns them.

    Raises:
        ValueError: one is not.
    """
    unknown = [name for name in schemes if name not in SCHEMES]
    if unknown:
        raise ValueError(f"no box tokens {unknown}; there are {sorted(SCHEMES)}")
    return schemes


def make_schemes(names: Sequence[str], ofa_size: int) -> list[BoxTokens]:
    """Make token schemes by name; OFA's for images of `ofa_size` pixels a side."""
    return [Ofa(size=ofa_size) if name == Ofa.name else SCHEMES[name]() for name in names]


def token_notes(schemes: Sequence[BoxTokens]) -> dict[str, Any]:
    """The notes of a column's manifest about its token schemes."""
    return {
        scheme.name: {
            "form": scheme.form,
            "bins": scheme.bins,
            "max_error": scheme.max_error,
            **({"size": scheme.size} if isinstance(scheme, Ofa) else {}),
        }
        for scheme in schemes
    }


class Boxes(Column):
    """The column of labelled boxes, normalised, with their tokens in the schemes asked for.

    They come from annotated sets, through the sample's metadata (see
    `septet.preprocess.boxes.annotated.boxes_of_extra`), or from a column of regions. A sample whose
    source says that there are none has a value without boxes. A box that is malformed, outside of
    the image or without area is left out; `dropped` counts them, `faults` says what was wrong. One
    that hangs over the image's edge is clipped; `clipped` counts them.

    Reasons for no value: `no_boxes` (the source says nothing of boxes), `boxes_malformed` (most
    are malformed or outside; or the boxes are no list, or not as many as the labels),
    `boxes_size` (pixel boxes of an image of unknown size, or of one that was cut or padded
    since), `no_region` (the column of regions has no value).
    """

    version: ClassVar[int] = 4
    facts: ClassVar[pa.Schema] = pa.schema(
        [("boxes", pa.int32()), ("labels", pa.list_(pa.string())), *BOX_FACTS]
    )

    class Settings(base.Settings):
        """Settings of the column."""

        source: str = Field(
            default=EXTRA,
            description="Where boxes come from: `extra` (the samples' metadata), or the name of a "
            "column of regions.",
        )
        format: Literal["xyxy", "xywh"] = Field(
            default="xyxy", description="Corners, or top-left corner with width and height."
        )
        unit: Literal["normalised", "pixel"] = Field(
            default="normalised",
            description="Shares of the sides, or pixels of the image as it was annotated: its "
            "size is `width` and `height` of extra, else that of the image as fetched.",
        )
        order: Literal["stored", "area"] = Field(
            default="stored", description="As the source has them, or the largest first."
        )
        schemes: tuple[str, ...] = Field(
            default=("ofa", "pix2seq", "pali"),
            description=f"Token schemes to write: {', '.join(SCHEMES)}.",
        )
        ofa_size: int = Field(
            default=512, ge=1, le=512, description="Side of the images that OFA sees, pixels."
        )
        labels: base.FilePath = Field(
            default="",
            description="With a column of regions: a file of class names, one a line.",
        )
        min_score: float = Field(
            default=0.0, description="With a column of regions: least score of a box."
        )

        _known = field_validator("schemes")(known_schemes)

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self._schemes = make_schemes(settings.schemes, settings.ofa_size)
        self._names: list[str] = []

    def columns(self) -> tuple[str, ...]:
        """The column of regions that is read, where boxes come from one."""
        return () if self.settings.source == EXTRA else (self.settings.source,)

    def models(self) -> dict[str, str]:
        """The digest of the file of class names."""
        if not self.settings.labels:
            return {}
        return {"labels": weights_digest(self.settings.labels, "class names", "labels")}

    def setup(self) -> None:
        """Read the class names."""
        if self.settings.labels:
            self._names = read_labels(self.settings.labels)

    @property
    def member(self) -> MemberFormat:
        """JSON: `boxes` [n, 4], `labels` [n], `tokens` {scheme: [n, width]}, `absent`."""
        return MemberFormat(
            ext="boxes.json",
            kind="json",
            notes={
                "boxes": "normalised corners x0, y0, x1, y1, y downwards",
                "labels": "one a box; empty where the source has none",
                "absent": "labels that the source says are not in the image",
                "tokens": token_notes(self._schemes),
            },
        )

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """See `Column.annotate`."""
        return [self._annotate(item) for item in items]

    def _annotate(self, item: Item) -> Value | NoValue:
        try:
            found = self._boxes(item)
        except annotated.NoBoxesError as error:
            return NoValue("no_boxes", str(error))
        except annotated.SizeError as error:
            return NoValue("boxes_size", str(error))
        except annotated.BoxesError as error:
            return NoValue("boxes_malformed", str(error))
        if isinstance(found, NoValue):
            return found
        boxes, labels = found.boxes, found.labels
        if found.is_malformed:
            return NoValue("boxes_malformed", found.faults[0])
        if self.settings.order == "area":
            order = np.argsort(-areas(boxes), kind="stable")
            boxes, labels = boxes[order], [labels[i] for i in order]
        value: dict[str, Any] = {
            "boxes": boxes.tolist(),
            "labels": labels,
            "absent": found.absent,
            "tokens": {scheme.name: scheme.encode(boxes).tolist() for scheme in self._schemes},
        }
        facts = {"boxes": len(boxes), "labels": labels, **left_out(found.faults),
                 "clipped": found.clipped}  # fmt: skip
        return Value(pack_json(value), facts)

    def _boxes(self, item: Item) -> LabelledBoxes | NoValue:
        settings = self.settings
        if settings.source == EXTRA:
            return annotated.boxes_of_extra(item.metadata, settings.format, settings.unit)
        data = item.columns.get(settings.source, b"")
        if not data:
            return NoValue("no_region", f"column {settings.source}")
        arrays = unpack_arrays(data)
        boxes = arrays["boxes"].astype(np.float64)
        scores = arrays.get("scores", np.ones(len(boxes), np.float32))
        kept = np.flatnonzero(scores >= settings.min_score)
        classes = arrays.get("labels")
        names = ["" if classes is None else name_of(int(classes[i]), self._names) for i in kept]
        return annotated.normalised(boxes[kept].tolist(), names)

    def check(self, data: bytes) -> None:
        """Check that boxes lie in the image and decode from their tokens within the scheme's
        error."""
        check_boxes(data, self._schemes)

    def drawing(self, data: bytes) -> Drawing:
        """The boxes with their labels."""
        value = unpack_json(data)
        marks = [
            Mark((box[0], box[1], box[2], box[3]), label)
            for box, label in zip(value["boxes"], value["labels"], strict=True)
        ]
        return Drawing(marks=marks)


def check_boxes(data: bytes, schemes: Sequence[BoxTokens]) -> None:
    """Check a value of the column.

    Raises:
        ValueError: what is wrong.
    """
    value = unpack_json(data)
    if value.keys() != {"boxes", "labels", "absent", "tokens"}:
        raise ValueError(f"a value of boxes holds {sorted(value)}")
    check_tokens(value["boxes"], len(value["labels"]), value["tokens"], schemes)


def check_tokens(
    stored: list[list[float]], names: int, tokens: dict[str, Any], schemes: Sequence[BoxTokens]
) -> None:
    """Check boxes with `names` names, and their tokens.

    Raises:
        ValueError: what is wrong.
    """
    boxes = np.array(stored, np.float64).reshape(-1, 4)
    if names != len(boxes):
        raise ValueError(f"{len(boxes)} boxes, {names} names")
    if boxes.size and not (boxes.min() >= 0 and boxes.max() <= 1 and areas(boxes).min() > 0):
        raise ValueError("boxes are not corners within the image")
    for scheme in schemes:
        found = tokens.get(scheme.name)
        if found is None or len(found) != len(boxes):
            raise ValueError(f"no tokens of {scheme.name} for every box")
        error = abs(scheme.decode(found) - boxes).max(initial=0)
        if error > scheme.max_error + 1e-9:
            raise ValueError(
                f"{scheme.name} tokens are {error:.2g} off, at most {scheme.max_error}"
            )
