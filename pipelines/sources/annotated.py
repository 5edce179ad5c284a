"""The source `annotated`: sets of images with captions, boxes, phrases and questions, in the files
in which they are published."""

import fnmatch
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from septet.pipelines.sources.base import (
    Facts,
    Found,
    ImageLocation,
    Input,
    InputError,
    Pair,
    Source,
)
from septet.pipelines.sources.listing import list_files
from septet.pipelines.sources.paths import folder_label, name_within
from septet.pipelines.sources.values import as_captions, as_json, scrub
from septet.preprocess import files
from septet.preprocess.columns.left_out import MALFORMED, told
from septet.preprocess.json_members import JsonError, members
from septet.preprocess.keyed import Keyed, KeyedWriter, write_keyed
from septet.preprocess.scratch import scratch_folder
from septet.preprocess.sets.facts import (
    CATEGORY,
    PASSED_OVER,
    Described,
    describe_image,
    facts_of,
)
from septet.preprocess.text.clean import clean_caption
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import AnnotatedSource

_FAULTS = ""
"""The key of what could not be read, before those of all images."""


class Annotated(Source):
    """Folders of annotated sets; a record is an image with all that the set's files say of it.

    A set is one slice: what is said of an image stands in many places of several files, and is
    merged before there are pairs.
    """

    kind = "annotated"
    version = 2
    folders = True
    unit = "image"

    def describe(self, path: str, size: int) -> Facts:
        """One slice, the whole folder."""
        if next(list_files(path), None) is None:
            raise InputError("the folder has no files")
        return Facts([("", "")])

    def records(
        self, settings: AnnotatedSource, source: Input, counts: Counter[str]
    ) -> Iterator[Described | Rejected]:
        """The rows that cannot be read, then the images, by id."""
        there = [entry.name for entry in list_files(source.path)]
        names: dict[str, None] = {}
        for pattern in settings.files:
            found = fnmatch.filter(there, pattern)
            if not found:
                raise InputError(f"no file of the folder matches {pattern!r}")
            names |= dict.fromkeys(found)
        with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
            path = f"{folder}/facts.sqlite"
            try:
                write_keyed(path, "", partial(_add_facts, source.path, names))
            except JsonError as error:  # names the file's path on this machine
                raise InputError(str(error).removeprefix(files.join(source.path, ""))) from error
            facts = Keyed(path)
            counts["rows_of_set"] += facts.told["rows"]
            for key, mine in facts.groups():
                if key == _FAULTS:
                    yield from (Rejected("annotation", fault) for fault in mine)
                else:
                    yield describe_image(key, mine, facts.told["categories"])

    def read(
        self, settings: AnnotatedSource, source: Input, record: Described, counts: Counter[str]
    ) -> Iterable[Found]:
        """The pairs of an image, one for each caption, and what could not be read of it."""
        label = folder_label(source.label)
        counts["images_in_set"] += 1
        extra = as_json(record.extra)
        lost = [
            Rejected("annotation", scrub(f"image {record.id}: {fault}"), extra=extra)
            for fault in record.faults
        ]
        try:
            if record.name is None:
                raise RejectedError("annotation", f"image {record.id} is in no list of images")
            path = "/".join(part for part in (settings.images, record.name) if part)
            name = name_within(label, source.path, path)
            url = f"{label}/{name}"
            captions: list[str] = []
            for value in record.captions:
                try:
                    captions += as_captions(value)
                except RejectedError as error:
                    lost.append(Rejected(error.reason, error.value, image_url=url, extra=extra))
            texts = dict.fromkeys(text for text in map(clean_caption, captions) if text)
            if not texts and settings.without_text == "reject":
                raise RejectedError("annotation", f"image {record.id} has no caption")
        except RejectedError as error:
            return [*lost, Rejected(error.reason, error.value, extra=extra)]
        where = "annotation" if texts else None
        pairs = [Pair(url, text, where, extra=extra) for text in texts or [None]]
        return [ImageLocation(url, label, name), *pairs, *lost]


def _add_facts(folder: str, names: Iterable[str], writer: KeyedWriter) -> dict[str, Any]:
    """Add the facts of a set's files, by image, and what cannot be read; returns the names of
    categories, and how many rows there are."""
    categories: dict[str, str] = {}
    count = 0
    for name in names:
        number = 0
        for member, rows in members(files.join(folder, name)):
            for row in rows if isinstance(rows, Iterator) else [rows]:
                number += 1
                if member in PASSED_OVER:
                    continue
                count += 1
                try:
                    for image, kind, value in facts_of(member or "", row):
                        if kind == CATEGORY:
                            if categories.setdefault(image, value) != value:
                                raise ValueError(
                                    f"category {image} is {categories[image]!r} and {value!r}"
                                )
                        else:
                            writer.add(image, [kind, value])
                except MALFORMED as error:
                    writer.add(_FAULTS, told(f"{name}: element {number}", error))
    return {"categories": categories, "rows": count}
