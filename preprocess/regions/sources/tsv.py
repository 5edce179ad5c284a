"""A reader of regions in a tab-separated file with base64 fields: LXMERT's and bottom-up
attention's.

| layout | fields | read of it |
|---|---|---|
| `lxmert` (airsplay/lxmert) | img_id img_h img_w objects_id objects_conf attrs_id attrs_conf num_boxes boxes features | all |
| `bottom-up` (peteanderson80/bottom-up-attention) | image_id image_w image_h num_boxes boxes features | all |

Ids of objects and attributes are int64, the rest float32; boxes are corners in pixels. Neither
holds a class distribution.
"""  # noqa: E501 (a table)

from bisect import bisect_left
from typing import Literal

import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess import files
from septet.preprocess.regions.detections import FEATURES
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


_INDEX_FORM = b"2"
"""Of the rule by which rows get into an index; one that was written by another is written anew."""


def index_path(path: str) -> str:
    """The path of a file's index unless one is named: beside the file."""
    return path + ".index.parquet"


def write_index(path: str, index: str) -> int:
    """Index a file: the key, byte offset and size of every row. It is read once, whole.

    Of rows with one key the last whole one counts, or the last one where none is whole: writers
    that ran at once or were killed leave rows twice and rows that are cut. The index's metadata
    says how many rows there are, how many repeat a key, and how many are not whole.

    Returns:
        How many keys it has.
    """
    found: dict[str, tuple[int, int, bool]] = {}
    rows = cut = offset = 0
    with files.open_read(path) as file:
        for line in file:
            key = line.split(b"\t", 1)[0].decode("utf-8", "replace").strip()
            if key:
                whole = _is_whole(line)
                rows, cut = rows + 1, cut + (not whole)
                if whole or key not in found or not found[key][2]:
                    found[key] = (offset, len(line), whole)
            offset += len(line)
    columns = {
        "key": list(found),
        "offset": [start for start, _, _ in found.values()],
        "size": [size for _, size, _ in found.values()],
    }
    table = pa.table(columns, schema=_INDEX)
    told = {"rows": rows, "repeated": rows - len(found), "cut": cut}
    metadata = {name: str(count) for name, count in told.items()}
    digest = files.content_digest(path)[1]
    files.write_table(
        index, table, metadata={"digest": digest, "form": _INDEX_FORM.decode(), **metadata}
    )
    return len(found)


def _is_whole(line: bytes) -> bool:
    """Whether a row has the fields of a layout, and boxes and features of the stated length."""
    values = line.rstrip(b"\r\n").split(b"\t")
    names = next((names for names in FIELDS.values() if len(names) == len(values)), None)
    if names is None:
        return False
    row = dict(zip(names, values, strict=True))
    try:
        count = int(row["num_boxes"])
    except ValueError:
        return False
    # Base64 has four characters for three bytes.
    lengths = {"boxes": 16 * count, "features": 4 * FEATURES * count}
    return all(len(row[name]) == (size + 2) // 3 * 4 for name, size in lengths.items())


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
        told = files.read_table_metadata(index)[1]
        same = told.get(b"digest", b"").decode() == files.content_digest(path)[1]
        if same and told.get(b"form") == _INDEX_FORM:
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
        # Arrow's columns: 26 bytes a row in every worker, where a dict of their values takes 221.
        order = pc.sort_indices(table["key"])
        self._keys, self._offsets, self._sizes = (
            table[name].take(order).combine_chunks() for name in _INDEX.names
        )
        if len(self):
            found = self._count()
            if found != len(self._fields):
                fits = [name for name, fields in FIELDS.items() if len(fields) == found]
                raise ValueError(
                    f"{path} has {found} fields a row, layout {layout} has {len(self._fields)}: "
                    + (f"set layout={fits[0]}" if fits else "no known layout fits")
                )

    def __len__(self) -> int:
        return len(self._keys)

    def _place(self, row: int) -> tuple[int, int]:
        return self._offsets[row].as_py(), self._sizes[row].as_py()

    def _count(self) -> int:
        """The number of fields of the first row that has as many as a layout, for a malformed one
        costs itself; where none of the first has, that of the very first."""
        known, first = {len(fields) for fields in FIELDS.values()}, 0
        for row in range(min(len(self), _LOOKED_AT)):
            found = len(self._row(*self._place(row)))
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
        row = bisect_left(range(len(self)), key, key=lambda row: self._keys[row].as_py())
        if row == len(self) or self._keys[row].as_py() != key:
            return None
        values = self._row(*self._place(row))
        if len(values) != len(self._fields):
            raise RecordError(f"{len(values)} fields, expected {len(self._fields)}")
        fields = dict(zip(self._fields, values, strict=True))
        boxes = decode(fields["boxes"], "float32", 4)
        features = decode(fields["features"], "float32", 2048)
        if "image_w" in fields:
            return record(
                features, boxes, fields["image_w"], fields["image_h"], count=fields["num_boxes"]
            )
        return record(
            features, boxes, fields["img_w"], fields["img_h"], count=fields["num_boxes"],
            labels=decode(fields["objects_id"], "int64"),
            scores=decode(fields["objects_conf"], "float32"),
            attributes=decode(fields["attrs_id"], "int64"),
            attribute_scores=decode(fields["attrs_conf"], "float32"),
        )  # fmt: skip
