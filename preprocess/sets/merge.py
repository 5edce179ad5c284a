"""All that a set says of one image, put together of the facts of its rows."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from septet.preprocess.columns.left_out import MALFORMED, text_of, told
from septet.preprocess.sets.facts import SEGMENT

_COCO_DIGITS = 12
"""Digits of the names of COCO's files since 2017, of which Localized Narratives give the ids."""


@dataclass
class Described:
    """All that a set says of one image.

    `extra` is what columns read (`boxes` with `labels`, `absent`, `phrases`, `questions`) and other
    words of the set (`attributes`, `relations`, `narratives` …); boxes are normalised corners x0,
    y0, x1, y1. `faults` says what was wrong with each fact that is left out.
    """

    id: str
    name: str | None = None
    captions: list[Any] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def describe_image(
    image: str, facts: list[tuple[str, Any]], categories: dict[str, str]
) -> Described:
    """Merge all facts of one image. What is said twice, in two files, counts once.

    Args:
        image: Its id in the set.
        facts: Kinds and values, in the order of the files.
        categories: Names of categories by their ids.
    """
    found = Described(image, extra={"image_id": image})
    by_kind = _distinct(facts, found.faults)
    _name(found, by_kind)
    found.captions = [one["text"] for one in by_kind.get("caption", [])]
    size = found.extra.get("width"), found.extra.get("height")
    places = _add_boxes(found, _without_segments(by_kind.get("box", [])), size, categories)
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
        found.extra["attributes"] = [
            [one["name"], word] for one in by_kind["attributes"] for word in one["words"]
        ]
    if "relation" in by_kind:
        found.extra["relations"] = [one["words"] for one in by_kind["relation"]]
    for one in by_kind.get("link", []):
        try:
            first, second = (categories[name] for name in one["names"])
        except MALFORMED as error:
            found.faults.append(told("a relationship", error))
        else:
            found.extra.setdefault("relations", []).append([first, one["word"], second])
    _add_labels(found, by_kind.get("label", []), categories)
    told_of = [one for one in by_kind.get("narrative", []) if "said" in one]
    if told_of:
        found.extra["narratives"] = [
            {"annotator": one["annotator"], "said": one["said"]} for one in told_of
        ]
    return found


def _distinct(facts: list[tuple[str, Any]], faults: list[str]) -> dict[str, list[Any]]:
    """The values by kind, each once: two files of a set may say the same, COCO's instances and
    keypoints for one. Another value with the same id is a fault."""
    seen: dict[tuple[str, str], Any] = {}
    by_kind: dict[str, list[Any]] = {}
    for kind, value in facts:
        if kind == "fault":
            faults.append(value)
            continue
        own = value.get("id")
        key = kind, json.dumps(value, sort_keys=True) if own is None else f"id {own}"
        if key not in seen:
            seen[key] = value
            by_kind.setdefault(kind, []).append(value)
        elif _said(seen[key]) != _said(value):
            faults.append(f"a {kind} of id {own}"[:80] + " that is another one in an earlier row")
    return by_kind


def _said(value: dict[str, Any]) -> Any:
    """What a fact says, in which two of one id must agree: of a question its words and answers,
    for some files of VQA and GQA have more fields than others."""
    if "row" not in value:
        return value
    return [value["row"].get(name) for name in ("question", "answer", "answers")]


def _name(found: Described, by_kind: dict[str, list[Any]]) -> None:
    """Find the image's file and size."""
    for known in by_kind.get("image", []):
        found.name = found.name or known["name"]
        if known["name"] != found.name:
            found.faults.append(f"another file has this id: {known['name']}")
        found.extra = {name: value for name, value in known.items() if name != "name"} | found.extra
    for known in by_kind.get("scene", []):
        found.extra = known | found.extra
    if found.name is None:
        found.name = _usual_name(found.id, by_kind)


def _usual_name(image: str, by_kind: dict[str, list[Any]]) -> str | None:
    """The name of an image's file in a set that publishes no list of images, because its files are
    named by their ids; None where it is none of those."""
    sets = [one["set"] for one in by_kind.get("narrative", [])]
    if any(name.startswith("mscoco") for name in sets):
        return f"{image:0>{_COCO_DIGITS}}.jpg"
    of_open_images = any("corners" in one for one in by_kind.get("box", []))
    if sets or of_open_images or not by_kind.keys().isdisjoint(("scene", "gqa", "label", "link")):
        return f"{image}.jpg"
    return None


def _without_segments(boxes: list[Any]) -> list[Any]:
    """The boxes without those panoptic segments whose category the image has instances of: COCO's
    segments of things are its instances once more, where they are not covered."""
    instances = {one["category"] for one in boxes if "category" in one and not _is_segment(one)}
    return [one for one in boxes if not (_is_segment(one) and one["category"] in instances)]


def _is_segment(box: Any) -> bool:
    return str(box.get("id")).startswith(SEGMENT)


def _add_boxes(
    found: Described, facts: list[Any], size: tuple[Any, Any], categories: dict[str, str]
) -> dict[str, list[float]]:
    """Add the boxes of an image; returns them by their ids."""
    places: dict[str, list[float]] = {}
    boxes, labels, flags = [], [], []
    for one in facts:
        try:
            label = one["label"] if "label" in one else categories[one["category"]]
            box = one["corners"] if "corners" in one else _normalised(one["box"], size)
        except MALFORMED as error:
            found.faults.append(told("a box", error))
            continue
        boxes.append(box)
        labels.append(label)
        flags.append(one.get("flags", []))
        if "id" in one:
            places[one["id"]] = box
    if facts:
        found.extra |= {"boxes": boxes, "labels": labels}
    if any(flags):
        found.extra["box_flags"] = flags
    return places


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


def _add_labels(found: Described, facts: list[Any], categories: dict[str, str]) -> None:
    """Add the labels of whole images: verified ones, those verified to be absent, and a machine's
    with its confidence."""
    for one in facts:
        try:
            label = categories[one["category"]]
        except MALFORMED as error:
            found.faults.append(told("a label", error))
            continue
        if one["source"] == "machine":
            found.extra.setdefault("scored_labels", []).append([label, one["confidence"]])
        elif one["confidence"] in (0, 1):
            name = "image_labels" if one["confidence"] else "absent"
            found.extra.setdefault(name, []).append(label)
        else:
            found.faults.append(f"a verified label with a confidence of {one['confidence']}")


def _ask(found: Described, by_kind: dict[str, list[Any]]) -> None:
    """Add the questions of an image."""
    if by_kind.keys().isdisjoint(("question", "answer", "pair", "gqa")):
        return
    # Not at the top: each build imports this module, and few need what that brings with it.
    from septet.preprocess.questions.sources import gqa_pair, plain_pair, vqa_pair

    answers = {one["id"]: one["row"] for one in by_kind.get("answer", [])}
    asked: list[Callable[[], Any]] = [
        *(partial(plain_pair, one["row"]) for one in by_kind.get("pair", [])),
        *(partial(gqa_pair, one["row"]) for one in by_kind.get("gqa", [])),
    ]
    for one in by_kind.get("question", []):
        answer = answers.pop(one["id"], None)
        if answer is None:
            found.faults.append(f"question {one['id']} has no answer")
        else:
            asked.append(partial(vqa_pair, one["row"]["question"], answer))
    found.faults += [f"answer {name} has no question" for name in answers]
    for make in asked:
        try:
            found.extra.setdefault("questions", []).append(make().to_json())
        except MALFORMED as error:
            found.faults.append(told("a question", error))
