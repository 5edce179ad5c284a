"""The column `phrases`: phrases that each name one region of an image, with its box."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from septet.preprocess.annotators.boxes import (
    check_tokens,
    known_schemes,
    make_schemes,
    token_notes,
)
from septet.preprocess.boxes.annotated import (
    BoxesError,
    SizeError,
    check_aspect,
    image_size,
    normalised,
    read_extra,
)
from septet.preprocess.boxes.phrases import (
    LanguageError,
    Phrase,
    phrases_of_extra,
    read_phrases,
)
from septet.preprocess.boxes.tokens import SCHEMES
from septet.preprocess.columns import base
from septet.preprocess.columns.base import Column, Drawing, Item, Mark, NoValue, Value
from septet.preprocess.columns.image_sets import ByImage, ImageIds, SetSettings
from septet.preprocess.columns.left_out import BOX_FACTS, left_out, mostly_malformed
from septet.preprocess.columns.members import pack_json, unpack_json
from septet.schemas.columns import MemberFormat

EXTRA, SET = "extra", "set"


class Phrases(Column):
    """The column of phrases that each name one region of an image ("the dog on the left"), with the
    region's box and its tokens, as grounding and grounded captioning are trained on.

    They come from what the sample's list carried along, or from a set (RefCOCO, Visual Genome's
    region descriptions, a plain list; see `septet.preprocess.boxes.phrases`).

    A phrase that is malformed, or whose box is or has no area, is left out; `dropped` counts them
    with those without text and those beyond `max_phrases`, `faults` says what was wrong.

    Reasons for no value: `no_phrase` (there is none), `phrases_malformed` (none is left, and one
    was malformed, or most boxes do not fit the image), `phrases_size` (pixel boxes of an image of
    unknown size, or of one that was cut or padded since), of scenes `language_not_supported`, with
    a set `no_image_id` (nothing says which image of the set it is).
    """

    version: ClassVar[int] = 5
    facts: ClassVar[pa.Schema] = pa.schema([("phrases", pa.int32()), *BOX_FACTS])

    class Settings(SetSettings):
        """Settings of the column."""

        source: Literal["extra", "set"] = Field(
            default="extra",
            description="The samples' metadata (`extra.phrases`, a list of {phrase, box}), or a "
            "set.",
        )
        format: Literal["xyxy", "xywh"] = Field(
            default="xyxy",
            description="Of boxes in `extra` and in plain lists: corners, or top-left corner with "
            "width and height.",
        )
        unit: Literal["normalised", "pixel"] = Field(
            default="normalised",
            description="Of boxes in `extra` and in plain lists: shares of the sides, or pixels of "
            "the image as it was annotated: its size is `width` and `height` of extra, else that "
            "of the image as fetched.",
        )
        schemes: tuple[str, ...] = Field(
            default=("ofa", "pali"),
            description=f"Token schemes to write: {', '.join(SCHEMES)}.",
        )
        ofa_size: int = Field(
            default=512, ge=1, le=512, description="Side of the images that OFA sees, pixels."
        )
        phrases: base.FilePath = Field(
            default="",
            description="With a set: RefCOCO's references as JSON, Visual Genome's region "
            "descriptions, or a JSON list of {image_id, phrase, box}.",
        )
        instances: base.FilePath = Field(
            default="", description="With RefCOCO's references: COCO's file of instances."
        )
        max_phrases: int = Field(default=200, ge=1, description="Phrases a sample, at most.")

        _known = field_validator("schemes")(known_schemes)

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self._schemes = make_schemes(settings.schemes, settings.ofa_size)
        self._set: ByImage[Phrase] | None = None
        self._images: ImageIds | None = None

    def models(self) -> dict[str, str]:
        """The digests of the set's files."""
        settings = self.settings
        if settings.source == EXTRA:
            return {}
        return settings.digests("phrases", "instances")

    @property
    def member(self) -> MemberFormat:
        """JSON: `phrases` [n], `boxes` [n, 4], `tokens` {scheme: [n, width]}, `language`."""
        return MemberFormat(
            ext="phrases.json",
            kind="json",
            notes={
                "phrases": "one a box",
                "boxes": "normalised corners x0, y0, x1, y1, y downwards",
                "language": "ISO 639 code of the sample's language",
                "tokens": token_notes(self._schemes),
            },
        )

    def index(self) -> dict[str, dict[str, int]]:
        """See `Column.index`."""
        self.setup()
        return self._set.rows if self._set else {}

    def setup(self) -> None:
        """Open the set, which is read first where this machine did not yet."""
        if self.settings.source == SET:
            self._set = read_phrases(self.settings.phrases, self.settings.instances)
            self._images = self.settings.images()

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """See `Column.annotate`."""
        return [self._annotate(item) for item in items]

    def _annotate(self, item: Item) -> Value | NoValue:
        language = str(item.metadata.get("language") or "en")
        try:
            found = self._phrases(item, language)
            if isinstance(found, NoValue):
                return found
            phrases, faults = found
            return self._value(phrases, [*faults], item, language)
        except LanguageError:
            return NoValue("language_not_supported", language)
        except SizeError as error:
            return NoValue("phrases_size", str(error))
        except BoxesError as error:
            return NoValue("phrases_malformed", str(error))

    def _phrases(self, item: Item, language: str) -> tuple[list[Phrase], list[str]] | NoValue:
        if self.settings.source == EXTRA:
            return phrases_of_extra(read_extra(item.metadata), language)
        assert self._images and self._set, "setup comes before annotate"
        image = self._images.of(item)
        return image if isinstance(image, NoValue) else self._set.of(image)

    def _value(
        self, found: Sequence[Phrase], faults: list[str], item: Item, language: str
    ) -> Value | NoValue:
        bare = sum(not one.phrase for one in found)
        found = [one for one in found if one.phrase]
        if not found:
            return NoValue("phrases_malformed", faults[0]) if faults else NoValue("no_phrase", "")
        first = found[0]
        pixels = self.settings.unit == "pixel" if first.pixels is None else first.pixels
        xywh = self.settings.format == "xywh" if first.xywh is None else first.xywh
        size = (first.size or image_size(item.metadata)) if pixels else (1.0, 1.0)
        if size is None:
            raise SizeError("pixel boxes, but neither extra nor metadata has width and height")
        check_aspect(item.metadata, size if pixels else None)
        phrases, corners, unread, malformed, clipped = [], [], len(faults), 0, 0
        for one in found:
            box = normalised([one.box], [one.phrase], size, "xywh" if xywh else "xyxy")
            phrases += box.labels
            corners.append(box.boxes)
            faults += [f"{one.phrase!r}: {fault}" for fault in box.faults]
            malformed += len(box.faults) - box.empty
            clipped += box.clipped
        if mostly_malformed(len(phrases), malformed):
            return NoValue("phrases_malformed", faults[0][:200])
        if not phrases:
            return NoValue("phrases_malformed" if unread else "no_phrase", faults[0][:200])
        most = self.settings.max_phrases
        boxes, over = np.concatenate(corners)[:most], max(0, len(phrases) - most)
        phrases = phrases[:most]
        value: dict[str, Any] = {
            "phrases": phrases,
            "boxes": boxes.tolist(),
            "language": language,
            "tokens": {scheme.name: scheme.encode(boxes).tolist() for scheme in self._schemes},
        }
        facts = {"phrases": len(phrases), **left_out(faults, bare + over), "clipped": clipped}
        return Value(pack_json(value), facts)

    def check(self, data: bytes) -> None:
        """Check that phrases have text, and boxes in the image that decode from their tokens."""
        value = unpack_json(data)
        if value.keys() != {"phrases", "boxes", "language", "tokens"} or not value["phrases"]:
            raise ValueError(f"a value of phrases holds {sorted(value)}, or no phrase")
        if not all(isinstance(text, str) and text.strip() for text in value["phrases"]):
            raise ValueError("a phrase without text")
        check_tokens(value["boxes"], len(value["phrases"]), value["tokens"], self._schemes)

    def drawing(self, data: bytes) -> Drawing:
        """The boxes with their phrases."""
        value = unpack_json(data)
        pairs = zip(value["boxes"], value["phrases"], strict=True)
        return Drawing(marks=[Mark((b[0], b[1], b[2], b[3]), text) for b, text in pairs])
