"""Phrases that each name one region of an image, with its box: read from metadata and from sets.

Sets, all JSON, by the id of the image:

- RefCOCO's form (Kazemzadeh et al. 2014; Yu et al. 2016): a file of references, `[{image_id,
  ann_id, sentences: [{sent | raw}]}]`, and COCO's file of instances, whose `annotations` have the
  boxes and `images` the sizes. The published references are a pickle, which runs code when it is
  read; write them as JSON once.
- Visual Genome's region descriptions (Krishna et al. 2017): `[{id, regions: [{image_id, phrase, x,
  y, width, height}]}]`, boxes in pixels.
- A plain list: `[{image_id, phrase, box}]`, `box` as the column's settings say.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.preprocess.boxes.annotated import BoxesError, as_list, sound_size
from septet.preprocess.columns.image_sets import (
    ByImage,
    OtherSetError,
    Rows,
    add_rows,
    array,
    check_is_there,
    lay_aside,
    open_json,
    read_set,
    referring,
)
from septet.preprocess.columns.left_out import MALFORMED, text_of, told
from septet.preprocess.json_members import JsonError
from septet.preprocess.keyed import KeyedWriter
from septet.preprocess.synthetic.languages import WORDINGS
from septet.preprocess.synthetic.languages import phrases as scene_phrases
from septet.preprocess.synthetic.scenes import Scene


@dataclass(frozen=True)
class Phrase:
    """A phrase and the box that it names, as the source has them."""

    phrase: str
    box: tuple[float, ...]
    xywh: bool | None = None
    """Whether the box is its corner with width and height; None: as the column's settings say."""
    size: tuple[float, float] | None = None
    """Width and height of the image that the box was drawn on, where the set says them."""
    pixels: bool | None = None
    """Whether the box is in pixels; None: as the column's settings say."""

    def to_json(self) -> list[Any]:
        """The fields in their order."""
        return [self.phrase, self.box, self.xywh, self.size, self.pixels]

    @classmethod
    def from_json(cls, data: list[Any]) -> "Phrase":
        """The inverse of `to_json`."""
        phrase, box, xywh, size, pixels = data
        return cls(phrase, tuple(box), xywh, None if size is None else (size[0], size[1]), pixels)


class LanguageError(ValueError):
    """Raised when a scene's phrases are asked for in a language in which scenes are not told."""


def phrases_of_extra(extra: Mapping[str, Any], language: str) -> tuple[list[Phrase], list[str]]:
    """Read the phrases that a sample's list carried along: `extra.phrases`, a list of {phrase, box}
    or its JSON text; of a scene's truth those that fit one thing alone, in a language.

    Returns:
        The phrases, and what was wrong with each one that has another form.

    Raises:
        BoxesError: it is no list, or no scene.
        LanguageError: see there.
    """
    listed = extra.get("phrases")
    if (listed is None or listed == "") and Scene.is_truth(extra):
        if language not in WORDINGS:
            raise LanguageError(language)
        return _of_scene(extra, language), []
    found, faults = [], []
    for row in [] if listed is None or listed == "" else as_list(listed, "phrases"):
        try:
            found.append(_plain(row))
        except MALFORMED as error:
            faults.append(told("phrases", error))
    return found, faults


def _of_scene(truth: Mapping[str, Any], language: str) -> list[Phrase]:
    try:
        scene = Scene.from_truth(truth)
        return [
            Phrase(phrase, scene.things[k].box, xywh=False, pixels=False)
            for phrase, k in scene_phrases(scene, language)
        ]
    except MALFORMED as error:
        raise BoxesError(told("phrases", error)) from error


def read_phrases(phrases: str, instances: str = "") -> ByImage[Phrase]:
    """Read the phrases of a set. A malformed row costs itself, and is a fault of its image.

    Args:
        phrases: A file of one of the forms above.
        instances: COCO's instances, with RefCOCO's references.

    Raises:
        ValueError: a file is missing, or has none of the forms; says what was expected.
    """
    check_is_there(phrases, "phrases")
    form = _form(phrases)
    if form == "sentences":
        if not instances:
            raise ValueError(
                "RefCOCO's references need COCO's instances: set them with --set instances=PATH"
            )
        check_is_there(instances, "instances")

    def fill(writer: KeyedWriter) -> Rows:
        try:
            if form == "sentences":
                return _refcoco(writer, phrases, instances)
            if form == "regions":
                regions = _inner(_rows(phrases), "regions")
                return {"phrases": add_rows(writer, regions, _image_id, _visual_genome)}
            return {"phrases": add_rows(writer, _rows(phrases), _image_id, _plain)}
        except (JsonError, OtherSetError):
            raise
        except MALFORMED as error:
            raise ValueError(
                f"phrases {phrases}: neither RefCOCO's form ([{{image_id, ann_id, sentences}}] and "
                "COCO's instances), nor Visual Genome's region descriptions ([{id, regions}]), nor "
                f"a list of {{image_id, phrase, box}} ({type(error).__name__}: {error})"
            ) from error

    return read_set([phrases, instances if form == "sentences" else ""], Phrase, fill)


def _rows(path: str) -> Iterator[Any]:
    """The elements of a file's outermost array; those of another form are no rows."""
    for name, value in open_json(path, "phrases"):
        yield from array(value if name is None else {}, "the file")


def _form(path: str) -> str:
    """The form of a set, by the first field of its rows that only one form has; empty where none
    has any."""
    telling = ("sentences", "regions", "phrase")
    for name, value in open_json(path, "phrases"):
        for row in value if name is None and isinstance(value, Iterator) else ():
            for field in telling if isinstance(row, dict) else ():
                if field in row:
                    return field
    return ""


def _plain(row: Mapping[str, Any]) -> Phrase:
    box = np.asarray(row["box"], np.float64)
    if box.shape != (4,):
        raise TypeError(f"a box of {box.size} numbers")
    return Phrase(_stripped(row["phrase"]), tuple(box.tolist()))


def _stripped(phrase: Any) -> str:
    if not isinstance(phrase, str):
        raise TypeError(f"a phrase that is {type(phrase).__name__}")
    return phrase.strip()


def _image_id(row: Mapping[str, Any]) -> Any:
    return row["image_id"]


def _inner(rows: Iterable[Any], name: str) -> Iterator[Any]:
    """The rows within rows; a row that has none stands for itself, and will not be read."""
    for row in rows:
        inner = row.get(name) if isinstance(row, dict) else None
        yield from inner if isinstance(inner, list) else [row]


def _visual_genome(row: Mapping[str, Any]) -> Phrase:
    box = tuple(float(row[name]) for name in ("x", "y", "width", "height"))
    return Phrase(_stripped(row["phrase"]), box, xywh=True, pixels=True)


def _refcoco(writer: KeyedWriter, references: str, instances: str) -> Rows:
    counts: Rows = {}
    fields = {"annotations": ("bbox",), "images": ("width", "height")}
    for name, value in open_json(instances, "instances"):
        if name in fields:
            counts[name] = lay_aside(writer, name, array(value, name), "id", *fields[name])
    for name in fields:
        if name not in counts:
            raise KeyError(name)

    def read(pair: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Phrase | None:
        row, sentence = pair
        instance = writer.aside("annotations", text_of(row["ann_id"], "an instance's id"))
        if instance is None:
            return None
        box = tuple(map(float, instance["bbox"]))
        drawn = writer.aside("images", text_of(row["image_id"], "an image id"))
        size = None if drawn is None else sound_size(drawn["width"], drawn["height"])
        text = sentence.get("sent")
        if text is None or text == "":
            text = sentence.get("raw", text)
        return Phrase(_stripped(text), box, xywh=True, size=size, pixels=True)

    rows = referring(
        _rows(references), lambda row: row["ann_id"], writer, "annotations",
        "no reference has its instance: are the two files of the same set?",
    )  # fmt: skip
    pairs = ((row, one) for row in rows for one in _inner([row], "sentences"))
    counts["phrases"] = add_rows(
        writer, pairs, lambda pair: _image_id(pair[0]), read, without="no_instance"
    )
    return counts
