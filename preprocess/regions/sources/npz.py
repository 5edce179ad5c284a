"""A reader of regions in a folder of npz files, one for each image:
MILVLG/bottom-up-attention.pytorch's, and those of MILVLG/mcan-vqa and openvqa.

Arrays: `x` [n, 2048] (mcan-vqa: [2048, n]), `bbox` [n, 4] (corners, pixels), `num_bbox`, `image_h`,
`image_w`, and but for mcan-vqa `info`, a pickled dict with `objects_id`, `objects_conf` and, of
models with attributes, `attrs_id` and `attrs_conf`. The pickle is read as plain data (see
`unpickle`); NumPy's own `allow_pickle` would run it. No class distribution.
"""

import io
import zipfile
from typing import Any

import numpy as np
from numpy.lib import format as npy

from septet.preprocess import files
from septet.preprocess.columns.left_out import MALFORMED
from septet.preprocess.regions.detections import FEATURES
from septet.preprocess.regions.sources.records import Record, RecordError, needed, record
from septet.preprocess.regions.unpickle import loads_plain


def read_npy(data: bytes) -> Any:
    """Read the array of a `.npy` file, or the value of a pickled one, as plain data.

    Raises:
        ValueError: no such file, or a pickle of more than plain data.
    """
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    headers: dict[tuple[int, int], Any] = {
        (1, 0): npy.read_array_header_1_0,
        (2, 0): npy.read_array_header_2_0,
    }
    if version not in headers:
        raise ValueError(f"npy version {version}")
    dtype = headers[version](stream)[2]
    if not dtype.hasobject:
        return np.load(io.BytesIO(data), allow_pickle=False)
    value = loads_plain(stream.read())
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


def read_npz(data: bytes) -> dict[str, Any]:
    """Read the arrays and values of an npz file by name.

    Raises:
        ValueError: no npz, or see `read_npy`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                name.removesuffix(".npy"): read_npy(archive.read(name))
                for name in archive.namelist()
            }
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, NotImplementedError) as error:
        raise ValueError(f"no npz: {error}") from error


class NpzSource:
    """A source of records in a folder of `{key}.npz`, or `{key}.jpg.npz` as mcan-vqa names them,
    local or on any store that fsspec knows.

    Raises:
        ValueError: there is no such folder.
    """

    def __init__(self, folder: str):
        if not folder or not files.exists(folder):
            raise ValueError(f"regions: no such folder {folder!r}; set it with --set source=PATH")
        self.folder = folder

    def get(self, key: str) -> Record | None:
        """See `Source.get`. A key that would lead out of the folder has no record."""
        if any(part in ("", ".", "..") for part in key.split("/")) or "\0" in key:
            return None
        paths = (files.join(self.folder, key + end) for end in (".npz", ".jpg.npz"))
        path = next((path for path in paths if files.exists(path)), None)
        if path is None:
            return None
        try:
            arrays = read_npz(files.read_bytes(path))
            info = arrays.get("info")
            info = info if isinstance(info, dict) else {}
            features = np.asarray(needed(arrays, "x"))
            if features.ndim == 2 and features.shape[1] != FEATURES == features.shape[0]:
                features = features.T
            return record(
                features, needed(arrays, "bbox"), needed(arrays, "image_w"),
                needed(arrays, "image_h"),
                labels=info.get("objects_id"), scores=info.get("objects_conf"),
                attributes=info.get("attrs_id"), attribute_scores=info.get("attrs_conf"),
                count=arrays.get("num_bbox"),
            )  # fmt: skip
        except RecordError:
            raise
        except MALFORMED as error:
            raise RecordError(f"{key}.npz: {type(error).__name__} {error}") from error
