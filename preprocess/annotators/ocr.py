"""The column `ocr`: text that an image shows."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from septet.preprocess.columns import base
from septet.preprocess.columns.base import IMAGE, Column, Drawing, Item, Mark, NoValue, Value
from septet.preprocess.columns.images import image_of
from septet.preprocess.columns.left_out import FACTS, left_out
from septet.preprocess.columns.members import pack_json, unpack_json
from septet.preprocess.ocr.engines import Engine, engine_class
from septet.preprocess.ocr.lines import reading_order, sound_lines
from septet.preprocess.text.language import UNDETERMINED, identify
from septet.schemas.columns import MemberFormat


class Ocr(Column):
    """The column of text in images: lines in reading order, with their boxes and confidences.

    An image without text has a value without lines. A line of the engine that has no text, no area
    in the image or no confidence is left out; `dropped` counts them, `faults` says what was wrong.

    Reasons for no value: `no_image`, `image` (it cannot be decoded), `lines_malformed` (no line
    is left of those that were found).
    """

    version: ClassVar[int] = 2
    members: ClassVar[tuple[str, ...]] = (IMAGE,)
    facts: ClassVar[pa.Schema] = pa.schema(
        [("text_lines", pa.int32()), ("characters", pa.int32()), ("text_language", pa.string()),
         ("text_area", pa.float32()), *FACTS]
    )  # fmt: skip

    class Settings(base.Settings):
        """Settings of the column."""

        engine: str = Field(
            default="rapidocr",
            description="`rapidocr`, or the name of an entry point of group septet.ocr.",
        )
        min_score: float = Field(
            default=0.5, ge=0, le=1, description="Lines of lower confidence are left out."
        )
        max_lines: int = Field(
            default=200, ge=1, description="Lines an image, at most: the first in reading order."
        )
        threads: int = Field(default=1, ge=1, description="Threads that the engine may use.")

        def deciding(self) -> dict[str, Any]:
            """See `Settings.deciding`: RapidOCR's values are the same with any number of
            threads."""
            found = super().deciding()
            if self.engine == "rapidocr":
                del found["threads"]
            return found

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self._engine: Engine | None = None

    def models(self) -> dict[str, str]:
        """The digests of the engine's models."""
        return engine_class(self.settings.engine).models()

    def setup(self) -> None:
        """Load the engine."""
        self._engine = engine_class(self.settings.engine)(threads=self.settings.threads)

    @property
    def member(self) -> MemberFormat:
        """JSON: `lines` [{text, score, box, quad}], `language`."""
        return MemberFormat(
            ext="ocr.json",
            kind="json",
            notes={
                "engine": self.settings.engine,
                "order": "rows from top to bottom, within a row from left to right",
                "box": "normalised x0, y0, x1, y1, y downwards",
                "quad": "four corners [x, y], normalised, clockwise from where the text begins",
                "language": f"ISO 639 code of all lines together; {UNDETERMINED}: not clear",
            },
        )

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """See `Column.annotate`."""
        return [self._annotate(item) for item in items]

    def _annotate(self, item: Item) -> Value | NoValue:
        image = image_of(item)
        if isinstance(image, NoValue):
            return image
        assert self._engine is not None, "setup comes before annotate"
        sound, faults = sound_lines(self._engine.read(image))
        if faults and not sound:
            return NoValue("lines_malformed", faults[0])
        sure = [line for line in sound if line.score >= self.settings.min_score]
        lines = reading_order(sure)[: self.settings.max_lines]
        text = " ".join(line.text for line in lines)
        language = identify(text).code if text else UNDETERMINED
        value = {
            "lines": [
                {"text": line.text, "score": line.score, "box": line.box, "quad": line.quad}
                for line in lines
            ],
            "language": language,
        }
        area = sum((li.box[2] - li.box[0]) * (li.box[3] - li.box[1]) for li in lines)
        facts = {
            "text_lines": len(lines),
            "characters": sum(len(line.text) for line in lines),
            "text_language": language,
            "text_area": min(area, 1.0),
            **left_out(faults),
        }
        return Value(pack_json(value), facts)

    def check(self, data: bytes) -> None:
        """Check that lines have text, a score, and boxes within the image that hold their quads."""
        value = unpack_json(data)
        if value.keys() != {"lines", "language"}:
            raise ValueError(f"a value of ocr holds {sorted(value)}")
        for number, line in enumerate(value["lines"]):
            x0, y0, x1, y1 = line["box"]
            if not line["text"].strip() or not 0 <= line["score"] <= 1:
                raise ValueError(f"line {number} without text, or of score {line['score']}")
            if not (0 <= x0 <= x1 <= 1 and 0 <= y0 <= y1 <= 1):
                raise ValueError(f"line {number}: box {line['box']} is not in the image")
            if len(line["quad"]) != 4 or any(
                not (x0 <= x <= x1 and y0 <= y <= y1) for x, y in line["quad"]
            ):
                raise ValueError(f"line {number}: its box does not hold its quad")

    def drawing(self, data: bytes) -> Drawing:
        """Boxes with their text, and the text."""
        lines = unpack_json(data)["lines"]
        marks = [Mark(tuple(line["box"]), line["text"]) for line in lines]
        return Drawing(marks=marks, lines=[line["text"] for line in lines])
