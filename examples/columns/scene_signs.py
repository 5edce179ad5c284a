"""What the signs of synthetic scenes say, in the form of the column `ocr`, without an engine.

PYTHONPATH=examples/columns septet annotate corpora/scenes --column scene_signs:SceneSigns --name ocr

It is what a scene's truth says; nothing is read from the image.
"""  # noqa: E501 (a command)

import pyarrow as pa

from septet.preprocess.boxes.annotated import read_extra
from septet.preprocess.columns.base import Column, NoValue, Value
from septet.preprocess.columns.members import pack_json
from septet.schemas.columns import MemberFormat


class SceneSigns(Column):
    """The sign of a scene as one line of English; reason for none: `no_sign`."""

    version = 1
    members = ("json",)
    facts = pa.schema([("text_lines", pa.int32())])
    member = MemberFormat(ext="ocr.json", kind="json")

    def annotate(self, items):
        """See `Column.annotate`."""
        return [self._annotate(item) for item in items]

    def _annotate(self, item):
        sign = read_extra(item.metadata).get("sign")
        if not sign:
            return NoValue("no_sign")
        (x0, y0, x1, y1) = box = sign["box"]
        quad = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
        line = {"text": sign["text"], "score": 1.0, "box": box, "quad": quad}
        return Value(pack_json({"lines": [line], "language": "en"}), {"text_lines": 1})

    def check(self, data):
        """Nothing more than JSON."""
