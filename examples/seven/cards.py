"""What is shown of a model's predictions: cards of images with boxes on them, and lines of text."""

import base64
from collections.abc import Iterable
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

State = Literal["", "right", "wrong", "hidden"]
"""What stands on a card is: given, said rightly, said wrongly, or hidden from the model."""


class Mark(BaseModel):
    """A box on an image."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom as shares of the sides."""
    label: str
    state: State = ""


class View(BaseModel):
    """An image."""

    png: str
    """Base64."""
    told: str = ""
    """What it is."""
    marks: list[Mark] = []

    @classmethod
    def of(cls, pixels: NDArray[Any], told: str = "", marks: Iterable[Mark] = ()) -> "View":
        """A view of uint8 [height, width, 3], RGB."""
        ok, png = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, ::-1]))
        assert ok
        return cls(png=base64.b64encode(png.tobytes()).decode(), told=told, marks=list(marks))


class Part(BaseModel):
    """A part of a line."""

    text: str
    state: State = ""


class Line(BaseModel):
    """A line of text."""

    name: str
    parts: list[Part]
    language: str = ""

    @classmethod
    def of(cls, name: str, text: str, state: State = "", language: str = "") -> "Line":
        """A line of one part."""
        return cls(name=name, parts=[Part(text=text, state=state)], language=language)


class Card(BaseModel):
    """One sample, and what a model says of it."""

    views: list[View]
    lines: list[Line]


class Shown(BaseModel):
    """What is known of a trained model beside its figures, and its cards."""

    parameters: int
    samples: int
    """Of the corpus that it read: those that its largest stream can use."""
    rows: int
    """It was trained on, repetitions counted."""
    reads: list[str]
    """Members and columns that it read."""
    cards: list[Card]
