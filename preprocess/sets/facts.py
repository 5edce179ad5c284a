"""What rows of annotated sets say of images, whatever set they are of.

Rows are known by their fields, as the sets publish them:

- COCO (Lin et al. 2014; cocodataset.org), and sets in its form (Objects365): `images`,
  `annotations` with a caption, with a `bbox`, or panoptic with `segments_info`, `categories`.
- RefCOCO, RefCOCO+ and RefCOCOg (Kazemzadeh et al. 2014; Yu et al. 2016): references
  `{image_id, ann_id, sentences: [{sent | raw}]}` as JSON, beside COCO's instances.
- VQA (Antol et al. 2015; Goyal et al. 2017): `questions` and `annotations` with `question_id`.
- Visual Genome (Krishna et al. 2017): image data, `regions`, `objects`, `attributes`,
  `relationships`, `qas`.
- GQA (Hudson and Manning 2019): `{id: {imageId, question, answer, types}}`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from septet.preprocess.columns.left_out import MALFORMED, text_of, told

PASSED_OVER = ("info", "licenses", "license", "data_type", "data_subtype", "task_type")
"""Members of files that say nothing of images."""
CATEGORY = "category"
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
        yield from _each(_id(row["image_id"]), "box", row["segments_info"], _box)
    elif "caption" in row:
        yield _id(row["image_id"]), "caption", row["caption"]
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
        yield _id(row["image_id"]), "question" if "question" in row else "answer", row
    elif "imageId" in row:
        yield _id(row["imageId"]), "gqa", row
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


def _image(row: dict[str, Any], name: str) -> dict[str, Any]:
    size: dict[str, Any] = {side: row[side] for side in ("width", "height") if side in row}
    return {"name": text_of(name, "a file's name")} | size


def _box(row: dict[str, Any]) -> dict[str, Any]:
    named = {"id": _id(row["id"])} if "id" in row else {}
    return {"box": row["bbox"], "category": _id(row["category_id"]), **named}


def _name(row: dict[str, Any]) -> str:
    """The name of an object: the first of its names."""
    return text_of(row["names"][0] if row.get("names") else row["name"], "an object's name")


_VISUAL_GENOME: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    (
        "regions",
        "phrase",
        lambda one: {
            "phrase": one["phrase"],
            "box": [one["x"], one["y"], one["width"], one["height"]],
        },
    ),
    (
        "objects",
        "box",
        lambda one: {"label": _name(one), "box": [one["x"], one["y"], one["w"], one["h"]]},
    ),
    (
        "attributes",
        "attributes",
        lambda one: [
            [_name(one), text_of(word, "an attribute")] for word in one.get("attributes") or []
        ],
    ),
    (
        "relationships",
        "relation",
        lambda one: [
            _name(one["subject"]),
            text_of(one["predicate"], "a predicate"),
            _name(one["object"]),
        ],
    ),
    ("qas", "pair", lambda one: {"question": one["question"], "answer": one["answer"]}),
)
"""Members of Visual Genome's rows, the kind of their entries, and the facts that these state."""


@dataclass
class Described:
    """All that a set says of one image.

    `extra` is what columns read (`boxes` with `labels`, `phrases`, `questions`) and other words of
    the set (`attributes`, `relations`); boxes are normalised corners x0, y0, x1, y1. `faults` says
    what was wrong with each fact that is left out.
    """

    id: str
    name: str | None = None
    captions: list[Any] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def describe_image(
    image: str, facts: list[tuple[str, Any]], categories: dict[str, str]
) -> Described:
    """Merge all facts of one image.

    Args:
        image: Its id in the set.
        facts: Kinds and values, in the order of the files.
        categories: Names of categories by their ids.
    """
    found = Described(image, extra={"image_id": image})
    by_kind: dict[str, list[Any]] = {}
    for kind, value in facts:
        by_kind.setdefault(kind, []).append(value)
    for known in by_kind.get("image", []):
        found.name = found.name or known["name"]
        if known["name"] != found.name:
            found.faults.append(f"another file has this id: {known['name']}")
        found.extra = {name: value for name, value in known.items() if name != "name"} | found.extra
    size = found.extra.get("width"), found.extra.get("height")
    found.captions = by_kind.get("caption", [])
    found.faults += by_kind.get("fault", [])
    places: dict[str, list[float]] = {}
    boxes, labels = [], []
    for one in by_kind.get("box", []):
        try:
            label = one["label"] if "label" in one else categories[one["category"]]
            box = _normalised(one["box"], size)
        except MALFORMED as error:
            found.faults.append(told("a box", error))
            continue
        boxes.append(box)
        labels.append(label)
        if "id" in one:
            places[one["id"]] = box
    if "box" in by_kind:
        found.extra |= {"boxes": boxes, "labels": labels}
    for kind in ("phrase", "reference"):
        for one in by_kind.get(kind, []):
            try:
                phrase = text_of(one["phrase"], "a phrase")
                box = _normalised(one["box"], size) if kind == "phrase" else places[one["box"]]
            except MALFORMED as error:
                found.faults.append(told("a phrase", error))
            else:
                found.extra.setdefault("phrases", []).append({"phrase": phrase, "box": box})
    _ask(found, by_kind)
    if "attributes" in by_kind:
        found.extra["attributes"] = [pair for some in by_kind["attributes"] for pair in some]
    if "relation" in by_kind:
        found.extra["relations"] = by_kind["relation"]
    return found


def _normalised(box: Any, size: tuple[Any, Any]) -> list[float]:
    """A box x, y, width, height in pixels as normalised corners.

    Raises:
        One of `MALFORMED`: it is none, or its image has no size.
    """
    x, y, width, height = (float(side) for side in box)
    w, h = (float(side) for side in size)
    if not all(map(math.isfinite, (x, y, width, height, w, h))):
        raise ValueError(f"no numbers: {box} in {size}")
    return [x / w, y / h, (x + width) / w, (y + height) / h]


def _ask(found: Described, by_kind: dict[str, list[Any]]) -> None:
    """Add the questions of an image."""
    if by_kind.keys().isdisjoint(("question", "answer", "pair", "gqa")):
        return
    # Not at the top: each build imports this module, and few need what that brings with it.
    from septet.preprocess.questions.sources import gqa_pair, plain_pair, vqa_pair

    answers = {str(one["question_id"]): one for one in by_kind.get("answer", [])}
    asked: list[Callable[[], Any]] = [
        *(partial(plain_pair, one) for one in by_kind.get("pair", [])),
        *(partial(gqa_pair, one) for one in by_kind.get("gqa", [])),
    ]
    for one in by_kind.get("question", []):
        answer = answers.pop(str(one["question_id"]), None)
        if answer is None:
            found.faults.append(f"question {one['question_id']} has no answer")
        else:
            asked.append(partial(vqa_pair, one["question"], answer))
    found.faults += [f"answer {name} has no question" for name in answers]
    for make in asked:
        try:
            found.extra.setdefault("questions", []).append(make().to_json())
        except MALFORMED as error:
            found.faults.append(told("a question", error))
