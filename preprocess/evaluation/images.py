"""Images that look like an evaluation image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.images.appearance import THUMBNAIL_BYTES, hashes_of
from septet.preprocess.near_duplicates.hamming import MAX_RADIUS, near_pairs
from septet.preprocess.near_duplicates.images import are_thumbnails, thumbnails_of
from septet.preprocess.near_duplicates.thumbnails import look_alike

HASHES_ALONE = 4
"""The most bits in which a hash differs from one that comes without a thumbnail."""

SHOWN = np.dtype([("phash", "<u8"), ("aspect", "<f8"), ("thumbnail", "u1", (THUMBNAIL_BYTES,))])
"""What an image looks like; `aspect` (the logarithm of width / height) is NaN where only the hash
is known."""


@dataclass(frozen=True)
class ImageHit:
    """A hit: the number of the evaluation image, and the bits in which the hashes differ."""

    number: int
    bits: int


def find_images(evaluation: np.ndarray, images: np.ndarray) -> list[ImageHit | None]:
    """The evaluation image that each image looks like, the nearest one; None where there is none.
    Detail is not asked for: a copy that stays costs more here than a look-alike that goes.

    Args:
        evaluation: `SHOWN` [m].
        images: `SHOWN` [n].
    """
    found: list[ImageHit | None] = [None] * len(images)
    for i, j, bits in near_pairs(images["phash"], MAX_RADIUS, evaluation["phash"]):
        ours, theirs = images[i], evaluation[j]
        alone = np.isnan(theirs["aspect"]) | np.isnan(ours["aspect"])
        hit = alone & (bits <= HASHES_ALONE)
        seen = np.flatnonzero(~alone)
        hit[seen] = look_alike(
            (ours["thumbnail"][seen], theirs["thumbnail"][seen]),
            (ours["aspect"][seen], theirs["aspect"][seen]),
            in_detail=False,
        )
        rows = np.flatnonzero(hit)
        for row, number, apart in zip(
            i[rows].tolist(), j[rows].tolist(), bits[rows].tolist(), strict=True
        ):
            best = found[row]
            if best is None or (apart, number) < (best.bits, best.number):
                found[row] = ImageHit(number, apart)
    return found


def shown_of(rows: pa.Table) -> np.ndarray:
    """What stored images look like; `SHOWN` [n].

    Args:
        rows: `phash`, `thumbnail`, `width` and `height` of each, none of them null. Of a thumbnail
            of an earlier version, which has another size, only the hash counts.
    """
    return _shown(rows, np.log(rows["width"].to_numpy() / rows["height"].to_numpy()))


def listed(rows: pa.Table) -> np.ndarray:
    """What listed images look like; `SHOWN` [n].

    Args:
        rows: `phash` of each; `aspect` and `thumbnail`, null where only the hash is known.
    """
    return _shown(rows, rows["aspect"].fill_null(np.nan).to_numpy())


def _shown(rows: pa.Table, aspects: np.ndarray) -> np.ndarray:
    fits = are_thumbnails(rows["thumbnail"])
    thumbnails = thumbnails_of(pc.if_else(fits, rows["thumbnail"], bytes(THUMBNAIL_BYTES)))
    aspects = np.where(fits.to_numpy(), aspects, np.nan)
    return shown(hashes_of(rows["phash"].to_pylist()), aspects, thumbnails)


def shown(
    phashes: np.ndarray, aspects: Sequence[float] | np.ndarray, thumbnails: np.ndarray
) -> np.ndarray:
    """Put together what images look like; `SHOWN` [n]."""
    found = np.zeros(len(phashes), SHOWN)
    found["phash"], found["aspect"], found["thumbnail"] = phashes, aspects, thumbnails
    return found
