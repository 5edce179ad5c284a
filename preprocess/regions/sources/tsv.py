"""A reader of regions in a tab-separated file with base64 fields: LXMERT's and bottom-up
attention's.

| layout | fields | read of it |
|---|---|---|
| `lxmert` (airsplay/lxmert) | img_id img_h img_w objects_id objects_conf attrs_id attrs_conf num_boxes boxes features | all |
| `bottom-up` (peteanderson80/bottom-up-attention) | image_id image_w image_h num_boxes boxes features | all |

Ids of objects and attributes are int64, the rest float32; boxes are corners in pixels. Neither
holds a class distribution.
"""  # noqa: E501 (a table)

from collections import Counter
from typing import Any, Literal

from septet.preprocess import files
from septet.preprocess.keyed import Keyed, KeyedWriter, open_stamped, write_keyed
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

_INDEX_FORM = 3
"""Of the rule by which rows get into an index; one that was written by another is written anew."""


def index_path(path: str) -> str:
    """The path of a file's index unless one is named: beside the file."""
    return path + ".index.sqlite"


def _fill(path: str, writer: KeyedWriter) -> dict[str, Any]:
    """Index a file, which is read once, whole: under the key of every row its byte
    offset and size, and as its kind whether it is whole.

    Of rows with one key the last whole one counts, or the last one where none is whole: writers
    that ran at once or were killed leave rows twice and rows that are cut.

    Returns:
        The counts of rows: those `given`, those `used`, those that are not whole (`cut`), the whole
        ones whose key another has (`repeated`), those without a key.
    """
    counts: Counter[str] = Counter(given=0, used=0)
    offset = 0
    with files.open_read(path) as file:
        for line in file:
            key = line.split(b"\t", 1)[0].decode("utf-8", "replace").strip()
            if line.strip():
                whole = _is_whole(line)
                counts["given"] += 1
                counts["no_key" if not key else "used" if whole else "cut"] += 1
                if key:
                    writer.add(key, [offset, len(line)], int(whole))
            offset += len(line)
    used = writer.keys(kind=True)
    counts["repeated"], counts["used"] = counts["used"] - used, used
    return {"rows": {"source": {n: c for n, c in counts.items() if c or n in ("given", "used")}}}


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


def open_index(path: str, index: str = "") -> Keyed:
    """Open the index of a file, made first unless it is there and of this very file.

    Raises:
        ValueError: there is no such file, or the index cannot be written where it should be.
    """
    if not path or not files.exists(path):
        raise ValueError(f"regions: no such file {path!r}; set it with --set source=PATH")
    index = index or index_path(path)
    stamp = f"{_INDEX_FORM} {files.content_digest(path)[1]}"
    if (found := open_stamped(index, stamp)) is not None:
        return found
    try:
        write_keyed(index, stamp, lambda writer: _fill(path, writer))
    except OSError as error:
        raise ValueError(
            f"the index of {path} cannot be written to {index} ({error}): name another place with "
            "--set source_index=PATH"
        ) from error
    return Keyed(index)


class TsvSource:
    """A source of records in the rows of a tsv, by key; each is one ranged read.

    Args:
        path: The file.
        layout: The name of its fields' order, see above.
        index: The path of its index; beside it, if empty.

    Raises:
        ValueError: see `open_index`; the first row that has any layout has another one.
    """

    def __init__(self, path: str, layout: Layout = "lxmert", index: str = ""):
        self.path, self._fields = path, FIELDS[layout]
        self._index = open_index(path, index)
        if len(self):
            found = self._count()
            if found != len(self._fields):
                fits = [name for name, fields in FIELDS.items() if len(fields) == found]
                raise ValueError(
                    f"{path} has {found} fields a row, layout {layout} has {len(self._fields)}: "
                    + (f"set layout={fits[0]}" if fits else "no known layout fits")
                )

    def __len__(self) -> int:
        return len(self._index)

    @property
    def rows(self) -> dict[str, dict[str, int]]:
        """The counts of the file's rows, see `Column.index`."""
        rows: dict[str, dict[str, int]] = self._index.told["rows"]
        return rows

    def _count(self) -> int:
        """The number of fields of the first row that has as many as a layout, for a malformed one
        costs itself; where none of the first has, that of the very first."""
        known, first = {len(fields) for fields in FIELDS.values()}, 0
        for offset, size in self._index.first(_LOOKED_AT):
            found = len(self._row(offset, size))
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
            fs, plain = files.file_system(self.path)
            line = fs.cat_file(plain, start=offset, end=offset + size)
        return line.rstrip(b"\r\n").split(b"\t")

    def get(self, key: str) -> Record | None:
        """See `Source.get`."""
        rows = self._index.get(key)
        if not rows:
            return None
        _, (offset, size) = max(rows)
        values = self._row(offset, size)
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
