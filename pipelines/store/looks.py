"""What images of the fetch store look like, computed where a store of an earlier version does not
say, or has a smaller thumbnail."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.store.reader import StoreReader
from septet.preprocess.images.appearance import THUMBNAIL_BYTES, appearance_of
from septet.preprocess.near_duplicates.images import are_thumbnails

LOOKS = ("phash", "thumbnail")
"""Columns of stores and sidecars that say what an image looks like."""


def looks_of(row: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The `phash` and `thumbnail` of a stored image.

    Args:
        row: Its row of `tables.FETCHED`.
        data: Its stored bytes.
    """
    if row["phash"] is not None and len(row["thumbnail"]) == THUMBNAIL_BYTES:
        return {name: row[name] for name in LOOKS}
    looks = appearance_of(data, row["width"] * row["height"])
    return {"phash": looks.phash, "thumbnail": looks.thumbnail}


def with_appearance(images: pa.Table, corpus: str) -> pa.Table:
    """Fill in the appearance of images that have none, from their stored bytes.

    Args:
        images: Rows of `tables.FETCHED`.
        corpus: The corpus folder.

    Raises:
        StoreError: the store does not hold what the rows say.
    """
    lacking = pc.and_(pc.is_null(images["reason"]), pc.invert(are_thumbnails(images["thumbnail"])))
    rows = np.flatnonzero(lacking.to_numpy())
    if not len(rows):
        return images
    found = {name: images[name].to_pylist() for name in LOOKS}
    some = images.take(rows).to_pylist()
    with StoreReader(corpus) as store:
        for row, one, data in zip(rows, some, store.images(some), strict=True):
            assert data is not None
            for name, value in looks_of(one, data).items():
                found[name][row] = value
    for name in LOOKS:
        at = images.column_names.index(name)
        images = images.set_column(at, name, pa.array(found[name], images.schema.field(name).type))
    return images
