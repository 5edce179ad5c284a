"""What a trained model can be asked, and what it answers: `septet predict`."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["image", "question", "text", "box", "language"]
"""What a person gives. A text is a caption, a phrase, or texts with | between them."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the image's sides, in [0, 1]."""

Pixels = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""


@dataclass(frozen=True)
class Ability:
    """Something that a trained model can be asked."""

    meaning: str
    """What it does, for a list: "says what the image shows"."""
    needs: tuple[Part, ...] = ("image",)
    may: tuple[Part, ...] = ()
    """Parts that it takes where they are given."""
    gives: Literal["text", "boxes", "image"] = "text"
    text: str = "a red circle"
    language: str = "de"
    """A text and a language to give it, for an example."""


@dataclass(frozen=True)
class Asked:
    """A question to a model; it has the parts that the ability needs."""

    image: Pixels | None = None
    """As large as it is, or as `Task.view` has it."""
    question: str = ""
    text: str = ""
    box: Box | None = None
    language: str | None = None


@dataclass(frozen=True)
class Answer:
    """A model's answer."""

    text: str = ""
    boxes: tuple[tuple[Box, str], ...] = ()
    """Each with its label."""
    image: Pixels | None = None
    score: float | None = None
    """How sure the model is, where it says so; see the ability."""
