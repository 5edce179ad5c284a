"""A reader of regions in an LMDB file: ViLBERT's (jiasenlu/vilbert_beta,
facebookresearch/vilbert-multi-task) and MMF's.

Under each image's id lies a pickled dict:

| | ViLBERT | MMF (`lmdb_conversion.py`) |
|---|---|---|
| size | `image_w`, `image_h` | `image_width`, `image_height` |
| boxes: corners, pixels | `boxes` | `bbox` |
| features | `features` | `features` |
| rows that count | `num_boxes` | `num_boxes` |
| [n, 1 + classes], in some files | `cls_prob` | `cls_prob` (without background unless asked for) |

Arrays are float32 in base64, or arrays of which `num_boxes` rows count and the rest is padding.
What an image lacks is missing or None: MMF stores features alone where it found no file of boxes.
Pickles are read as plain data (see `unpickle`).
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from septet.preprocess import files
from septet.preprocess.columns.left_out import MALFORMED
from septet.preprocess.columns.weights import need
from septet.preprocess.regions.detections import FEATURES
from septet.preprocess.regions.sources.records import Record, RecordError, decode, needed, record
from septet.preprocess.regions.unpickle import loads_plain


@lru_cache
def _open(path: str, process: int) -> Any:
    """The environment of a file: LMDB allows one in a process, and none across a fork."""
    need("lmdb", "vision")
    import lmdb

    try:
        return lmdb.open(
            path, subdir=Path(path).is_dir(), readonly=True, lock=False, readahead=False,
            create=False, max_readers=128,
        )  # fmt: skip
    except lmdb.Error as error:
        raise ValueError(f"regions: {path} is no LMDB ({error})") from error


class LmdbSource:
    """A source of records in an LMDB, by key.

    Args:
        path: The file or folder, on a local disk (LMDB maps it into memory).
        probs: Whether records are to hold class probabilities, background first.

    Raises:
        ValueError: there is none, it is not local, or the package lmdb is missing.
    """

    def __init__(self, path: str, probs: bool = False):
        if not path or not files.is_local(path) or not files.exists(path):
            raise ValueError(
                f"regions: no LMDB {path!r} on a local disk; set it with --set source=PATH"
            )
        self._env = _open(str(files.local_path(path).resolve()), os.getpid())
        self._probs = probs

    def get(self, key: str) -> Record | None:
        """See `Source.get`."""
        name = key.encode()
        if not 0 < len(name) <= self._env.max_key_size():
            return None
        with self._env.begin() as transaction:
            data = transaction.get(name)
        if data is None:
            return None
        try:
            row = loads_plain(data)
            if not isinstance(row, dict):
                raise RecordError(f"a {type(row).__name__}, expected a dict")
            count = row.get("num_boxes")
            boxes = _array(needed(row, "boxes", "bbox"), 4, count)
            features = _array(needed(row, "features"), FEATURES, count)
            probs = _array(needed(row, "cls_prob"), -1, count, len(boxes)) if self._probs else None
            wide, high = (
                needed(row, "image_w", "image_width"),
                needed(row, "image_h", "image_height"),
            )
            return record(features, boxes, wide, high, probs, count=count)
        except RecordError:
            raise
        except MALFORMED as error:
            raise RecordError(f"{type(error).__name__} {error}") from error


def _array(value: Any, columns: int, count: Any, rows: int = -1) -> Any:
    """An array of a record, without its padding.

    Args:
        value: Base64 of float32, or an array.
        columns: The columns, -1 for those that there are.
        count: The rows that count; None where the record does not say.
        rows: The rows of base64 of unknown columns.
    """
    if isinstance(value, str | bytes):
        return decode(value, "float32").reshape(rows, columns)
    array = np.asarray(value, np.float32)
    return array if count is None else array[: int(count)]
