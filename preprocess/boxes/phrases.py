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
from septet.preprocess.columns.image_sets import ByImage, by_id, by_image, objects, read_json
from septet.preprocess.columns.left_out import MALFORMED, text_of, told
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
    found = read_json(phrases, "phrases")
    form, drawn = _form(found), None
    if form == "sentences":
        if not instances:
            raise ValueError(
                "RefCOCO's references need COCO's instances: set them with --set instances=PATH"
            )
        drawn = read_json(instances, "instances")
    try:
        if drawn is not None:
            return _refcoco(found, drawn)
        if form == "regions":
            return by_image(_inner(found, "regions"), _image_id, _visual_genome)
        return by_image(found, _image_id, _plain)
    except _OtherSetError:
        raise
    except MALFORMED as error:
        raise ValueError(
            f"phrases {phrases}: neither RefCOCO's form ([{{image_id, ann_id, sentences}}] and "
            "COCO's instances), nor Visual Genome's region descriptions ([{id, regions}]), nor a "
            f"list of {{image_id, phrase, box}} ({type(error).__name__}: {error})"
        ) from error


def _form(rows: Any) -> str:
    """The form of a set, by the first field of its rows that only one form has; empty where none
    has any."""
    telling = ("sentences", "regions", "phrase")
    listed = objects(rows) if isinstance(rows, list) else ()
    return next((name for row in listed for name in telling if name in row), "")


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


class _OtherSetError(ValueError):
    """Raised when the two files of a set do not belong together."""


def _refcoco(references: list[Any], instances: dict[str, Any]) -> ByImage[Phrase]:
    boxes, images = by_id(instances["annotations"], "id"), by_id(instances["images"], "id")
    if not by_id(references, "ann_id").keys() & boxes.keys():
        raise _OtherSetError("no reference has its instance: are the two files of the same set?")

    def read(pair: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Phrase | None:
        row, sentence = pair
        instance = boxes.get(text_of(row["ann_id"], "an instance's id"))
        if instance is None:
            return None
        box = tuple(map(float, instance["bbox"]))
        drawn = images.get(text_of(row["image_id"], "an image id"))
        size = None if drawn is None else sound_size(drawn["width"], drawn["height"])
        text = sentence.get("sent")
        if text is None or text == "":
            text = sentence.get("raw", text)
        return Phrase(_stripped(text), box, xywh=True, size=size, pixels=True)

    pairs = ((row, one) for row in references for one in _inner([row], "sentences"))
    return by_image(pairs, lambda pair: _image_id(pair[0]), read)
