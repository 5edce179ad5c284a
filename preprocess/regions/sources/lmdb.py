"""A reader of regions in an LMDB file: ViLBERT's (jiasenlu/vilbert_beta,
facebookresearch/vilbert-multi-task).

Under each image's id lies a pickled dict: `image_w`, `image_h`, `num_boxes`, base64 float32
`boxes` (corners, pixels) and `features`, and in pretraining files `cls_prob` [n, 1 + classes], an
array or base64 float32. Pickles are read as plain data (see `unpickle`).
"""

import base64
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from septet.preprocess import files
from septet.preprocess.columns.left_out import MALFORMED
from septet.preprocess.columns.weights import need
from septet.preprocess.regions.sources.records import Record, RecordError, decode, record
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
            boxes = decode(row["boxes"], "float32", 4)
            features = decode(row["features"], "float32", 2048)
            probs = _probabilities(row, len(boxes)) if self._probs else None
            return record(
                features, boxes, row["image_w"], row["image_h"], probs, count=row.get("num_boxes")
            )
        except RecordError:
            raise
        except MALFORMED as error:
            raise RecordError(f"{type(error).__name__} {error}") from error


def _probabilities(row: dict[str, Any], count: int) -> Any:
    if "cls_prob" not in row:
        raise RecordError(f"no cls_prob; the record holds {sorted(map(str, row))}")
    found = row["cls_prob"]
    if isinstance(found, str | bytes):
        found = np.frombuffer(base64.b64decode(found), "<f4")
    return np.asarray(found, np.float32).reshape(count, -1)
