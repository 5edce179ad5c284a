"""A column of one's own: how bright each picture is.

PYTHONPATH=examples/columns septet annotate corpora/demo --column brightness:Brightness
"""

import numpy as np
import pyarrow as pa

from preprocess.columns.base import IMAGE, Column, NoValue, Value
from preprocess.columns.pictures import PictureError, read_picture
from schemas.columns import ArrayFormat, MemberFormat


class Brightness(Column):
    """Mean brightness of red, green and blue, from 0 to 1."""

    version = 1
    members = (IMAGE,)
    facts = pa.schema([("mean", pa.float32())])
    member = MemberFormat(
        ext="brightness.f32",
        kind="raw",
        arrays={"rgb": ArrayFormat(dtype="float32", shape=(3,), least=0, greatest=1)},
    )

    def annotate(self, items):
        return [self._one(item) for item in items]

    def _one(self, item):
        if item.image is None:
            return NoValue("no_image")
        try:
            rgb = read_picture(item.image).mean(axis=(0, 1)) / 255
        except PictureError as error:
            return NoValue("image_broken", str(error))
        return Value(rgb.astype(np.float32).tobytes(), {"mean": float(rgb.mean())})
