"""Records of regions as files hold them, and the keys by which samples find theirs."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from septet.preprocess import files
from septet.preprocess.boxes.annotated import read_extra
from septet.preprocess.boxes.transforms import areas, clip_to_image, normalise
from septet.preprocess.columns.left_out import MALFORMED, mostly_malformed
from septet.preprocess.regions.detections import FEATURES, Detections


class RecordError(ValueError):
    """Raised when a record does not have its format's form; says what was found."""


class LackError(RecordError):
    """Raised when a record lacks something without which it describes no region."""


@dataclass(frozen=True)
class Record:
    """The regions of one image with the size of the image that they were found on."""

    detections: Detections
    width: float
    height: float
    faults: tuple[str, ...] = ()
    """What was wrong with each region that was left out."""
    clipped: int = 0
    """How many of the regions that are left hung over the image's edge."""


class Source(Protocol):
    """A source of records of regions, by key."""

    def get(self, key: str) -> Record | None:
        """The record of a key, None where there is none.

        Raises:
            RecordError: there is one, but it is malformed.
        """
        ...


def needed(row: Mapping[str, Any], *names: str) -> Any:
    """What a record holds under the first of some names that has anything.

    Raises:
        LackError: none has.
    """
    found = next((row[name] for name in names if row.get(name) is not None), None)
    if found is None:
        raise LackError(" or ".join(names))
    return found


def decode(text: Any, dtype: str, columns: int | None = None) -> NDArray[Any]:
    """Decode a base64 field to an array [n] or [n, columns].

    Raises:
        RecordError: no base64, or no whole number of rows.
    """
    try:
        data = base64.b64decode(text, validate=True)
        array = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype)
        return array if columns is None else array.reshape(-1, columns)
    except (TypeError, ValueError, binascii.Error) as error:
        raise RecordError(f"no base64 of {dtype}: {error}") from error


def record(
    features: Any,
    boxes: Any,
    width: Any,
    height: Any,
    probs: Any = None,
    labels: Any = None,
    scores: Any = None,
    attributes: Any = None,
    attribute_scores: Any = None,
    count: Any = None,
) -> Record:
    """Make a record of what a file holds, checked.

    A region is left out whose values are not finite, whose corners are the wrong way round, whose
    box has no area or lies outside of the image (see `clip_to_image`), or whose class probabilities
    do not sum to 1; the record is malformed where most regions are. Boxes that hang over are
    clipped.

    Args:
        features: [n, 2048].
        boxes: [n, 4], corners in pixels.
        width: The image's width, pixels.
        height: Likewise.
        probs: [n, 1 + classes], background first. Without labels and scores, these are the
            likeliest class but background and its probability.
        labels: [n].
        scores: [n].
        attributes: [n].
        attribute_scores: [n].
        count: The number of regions that the file states.

    Raises:
        RecordError: shapes that do not fit, no size, or most regions are not sound.
    """
    try:
        wide, high = float(width), float(height)
        vectors, corners = np.asarray(features, np.float32), np.asarray(boxes, np.float32)
        listed = None if count is None else int(count)
        optional: dict[str, Any] = {
            name: None if array is None else np.asarray(array, dtype)
            for name, array, dtype in (
                ("probs", probs, np.float32), ("labels", labels, np.int32),
                ("scores", scores, np.float32), ("attributes", attributes, np.int32),
                ("attribute_scores", attribute_scores, np.float32),
            )
        }  # fmt: skip
    except MALFORMED as error:
        raise RecordError(str(error)) from error
    if not (0 < wide < np.inf and 0 < high < np.inf):
        raise RecordError(f"an image of {wide:g} x {high:g} pixels")
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise RecordError(f"boxes are {list(corners.shape)}, expected [n, 4]")
    n = len(corners)
    if vectors.shape != (n, FEATURES):
        raise RecordError(f"features are {list(vectors.shape)}, expected [{n}, {FEATURES}]")
    if listed is not None and listed != n:
        raise RecordError(f"{n} boxes, but the record says {listed}")
    for name, array in {"features": vectors, "boxes": corners, **optional}.items():
        if array is None:
            continue
        if len(array) != n or array.ndim != (2 if name in ("features", "boxes", "probs") else 1):
            raise RecordError(f"{name} are {list(array.shape)} for {n} boxes")
    shares = normalise(corners, wide, high)
    inside, over, outside = clip_to_image(shares)
    distribution = optional["probs"]
    if distribution is not None and n:
        if distribution.shape[1] < 2:
            raise RecordError("class probabilities of fewer than two classes")
        if optional["labels"] is None:
            optional["labels"] = distribution[:, 1:].argmax(axis=1).astype(np.int32)
        if optional["scores"] is None:
            optional["scores"] = distribution[:, 1:].max(axis=1)
    found = Detections(vectors, inside, **optional)
    faults = _faults_of(vectors, corners, optional) if n else {}
    for row in np.flatnonzero(outside).tolist():
        reach = corners[row].tolist()
        faults.setdefault(row, f"the box {reach} is outside of an image of {wide:g} x {high:g}")
    malformed = len(faults)
    for row in np.flatnonzero(areas(inside) == 0).tolist():
        faults.setdefault(row, "the box has no area")
    if mostly_malformed(n - len(faults), malformed):
        raise RecordError(next(iter(faults.values())))
    rows = np.array([row for row in range(n) if row not in faults], np.int64)
    told = (f"region {row}: {fault}" for row, fault in sorted(faults.items()))
    clipped = int(over[rows].sum())
    return Record(found.take(rows) if faults else found, wide, high, tuple(told), clipped)


def _faults_of(
    features: NDArray[Any], boxes: NDArray[Any], optional: dict[str, Any]
) -> dict[int, str]:
    """Find what is wrong with each region that is not sound, by its row."""
    faults: dict[int, str] = {}

    def note(bad: NDArray[Any], fault: str) -> None:
        for row in np.flatnonzero(bad).tolist():
            faults.setdefault(row, fault)

    for name, array in {"features": features, "boxes": boxes, **optional}.items():
        if array is not None and array.dtype.kind == "f":
            rows = np.isfinite(array).reshape(len(array), -1).all(axis=1)
            note(~rows, f"{name} hold values that are not finite")
    note(
        np.asarray((boxes[:, 2:] < boxes[:, :2]).any(axis=1)), "boxes are no corners x0, y0, x1, y1"
    )
    if optional["probs"] is not None:
        off = abs(optional["probs"].sum(axis=1) - 1)
        note(np.asarray(off > 0.01), "class probabilities do not sum to 1")
    return faults


def record_key(key: str, metadata: Mapping[str, Any], how: str) -> str | None:
    """The key under which a sample's regions lie.

    Args:
        key: The sample's own key.
        metadata: The sample's row of the sidecar.
        how: `key` (its own), `url_stem` (the last part of the image's address without its
            ending), or a name in `extra`, with dots for names within names.

    Returns:
        The key as text, None where the sample has none.
    """
    if how == "key":
        return key
    if how == "url_stem":
        path = unquote(urlsplit(str(metadata.get("url") or "")).path)
        return PurePosixPath(path).stem or None
    value: Any = read_extra(metadata)
    for name in how.removeprefix("extra.").split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return str(value) if isinstance(value, str | int) and str(value) else None


def source_digest(path: str) -> str:
    """A digest of a file of regions, or of the names and sizes of a folder's files.

    Raises:
        ValueError: there is none.
    """
    if not path or not files.exists(path):
        raise ValueError(f"regions: no such file {path!r}; set it with --set source=PATH")
    fs, plain = files.file_system(path)
    if fs.isfile(plain):
        return files.content_digest(path)[1]
    digest = hashlib.blake2b(digest_size=16, person=b"septet.folder")
    for name, info in sorted(fs.find(plain, detail=True).items()):
        if not name.endswith("lock.mdb"):  # LMDB writes to it when the file is merely read
            digest.update(f"{name.removeprefix(plain)}\0{info['size']}\n".encode())
    return f"listing:{digest.hexdigest()}"
