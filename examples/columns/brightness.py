"""A column of one's own: how bright each image is.

PYTHONPATH=examples/columns septet annotate corpora/demo --column brightness:Brightness
"""

import numpy as np
import pyarrow as pa

from septet.preprocess.columns.base import IMAGE, Column, NoValue, Value
from septet.preprocess.columns.images import image_of
from septet.schemas.columns import ArrayFormat, MemberFormat


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
        image = image_of(item)
        if isinstance(image, NoValue):
            return image
        rgb = image.mean(axis=(0, 1)) / 255
        return Value(rgb.astype(np.float32).tobytes(), {"mean": float(rgb.mean())})
