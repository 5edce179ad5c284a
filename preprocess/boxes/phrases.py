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

from septet.preprocess.boxes.annotated import BoxesError, as_list
from septet.preprocess.columns.image_sets import ByImage, by_image, read_json
from septet.preprocess.columns.left_out import MALFORMED, told
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
    first = found[0] if found and isinstance(found, list) else None
    names = first.keys() if isinstance(first, dict) else set()
    drawn = None
    if "sentences" in names:
        if not instances:
            raise ValueError(
                "RefCOCO's references need COCO's instances: set them with --set instances=PATH"
            )
        drawn = read_json(instances, "instances")
    try:
        if drawn is not None:
            return _refcoco(found, drawn)
        if "regions" in names:
            return by_image(_inner(found, "regions"), _image_id, _visual_genome)
        return by_image(found, _image_id, lambda row: _named(_plain(row)))
    except _OtherSetError:
        raise
    except MALFORMED as error:
        raise ValueError(
            f"phrases {phrases}: neither RefCOCO's form ([{{image_id, ann_id, sentences}}] and "
            "COCO's instances), nor Visual Genome's region descriptions ([{id, regions}]), nor a "
            f"list of {{image_id, phrase, box}} ({type(error).__name__}: {error})"
        ) from error


def _plain(row: Mapping[str, Any]) -> Phrase:
    box = np.asarray(row["box"], np.float64)
    if box.shape != (4,):
        raise TypeError(f"a box of {box.size} numbers")
    if not isinstance(row["phrase"], str):
        raise TypeError(f"a phrase that is {type(row['phrase']).__name__}")
    return Phrase(row["phrase"].strip(), tuple(box.tolist()))


def _image_id(row: Mapping[str, Any]) -> Any:
    return row["image_id"]


def _inner(rows: Iterable[Any], name: str) -> Iterator[Any]:
    """The rows within rows; a row that has none stands for itself, and will not be read."""
    for row in rows:
        inner = row.get(name) if isinstance(row, dict) else None
        yield from inner if isinstance(inner, list) else [row]


def _named(phrase: Phrase) -> Phrase | None:
    """The phrase; None where it is empty."""
    return phrase if phrase.phrase else None


def _visual_genome(row: Mapping[str, Any]) -> Phrase | None:
    box = tuple(float(row[name]) for name in ("x", "y", "width", "height"))
    return _named(Phrase(str(row["phrase"]).strip(), box, xywh=True, pixels=True))


class _OtherSetError(ValueError):
    """Raised when the two files of a set do not belong together."""


def _refcoco(references: list[Any], instances: dict[str, Any]) -> ByImage[Phrase]:
    boxes = {one["id"]: one for one in _objects(instances["annotations"]) if "id" in one}
    images = {one["id"]: one for one in _objects(instances["images"]) if "id" in one}
    if not any(row.get("ann_id") in boxes for row in _objects(references)):
        raise _OtherSetError("no reference has its instance: are the two files of the same set?")

    def read(pair: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Phrase | None:
        row, sentence = pair
        if row["ann_id"] not in boxes:
            return None
        box = tuple(map(float, boxes[row["ann_id"]]["bbox"]))
        size = None
        if row["image_id"] in images:
            drawn = images[row["image_id"]]
            size = float(drawn["width"]), float(drawn["height"])
        text = str(sentence.get("sent") or sentence["raw"]).strip()
        return _named(Phrase(text, box, xywh=True, size=size, pixels=True))

    pairs = ((row, one) for row in references for one in _inner([row], "sentences"))
    return by_image(pairs, lambda pair: _image_id(pair[0]), read)


def _objects(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The rows that are JSON objects."""
    return (row for row in rows if isinstance(row, dict))
