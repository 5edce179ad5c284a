"""Annotated sets (VQA, RefCOCO, …): files that describe images by the set's own ids, and the image
of the set that a sample is."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import Field

from septet.preprocess import files
from septet.preprocess.boxes.annotated import read_extra
from septet.preprocess.columns import base
from septet.preprocess.columns.base import Item, NoValue
from septet.preprocess.columns.left_out import MALFORMED, text_of, told
from septet.preprocess.columns.weights import weights_digest

Entry = TypeVar("Entry")


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
        return ImageIds(self.image_id, read_map(self.image_map) if self.image_map else {})


class ImageIds:
    """A finder of the image of a set that a sample is: by a map, else by a field of its `extra`."""

    def __init__(self, field: str, by_name: dict[str, str]):
        self._field, self._by_name = field, by_name

    def of(self, item: Item) -> str | NoValue:
        """The id of a sample's image; `no_image_id` where nothing says it."""
        found = self._by_name.get(item.key) or self._by_name.get(str(item.metadata.get("url")))
        found = found or read_extra(item.metadata).get(self._field)
        if found is None or found == "":
            return NoValue("no_image_id", f"no field {self._field!r} of extra")
        try:
            return text_of(found, "an image id")
        except MALFORMED as error:
            return NoValue("no_image_id", told(f"field {self._field!r} of extra", error))


@dataclass
class ByImage(Generic[Entry]):
    """The entries of a set, by the ids of its images."""

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    """What was wrong with each row that could not be read."""

    def of(self, image: str) -> tuple[list[Entry], list[str]]:
        """The entries and faults of one image."""
        return self.entries.get(image, []), self.faults.get(image, [])


def by_image(
    rows: Iterable[Any], image_of: Callable[[Any], Any], read: Callable[[Any], Entry | None]
) -> ByImage[Entry]:
    """Read the entries of a set's rows; a malformed row costs itself.

    Args:
        rows: The rows of a set.
        image_of: Gives the id of a row's image. A row without one belongs to no sample.
        read: Makes an entry of a row; None where the set has nothing to go with it, which is not
            counted.

    Raises:
        One of `MALFORMED`: no row can be read, for this reason: the
            file has another form.
    """
    found: ByImage[Entry] = ByImage()
    first: Exception | None = None
    good = False
    for row in rows:
        image = None
        try:
            image = text_of(image_of(row), "an image id")
            entry = read(row)
        except MALFORMED as error:
            first = first or error
            if image is not None:
                found.faults.setdefault(image, []).append(told("a row of the set", error))
            continue
        good = True
        if entry is not None:
            found.entries.setdefault(image, []).append(entry)
    if first is not None and not good:
        raise first
    return found


def objects(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The rows that are JSON objects."""
    return (row for row in rows if isinstance(row, dict))


def by_id(rows: Iterable[Any], name: str) -> dict[str, dict[str, Any]]:
    """The rows that are JSON objects with an id, by it; the last of equal ids.

    Args:
        rows: The rows of a set.
        name: The field that holds the id.
    """
    found = {}
    for row in objects(rows):
        try:
            found[text_of(row[name], "an id")] = row
        except MALFORMED:
            continue
    return found


def read_json(path: str, what: str) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: there is no such file, or it is no JSON.
    """
    if not path or not files.exists(path):
        raise ValueError(f"{what}: no such file {path!r}; set it with --set {what}=PATH")
    try:
        return json.loads(files.read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} {path}: no JSON ({error})") from error


def read_map(path: str) -> dict[str, str]:
    """Read the ids of images by a sample's key or URL: a JSON object, null where there is none.

    Raises:
        ValueError: there is no such file, it is no JSON object, or an id is no text.
    """
    found = read_json(path, "image_map")
    if not isinstance(found, dict):
        raise ValueError(f"image_map {path}: expected a JSON object {{key or URL: image id}}")
    ids = {}
    for name, image in found.items():
        if image is None:
            continue
        try:
            ids[name] = text_of(image, "an image id")
        except MALFORMED as error:
            raise ValueError(f"image_map {path}: {told(name, error)}") from error
    return ids
