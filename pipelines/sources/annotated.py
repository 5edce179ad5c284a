"""The source `annotated`: sets of images with captions, boxes, phrases and questions, in the files
in which they are published."""

import fnmatch
import hashlib
import itertools
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
from septet.preprocess.keyed import PARTS, Keyed, KeyedWriter, cached
from septet.preprocess.sets.facts import CATEGORY, PASSED_OVER, facts_of
from septet.preprocess.sets.merge import Described, describe_image
from septet.preprocess.sets.rows import SUFFIXES, SetError, rows_of
from septet.preprocess.text.clean import clean_caption
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import AnnotatedSource

SLICE_BYTES = 64 * 2**20
"""Bytes of a set's files that are work for one worker."""
_FAULTS = ""
"""The key of what could not be read, before those of all images."""


class Annotated(Source):
    """Folders of annotated sets; a record is an image with all that the set's files say of it.

    What is said of an image stands in many places of several files, and is merged before there are
    pairs: the first reader on a machine puts what all rows say in a file by image, and the others
    take their slices of it.
    """

    kind = "annotated"
    version = 4
    folders = True
    unit = "image"

    def describe(self, path: str, size: int) -> Facts:
        """Cut the images into slices, ranges of the `PARTS` shares of their ids."""
        count, total = 0, 0
        for entry in list_files(path):
            count += 1
            total += max(entry.size, 0) if entry.name.lower().endswith(SUFFIXES) else 0
        if not count:
            raise InputError("the folder has no files")
        slices = min(max(-(-total // SLICE_BYTES), 1), PARTS)
        cuts = [PARTS * number // slices for number in range(slices + 1)]
        return Facts(list(itertools.pairwise(cuts)))

    def records(
        self, settings: AnnotatedSource, source: Input, counts: Counter[str]
    ) -> Iterator[Described | Rejected]:
        """The rows that cannot be read, then the images, by id."""
        try:
            facts = _facts(settings, source)
            if "broken" in facts.told:
                raise InputError(facts.told["broken"])
        except InputError:
            if source.number and settings.on_broken_input == "reject":
                return  # the first slice says it
            raise
        if not source.number:
            counts["rows_of_set"] += facts.told["rows"]
        start, stop = (int(bound) for bound in source.slice)
        for key, mine in facts.groups(start, stop):
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


def _facts(settings: AnnotatedSource, source: Input) -> Keyed:
    """The facts of a set by image, from this machine's cache.

    Raises:
        InputError: the folder has no file of a name that the settings have.
    """
    made_of = [Annotated.version, source.path, source.digest, settings.files]
    stamp = hashlib.blake2b(repr(made_of).encode(), digest_size=16).hexdigest()
    return cached(f"set-{stamp}", partial(_add_facts, source.path, settings.files))


def _matching(folder: str, patterns: list[str]) -> list[str]:
    there = [entry.name for entry in list_files(folder)]
    names: dict[str, None] = {}
    for pattern in patterns:
        found = fnmatch.filter(there, pattern)
        if not found:
            raise InputError(f"no file of the folder matches {pattern!r}")
        names |= dict.fromkeys(found)
    return list(names)


def _add_facts(folder: str, patterns: list[str], writer: KeyedWriter) -> dict[str, Any]:
    """Add the facts of a set's files, by image, and what cannot be read; returns the names of
    categories, how many rows there are, and, where a file cannot be read on, why.

    Raises:
        InputError: no file matches a pattern.
    """
    categories: dict[str, str] = {}
    count = 0
    try:
        for name in _matching(folder, patterns):
            rows = enumerate(rows_of(files.join(folder, name), name), 1)
            for number, (member, row, error) in rows:
                if member in PASSED_OVER:
                    continue
                count += 1
                if error is not None:
                    writer.add(_FAULTS, f"{name}: {error}")
                    continue
                try:
                    _add_row(writer, member, row, categories)
                except MALFORMED as wrong:
                    writer.add(_FAULTS, told(f"{name}: element {number}", wrong))
    except SetError as error:
        return {"broken": str(error)}
    return {"categories": categories, "rows": count}


def _add_row(writer: KeyedWriter, member: str, row: Any, categories: dict[str, str]) -> None:
    for image, kind, value in facts_of(member, row):
        if kind != CATEGORY:
            writer.add(image, [kind, value])
        elif categories.setdefault(image, value) != value:
            raise ValueError(f"category {image} is {categories[image]!r} and {value!r}")
