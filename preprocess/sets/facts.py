"""What rows of annotated sets say of images, whatever set they are of.

Rows are known by their fields, as the sets publish them:

- COCO (Lin et al. 2014; cocodataset.org), and sets in its form (Objects365): `images`,
  `annotations` with a caption, with a `bbox`, or panoptic with `segments_info`, `categories`.
- RefCOCO, RefCOCO+ and RefCOCOg (Kazemzadeh et al. 2014; Yu et al. 2016): references
  `{image_id, ann_id, sentences: [{sent | raw}]}` as JSON, beside COCO's instances.
- VQA (Antol et al. 2015; Goyal et al. 2017): `questions` and `annotations` with `question_id`.
- Visual Genome (Krishna et al. 2017): image data, `regions`, `objects`, `attributes`,
  `relationships`, `qas`.
- GQA (Hudson and Manning 2019): questions `{id: {imageId, question, answer, types}}`, scene graphs
  `{image: {width, height, objects: {id: {name, x, y, w, h, attributes, relations}}}}`.
- Open Images (Kuznetsova et al. 2020; storage.googleapis.com/openimages/web): CSV of image ids,
  boxes, labels, relationships, and of the classes' names.
- Localized Narratives (Pont-Tuset et al. 2020; google.github.io/localized-narratives): a JSON
  object a line, with `timed_caption` and `traces` or without.

A fact's value has an `id` where its set gives one, which with the kind tells whether it is said
twice. Ids of sets that may be merged, and that count apart, have the set's word before them.
"""

import bisect
import math
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from septet.preprocess.columns.left_out import MALFORMED, text_of, told

PASSED_OVER = ("info", "licenses", "license", "data_type", "data_subtype", "task_type")
"""Members of files that say nothing of images."""
CATEGORY = "category"
SEGMENT = "segment "
"""What the ids of panoptic segments' boxes begin with."""
Fact = tuple[str, str, Any]
"""The id of an image, the kind of a fact, and its value (of a category its own id)."""


def facts_of(member: str, row: Any) -> Iterator[Fact]:
    """The facts that a row states; one of several that cannot be read is a `fault` of its image.

    Args:
        member: The member of the file's object in which the row stands; empty in an array.
        row: The row.

    Raises:
        One of `MALFORMED`: it is no row of a set that is known.
    """
    if member == "categories":
        yield _id(row["id"]), CATEGORY, text_of(row["name"], "a category")
    elif member == "images":
        yield _id(row["id"]), "image", _image(row, row["file_name"])
    elif "segments_info" in row:
        yield from _each(_id(row["image_id"]), "box", row["segments_info"], _segment)
    elif "caption" in row:
        yield _id(row["image_id"]), "caption", {"text": row["caption"]}
        if "dataset_id" in row:
            yield _id(row["image_id"]), "narrative", _narrative(row)
    elif "bbox" in row:
        yield _id(row["image_id"]), "box", _box(row)
    elif "sentences" in row:
        named = {"box": _id(row["ann_id"])}
        yield from _each(
            _id(row["image_id"]),
            "reference",
            row["sentences"],
            lambda one: {"phrase": one["sent"] if "sent" in one else one["raw"], **named},
        )
    elif "question_id" in row:
        kind = "question" if "question" in row else "answer"
        yield _id(row["image_id"]), kind, {"id": _id(row["question_id"]), "row": row}
    elif "imageId" in row:
        named = {"id": member} if member else {}
        yield _id(row["imageId"]), "gqa", {**named, "row": row}
    elif isinstance(row.get("objects"), dict):
        yield from _of_scene_graph(_id(member), row)
    elif "LabelName" in row or "LabelName1" in row or "OriginalURL" in row:
        yield _of_open_images(row)
    else:
        yield from _of_visual_genome(row)


def _of_visual_genome(row: dict[str, Any]) -> Iterator[Fact]:
    image = _id(row["image_id"] if "image_id" in row else row["id"])
    for member, kind, make in _VISUAL_GENOME:
        if member in row:
            yield from _each(image, kind, row[member], make)
            return
    path = urlsplit(row["url"]).path.split("/")
    yield image, "image", _image(row, "/".join(path[-2:]))


def _each(image: str, kind: str, rows: list[Any], make: Callable[[Any], Any]) -> Iterator[Fact]:
    if not isinstance(rows, list):
        raise TypeError(f"{kind}s that are {type(rows).__name__}, no list")
    for row in rows:
        try:
            yield image, kind, make(row)
        except MALFORMED as error:
            yield image, "fault", told(f"a {kind}", error)


def _id(value: Any) -> str:
    found = text_of(value, "an id")
    if not found:
        raise ValueError("an id without text")
    return found


def _own(row: dict[str, Any], field: str, word: str = "") -> dict[str, str]:
    """The id of a fact, where its row has one."""
    return {"id": word + _id(row[field])} if field in row else {}


def _image(row: dict[str, Any], name: str) -> dict[str, Any]:
    size: dict[str, Any] = {side: row[side] for side in ("width", "height") if side in row}
    return {"name": text_of(name, "a file's name")} | size


def _box(row: dict[str, Any], word: str = "") -> dict[str, Any]:
    flags = {"flags": ["crowd"]} if row.get("iscrowd") in (1, True) else {}
    named = {"category": _id(row["category_id"]), **_own(row, "id", word)}
    return {"box": row["bbox"], **named, **flags}


def _segment(row: dict[str, Any]) -> dict[str, Any]:
    return _box(row, SEGMENT)


def _name(row: dict[str, Any]) -> str:
    """The name of an object: the first of its names."""
    return text_of(row["names"][0] if row.get("names") else row["name"], "an object's name")


def _object(row: dict[str, Any], word: str = "object ") -> dict[str, Any]:
    box = [row["x"], row["y"], row["w"], row["h"]]
    return {"label": _name(row), "box": box, **_own(row, "object_id", word)}


def _attributes(row: dict[str, Any]) -> dict[str, Any]:
    words = [text_of(word, "an attribute") for word in row.get("attributes") or []]
    return {"name": _name(row), "words": words, **_own(row, "object_id")}


_VISUAL_GENOME: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    (
        "regions",
        "phrase",
        lambda one: {
            "phrase": one["phrase"],
            "box": [one["x"], one["y"], one["width"], one["height"]],
            **_own(one, "region_id"),
        },
    ),
    ("objects", "box", _object),
    ("attributes", "attributes", _attributes),
    (
        "relationships",
        "relation",
        lambda one: {
            "words": [
                _name(one["subject"]),
                text_of(one["predicate"], "a predicate"),
                _name(one["object"]),
            ],
            **_own(one, "relationship_id"),
        },
    ),
    (
        "qas",
        "pair",
        lambda one: {
            "row": {"question": one["question"], "answer": one["answer"]},
            **_own(one, "qa_id"),
        },
    ),
)
"""Members of Visual Genome's rows, the kind of their entries, and the facts that these state."""


def _of_scene_graph(image: str, row: dict[str, Any]) -> Iterator[Fact]:
    """The facts of GQA's scene graph of an image."""
    told_of = ("width", "height", "location", "weather")
    yield image, "scene", {name: row[name] for name in told_of if row.get(name) is not None}
    objects = row["objects"]
    named = [(_id(key), one) for key, one in objects.items()]
    yield from _each(image, "box", named, lambda one: {**_object(one[1]), **_in_graph(one[0])})
    yield from _each(
        image, "attributes", named, lambda one: {**_attributes(one[1]), **_in_graph(one[0])}
    )
    links = [
        (f"{key} {number}", one, link)
        for key, one in named
        for number, link in enumerate(_field(one, "relations"))
    ]

    def relation(found: tuple[str, Any, Any]) -> dict[str, Any]:
        own, one, link = found
        word = text_of(link["name"], "a relation")
        return {"words": [_name(one), word, _name(objects[_id(link["object"])])], **_in_graph(own)}

    yield from _each(image, "relation", links, relation)


def _in_graph(own: str) -> dict[str, str]:
    return {"id": f"GQA {own}"}


def _field(row: Any, name: str) -> list[Any]:
    """A list in a row; empty where it is something else, which is told elsewhere."""
    found = row.get(name) if isinstance(row, dict) else None
    return found if isinstance(found, list) else []


_FLAGS = {
    "IsOccluded": "occluded",
    "IsTruncated": "truncated",
    "IsGroupOf": "group",
    "IsDepiction": "depiction",
    "IsInside": "inside",
}
"""Columns of Open Images' boxes, 1 where it is so (-1: not known), and their words here."""


def _of_open_images(row: dict[str, Any]) -> Fact:
    """The fact of a row of Open Images' CSV files."""
    if "DisplayName" in row:
        return _id(row["LabelName"]), CATEGORY, text_of(row["DisplayName"], "a class")
    image = _id(row["ImageID"])
    if "OriginalURL" in row:
        return image, "image", {"name": f"{image}.jpg"}
    if "LabelName1" in row:
        names = [_id(row["LabelName1"]), _id(row["LabelName2"])]
        word = text_of(row["RelationshipLabel"], "a relation")
        return image, "link", {"names": names, "word": word}
    label = _id(row["LabelName"])
    if "XMin" in row:
        corners = [float(row[side]) for side in ("XMin", "YMin", "XMax", "YMax")]
        if not all(map(math.isfinite, corners)):
            raise ValueError(f"no numbers: {corners}")
        flags = [word for column, word in _FLAGS.items() if row.get(column) == "1"]
        said = {"flags": flags} if flags else {}
        return image, "box", {"corners": corners, "category": label, **said}
    confidence = float(row["Confidence"])
    if not 0 <= confidence <= 1:
        raise ValueError(f"a confidence of {confidence}")
    return image, "label", {"category": label, "confidence": confidence, "source": row["Source"]}


def _narrative(row: dict[str, Any]) -> dict[str, Any]:
    """A narrative's utterances, each with its seconds and the box that the pointer's trace spans
    in them, normalised corners; None where there is no trace in that time."""
    found = {"set": text_of(row["dataset_id"], "a set")}
    if "timed_caption" not in row:
        return found
    points = sorted(
        (float(point["t"]), float(point["x"]), float(point["y"]))
        for trace in row.get("traces") or []
        for point in trace
    )
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a trace with points that are no numbers")
    said = []
    for one in row["timed_caption"]:
        start, end = float(one["start_time"]), float(one["end_time"])
        first = bisect.bisect_left(points, start, key=lambda point: point[0])
        behind = bisect.bisect_right(points, end, key=lambda point: point[0])
        box = None
        if first < behind:
            xs, ys = ([point[axis] for point in points[first:behind]] for axis in (1, 2))
            box = [min(max(side, 0.0), 1.0) for side in (min(xs), min(ys), max(xs), max(ys))]
        text = text_of(one["utterance"], "an utterance")
        said.append({"text": text, "seconds": [start, end], "box": box})
    return found | {"annotator": _id(row["annotator_id"]), "said": said}
