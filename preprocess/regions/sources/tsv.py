"""A reader of regions in a tab-separated file with base64 fields: LXMERT's and bottom-up
attention's.

| layout | fields | read of it |
|---|---|---|
| `lxmert` (airsplay/lxmert) | img_id img_h img_w objects_id objects_conf attrs_id attrs_conf num_boxes boxes features | all |
| `bottom-up` (peteanderson80/bottom-up-attention) | image_id image_w image_h num_boxes boxes features | all |

Ids of objects and attributes are int64, the rest float32; boxes are corners in pixels. Neither
holds a class distribution.
"""  # noqa: E501 (a table)

from itertools import islice
from typing import Literal

import fsspec
import pyarrow as pa

from septet.preprocess import files
from septet.preprocess.regions.sources.records import Record, RecordError, decode, record

Layout = Literal["lxmert", "bottom-up"]

FIELDS: dict[str, tuple[str, ...]] = {
    "lxmert": ("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf",
               "num_boxes", "boxes", "features"),
    "bottom-up": ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features"),
}  # fmt: skip

_LOOKED_AT = 100
"""Rows among which one of a known layout is looked for."""

_INDEX = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
    ]
)


def index_path(path: str) -> str:
    """The path of a file's index unless one is named: beside the file."""
    return path + ".index.parquet"


def write_index(path: str, index: str) -> int:
    """Index a file: the key, byte offset and size of every row. It is read once, whole.

    Returns:
        How many rows it has. Of rows with one key the last one counts, as it does where a dict
        is filled from the file.
    """
    found: dict[str, tuple[int, int]] = {}
    offset = 0
    with files.open_read(path) as file:
        for line in file:
            key = line.split(b"\t", 1)[0].decode("utf-8", "replace").strip()
            if key:
                found[key] = (offset, len(line))
            offset += len(line)
    columns = {
        "key": list(found),
        "offset": [start for start, _ in found.values()],
        "size": [size for _, size in found.values()],
    }
    table = pa.table(columns, schema=_INDEX)
    files.write_table(index, table, metadata={"digest": files.content_digest(path)[1]})
    return len(found)


def ensure_index(path: str, index: str = "") -> str:
    """Index a file unless its index is there and of this very file.

    Returns:
        Path of the index.

    Raises:
        ValueError: there is no such file, or the index cannot be written where it should be.
    """
    if not path or not files.exists(path):
        raise ValueError(f"regions: no such file {path!r}; set it with --set source=PATH")
    index = index or index_path(path)
    if files.exists(index):
        told = files.read_table_metadata(index)[1].get(b"digest", b"").decode()
        if told == files.content_digest(path)[1]:
            return index
    try:
        write_index(path, index)
    except OSError as error:
        raise ValueError(
            f"the index of {path} cannot be written to {index} ({error}): name another place with "
            "--set source_index=PATH"
        ) from error
    return index


class TsvSource:
    """A source of records in the rows of a tsv, by key; each is one ranged read.

    Args:
        path: The file.
        layout: The name of its fields' order, see above.
        index: The path of its index; beside it, if empty.

    Raises:
        ValueError: see `ensure_index`; the first row that has any layout has another one.
    """

    def __init__(self, path: str, layout: Layout = "lxmert", index: str = ""):
        self.path, self._fields = path, FIELDS[layout]
        table = files.read_table(ensure_index(path, index))
        columns = (table[name].to_pylist() for name in ("offset", "size"))
        self._places = dict(zip(table["key"].to_pylist(), zip(*columns, strict=True), strict=True))
        if self._places:
            found = self._count()
            if found != len(self._fields):
                fits = [name for name, fields in FIELDS.items() if len(fields) == found]
                raise ValueError(
                    f"{path} has {found} fields a row, layout {layout} has {len(self._fields)}: "
                    + (f"set layout={fits[0]}" if fits else "no known layout fits")
                )

    def __len__(self) -> int:
        return len(self._places)

    def _count(self) -> int:
        """The number of fields of the first row that has as many as a layout, for a malformed one
        costs itself; where none of the first has, that of the very first."""
        known, first = {len(fields) for fields in FIELDS.values()}, 0
        for place in islice(self._places.values(), _LOOKED_AT):
            found = len(self._row(*place))
            if found in known:
                return found
            first = first or found
        return first

    def _row(self, offset: int, size: int) -> list[bytes]:
        if files.is_local(self.path):
            with files.local_path(self.path).open("rb") as file:
                file.seek(offset)
                line = file.read(size)
        else:
            fs, plain = fsspec.url_to_fs(self.path)
            line = fs.cat_file(plain, start=offset, end=offset + size)
        return line.rstrip(b"\r\n").split(b"\t")

    def get(self, key: str) -> Record | None:
        """See `Source.get`."""
        place = self._places.get(key)
        if place is None:
            return None
        values = self._row(*place)
        if len(values) != len(self._fields):
            raise RecordError(f"{len(values)} fields, expected {len(self._fields)}")
        row = dict(zip(self._fields, values, strict=True))
        boxes = decode(row["boxes"], "float32", 4)
        features = decode(row["features"], "float32", 2048)
        if "image_w" in row:
            return record(features, boxes, row["image_w"], row["image_h"], count=row["num_boxes"])
        return record(
            features, boxes, row["img_w"], row["img_h"], count=row["num_boxes"],
            labels=decode(row["objects_id"], "int64"),
            scores=decode(row["objects_conf"], "float32"),
            attributes=decode(row["attrs_id"], "int64"),
            attribute_scores=decode(row["attrs_conf"], "float32"),
        )  # fmt: skip
