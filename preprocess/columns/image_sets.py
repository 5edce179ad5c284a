"""Annotated sets (VQA, RefCOCO, …): files that describe images by the set's own ids, and the image
of the set that a sample is.

A set is read once a machine, row by row, into a file of records by image; workers look their images
up in it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Generic, Protocol, Self, TypeVar

from pydantic import Field

from septet.preprocess import files
from septet.preprocess.boxes.annotated import read_extra
from septet.preprocess.columns import base
from septet.preprocess.columns.base import Item, NoValue
from septet.preprocess.columns.left_out import MALFORMED, text_of, told
from septet.preprocess.columns.weights import weights_digest
from septet.preprocess.json_members import members
from septet.preprocess.keyed import Keyed, KeyedWriter, cached

_FORM = 1
"""Raised when other records are made of the same files."""
_FAULT = 1
"""The kind of the records that say what was wrong with a row."""


class Stored(Protocol):
    """An entry that can be written as JSON."""

    def to_json(self) -> Any:
        """The entry as a JSON value."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The inverse of `to_json`."""


Entry = TypeVar("Entry", bound=Stored)


class SetSettings(base.Settings):
    """The settings of a column that may come from a set."""

    image_id: str = Field(
        default="image_id",
        description="With a set: the field of the sample's extra that holds the image's id.",
    )
    image_map: base.FilePath = Field(
        default="",
        description="With a set: a JSON object {sample key or URL: image id}, asked first.",
    )

    def digests(self, needed: str, *more: str) -> dict[str, str]:
        """The digests of a set's files by the settings that name them: of one that is needed, of
        others and of `image_map` where they are set.

        Raises:
            ValueError: there is no such file.
        """
        names = [needed, *(name for name in (*more, "image_map") if getattr(self, name))]
        return {name: weights_digest(getattr(self, name), name, name) for name in names}

    def images(self) -> "ImageIds":
        """Make what finds a sample's image in the set; reads `image_map`.

        Raises:
            ValueError: there is no such file, or it is no JSON object.
        """
        return ImageIds(self.image_id, read_map(self.image_map) if self.image_map else None)


class ImageIds:
    """A finder of the image of a set that a sample is: by a map, else by a field of its `extra`."""

    def __init__(self, field: str, by_name: Keyed | None):
        self._field, self._by_name = field, by_name

    def of(self, item: Item) -> str | NoValue:
        """The id of a sample's image; `no_image_id` where nothing says it."""
        found = self._named(item.key) or self._named(str(item.metadata.get("url")))
        found = found or read_extra(item.metadata).get(self._field)
        if found is None or found == "":
            return NoValue("no_image_id", f"no field {self._field!r} of extra")
        try:
            return text_of(found, "an image id")
        except MALFORMED as error:
            return NoValue("no_image_id", told(f"field {self._field!r} of extra", error))

    def _named(self, name: str) -> str | None:
        found = self._by_name.get(name) if self._by_name else []
        return found[-1][1] if found else None


@dataclass(frozen=True)
class ByImage(Generic[Entry]):
    """The entries of a set, by the ids of its images."""

    records: Keyed
    kind: type[Entry]

    def of(self, image: str) -> tuple[list[Entry], list[str]]:
        """The entries of one image, and what was wrong with each row of it that is none."""
        entries, faults = [], []
        for kind, data in self.records.get(image):
            if kind == _FAULT:
                faults.append(data)
            else:
                entries.append(self.kind.from_json(data))
        return entries, faults

    @property
    def rows(self) -> dict[str, dict[str, int]]:
        """Of each file of the set: how many rows are `given`, how many of them are `used`, and how
        many are not, by reason."""
        rows: dict[str, dict[str, int]] = self.records.told["rows"]
        return rows


Rows = dict[str, dict[str, int]]


def read_set(
    paths: Iterable[str], kind: type[Entry], fill: Callable[[KeyedWriter], Rows]
) -> ByImage[Entry]:
    """Read a set, from this machine's cache where it was read before.

    Args:
        paths: Its files.
        kind: The class of its entries.
        fill: Reads them, see `add_rows`; returns the counts of rows.
    """
    name = _name(kind.__name__, *paths)
    return ByImage(cached(name, lambda writer: {"rows": fill(writer)}), kind)


def _name(what: str, *paths: str) -> str:
    """The name of the records of files: it changes with their content."""
    digests = [files.content_digest(path)[1] for path in paths if path]
    made_of = json.dumps([_FORM, *digests]).encode()
    return f"{what.lower()}-{blake2b(made_of, digest_size=16).hexdigest()}"


def add_rows(
    writer: KeyedWriter,
    rows: Iterable[Any],
    image_of: Callable[[Any], Any],
    read: Callable[[Any], Entry | None],
    without: str = "",
) -> dict[str, int]:
    """Add the entries of a set's rows to its records; a malformed row costs itself.

    Args:
        writer: The writer of the records.
        rows: The rows of a set.
        image_of: Gives the id of a row's image. A row without one belongs to no sample.
        read: Makes an entry of a row; None where the set has nothing to go with it.
        without: The reason by which such rows are counted.

    Returns:
        How many rows were `given`, how many are `used`, how many are not, by reason.

    Raises:
        One of `MALFORMED`: no row can be read, for this reason: the
            file has another form.
    """
    counts: Counter[str] = Counter(given=0, used=0)
    first: Exception | None = None
    for row in rows:
        image = None
        counts["given"] += 1
        try:
            image = text_of(image_of(row), "an image id")
            entry = read(row)
        except MALFORMED as error:
            first = first or error
            counts["no_image_id" if image is None else "malformed"] += 1
            if image is not None:
                writer.add(image, told("a row of the set", error), _FAULT)
            continue
        counts["used" if entry is not None else without] += 1
        if entry is not None:
            writer.add(image, entry.to_json())
    if first is not None and not counts["used"] + counts[without]:
        raise first
    return dict(counts)


def lay_aside(
    writer: KeyedWriter, kind: str, rows: Iterable[Any], name: str, *fields: str
) -> dict[str, int]:
    """Lay rows aside that others refer to by an id; the last of equal ids counts.

    Args:
        writer: The writer of the records.
        kind: The kind of row.
        rows: The rows; those that are no JSON objects with an id are malformed.
        name: The field that holds the id.
        fields: The fields that are needed.

    Returns:
        Counts as of `add_rows`.
    """
    counts: Counter[str] = Counter(given=0, used=0)

    def records() -> Iterator[tuple[str, Any]]:
        for row in rows:
            counts["given"] += 1
            try:
                if not isinstance(row, dict):
                    raise TypeError(f"a row that is {type(row).__name__}")
                key = text_of(row[name], "an id")
            except MALFORMED:
                counts["malformed"] += 1
                continue
            counts["used"] += 1
            yield key, {field: row[field] for field in fields if field in row}

    if repeated := writer.lay_aside(kind, records()):
        counts["used"] -= repeated
        counts["repeated"] = repeated
    return dict(counts)


class OtherSetError(ValueError):
    """Raised when the files of a set do not belong together."""


def referring(
    rows: Iterable[Any], key_of: Callable[[Any], Any], writer: KeyedWriter, kind: str, why: str
) -> Iterator[Any]:
    """The rows, each of which may refer to one that was laid aside.

    Raises:
        OtherSetError: none does; says `why`.
    """
    found = False
    for row in rows:
        if not found:
            with suppress(*MALFORMED):
                found = writer.aside(kind, text_of(key_of(row), "an id")) is not None
        yield row
    if not found:
        raise OtherSetError(why)


def array(value: Any, name: str) -> Iterator[Any]:
    """The elements of a member of a JSON file that must be an array.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, Iterator):
        raise TypeError(f"{name} is {type(value).__name__}, expected a list")
    return value


def open_json(path: str, what: str) -> Iterator[tuple[str | None, Any]]:
    """The members of a JSON file, see `members`.

    Raises:
        ValueError: there is no such file.
        JsonError: it is no JSON.
    """
    check_is_there(path, what)
    yield from members(path)


def check_is_there(path: str, what: str) -> None:
    """Check that a file is there, named by the setting `what`.

    Raises:
        ValueError: it is not; says what to set.
    """
    if not path or not files.exists(path):
        raise ValueError(f"{what}: no such file {path!r}; set it with --set {what}=PATH")


def read_map(path: str) -> Keyed:
    """Read the ids of images by a sample's key or URL: a JSON object, null where there is none.

    Raises:
        ValueError: there is no such file, it is no JSON object, or an id is no text.
    """
    check_is_there(path, "image_map")

    def fill(writer: KeyedWriter) -> dict[str, Any]:
        for name, image in open_json(path, "image_map"):
            if name is None:
                raise ValueError(
                    f"image_map {path}: expected a JSON object {{key or URL: image id}}"
                )
            try:
                image = list(image) if isinstance(image, Iterator) else image
                if image is not None:
                    writer.add(name, text_of(image, "an image id"))
            except MALFORMED as error:
                raise ValueError(f"image_map {path}: {told(name, error)}") from error
        return {}

    return cached(_name("map", path), fill)
