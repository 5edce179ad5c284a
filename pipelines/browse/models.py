"""Models that browse asks, each in a process of its own: one that was trained, and the tokenizer
whose codes a column holds."""

import base64
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from septet.pipelines.browse.child import Child, ChildError
from septet.pipelines.browse.drawing import Layer, layer_of
from septet.preprocess.columns.weights import weights_digest
from septet.schemas.columns import ColumnManifest

ANSWER_SECONDS = 120.0
"""The most time for an answer, with the time it takes to load the model."""
PARTS = ("question", "text", "box", "language")
"""What a person types of a question; the image is the sample's."""
_MOST_ANSWERS = 8


@dataclass(frozen=True)
class Told:
    """A model's answer: a text, boxes, the number of an image that it made, how sure it is."""

    task: str
    text: str
    boxes: Layer | None
    """Those that can be drawn."""
    places: list[tuple[str, list[float | str]]]
    """The labels of all boxes, with their sides in pixels: left, top, right, bottom."""
    image: int | None
    score: float | str | None
    """A number, or the word for one that is not finite."""


class Trained:
    """A run's model, asked by `septet predict --lines`.

    Args:
        run: The run's folder or URL.
        scratch: A folder for the images that it is given, and makes.
    """

    def __init__(self, run: str, scratch: Path):
        self.run = run
        self._folder = scratch / "model"
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "septet", "predict", run, "--lines"]
        self._child = Child(command, ANSWER_SECONDS)
        self._about: dict[str, Any] = {}
        self._made: OrderedDict[int, bytes] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """What it is, and can be asked: `model`, `preset`, and `tasks`, by name `meaning`, `needs`,
        `may`, `gives`, and a `text` and a `language` for example.

        Raises:
            ChildError: it does not say so.
        """
        if not self._about:
            self._about = self._child.ask({})
        return self._about

    def ask(self, task: str, image: bytes | None, parts: Mapping[str, str]) -> Told:
        """Ask it about an image, or without one.

        Raises:
            ChildError: it does not answer, or not in time.
        """
        with self._lock:
            self._count += 1
            number = self._count
        given, made = self._folder / f"{number}", self._folder / f"{number}.png"
        question: dict[str, Any] = {"task": task, "out": str(made)}
        question |= {name: parts[name] for name in PARTS if parts.get(name)}
        try:
            if image is not None:
                given.write_bytes(image)
                question["image"] = str(given)
            answer = self._child.ask(question)
            if made.exists():
                with self._lock:
                    self._made[number] = made.read_bytes()
                    while len(self._made) > _MOST_ANSWERS:
                        self._made.popitem(last=False)
        finally:
            given.unlink(missing_ok=True)
            made.unlink(missing_ok=True)
        places = [(str(one["label"]), one["box"]) for one in answer.get("boxes", ())]
        sides = answer["size"] * 2
        shares = [
            ([x / side for x, side in zip(box, sides, strict=True)], label)
            for label, box in places
            if all(isinstance(x, int | float) for x in box)
        ]
        return Told(
            task, answer.get("text", ""), layer_of("predicted", shares) if places else None, places,
            number if number in self._made else None, answer.get("score"),
        )  # fmt: skip

    def made(self, number: int) -> bytes:
        """An image that it made, one of the last eight.

        Raises:
            ValueError: there is no such image any more.
        """
        with self._lock:
            if number not in self._made:
                raise ValueError("there is no such image any more: ask again")
            return self._made[number]

    def end(self) -> None:
        """End its process."""
        self._child.end()


class Decoder:
    """The tokenizer of columns of image codes.

    Args:
        weights: A file of a VQGAN's weights; None where there is none at hand.
    """

    def __init__(self, weights: str | None):
        command = [sys.executable, "-m", "septet.preprocess.codes.decoding", weights or ""]
        self._child = Child(command, ANSWER_SECONDS) if weights else None
        self._digest = cache(lambda: weights_digest(weights or "", "--codes", "codes"))

    def unfit(self, head: ColumnManifest) -> str:
        """Why the codes of a column are not decoded; empty where they are."""
        made_by = head.member.notes.get("tokenizer")
        if made_by != "vqgan":
            return f"they are of a {str(made_by)[:20]}, which has no decoder here"
        if self._child is None:
            return "they are decoded with the weights of their VQGAN: septet browse --codes WEIGHTS"
        try:
            digest = self._digest()
        except (ValueError, OSError) as error:
            return str(error)
        if head.models.get("tokenizer", digest) != digest:
            return "the weights of --codes are not those that the column was made by"
        return ""

    def png(self, codes: list[list[int]]) -> bytes:
        """The image that codes stand for, as a PNG.

        Raises:
            ChildError: they are not decoded, or not in time.
        """
        if self._child is None:
            raise ChildError("image codes are decoded with weights: septet browse --codes WEIGHTS")
        return base64.b64decode(self._child.ask({"codes": codes})["png"])

    def end(self) -> None:
        """End its process."""
        if self._child is not None:
            self._child.end()
