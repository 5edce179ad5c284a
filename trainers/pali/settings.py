"""PaLI's settings: sizes of both halves, and how long texts may be."""

from typing import Literal

from pydantic import Field, model_validator

from septet.trainers.nets.t5 import T5Settings
from septet.trainers.settings.base import Settings


class VitSettings(Settings):
    """Sizes of the vision half; the defaults are those of SigLIP's So400m/14 at 224 pixels."""

    width: int = Field(default=1152, gt=0)
    inner: int = Field(default=4304, gt=0)
    """Width inside feed-forward networks."""
    heads: int = Field(default=16, gt=0)
    layers: int = Field(default=27, gt=0)
    image_size: int = Field(default=224, gt=0)
    patch: int = Field(default=14, gt=0)
    """Side of a patch in pixels."""

    @property
    def grid(self) -> int:
        """Patches on each axis."""
        return self.image_size // self.patch

    @model_validator(mode="after")
    def _fit(self) -> "VitSettings":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if self.image_size % self.patch:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch {self.patch}")
        return self


PAPER_MIXTURE = {
    "spans": 100.0,
    "split_caption": 1000.0,
    "ocr": 100.0,
    "caption": 100.0,
    "vqa": 100.0,
    "vqg": 100.0,
    "objects": 50.0,
    "detect": 16.0,
}
"""Millions of examples of each task (paper, table 9)."""


class PaliSettings(Settings):
    """A PaLI; the defaults are SigLIP So400m/14 and mT5-Large, both public."""

    vision: VitSettings = VitSettings()
    language: T5Settings = T5Settings()
    frozen: Literal["vision", "nothing"] = "vision"
    """What is not trained: the vision half in the first stage, nothing in the second."""
    mixture: dict[str, float] = Field(default=PAPER_MIXTURE)
    """Weights of the tasks; those left out, and those of weight 0, are not trained."""
    language_temperature: float = Field(default=1.0, gt=0)
    """A language of n samples is drawn in proportion to n^(1/temperature), and texts that are
    joined are of one; 1 takes samples as they come."""
    text_rows: int = Field(default=1, gt=0)
    """Rows of texts without images come in multiples of this, as a forward pass of their own: of
    ranks times micro-batch."""

    vocabulary: str | None = None
    """Path of mT5's `spiece.model`; `scenes` for the words of scenes."""
    classes: str | None = None
    """Path of a file of class names, one a line, of which absent ones are drawn for images that
    have no verified ones."""
    prompt_tokens: int = Field(default=64, gt=1)
    """Most tokens of a prompt, </s> included."""
    answer_tokens: int = Field(default=64, gt=1)
    """Most tokens of an answer, </s> included, but for the next two."""
    ocr_tokens: int = Field(default=128, gt=1)
    detect_tokens: int = Field(default=256, gt=1)
    span_tokens: int = Field(default=512, gt=3)
    """Tokens of texts with spans hidden, </s> included; 512 of 568."""
    span_texts: int = Field(default=32, gt=0)
    """Texts that are joined, one behind the other, until they fill a row of those, at most; the
    others of so many in a row are not read in this epoch."""
    most_boxes: int = Field(default=20, gt=0)
    most_absent: int = Field(default=10, ge=0)
    """Classes in a detection prompt that the image does not show."""

    z_loss: float = Field(default=1e-4, ge=0)
    """Factor on the square of the log of the sum of scores' exponentials."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Probability that the loss spreads over the other words."""
    chunk: int | None = Field(default=None, gt=0)
    """Target tokens whose scores of all words are in memory at once; null for as many as have 2^25
    scores."""

    @model_validator(mode="after")
    def _known(self) -> "PaliSettings":
        if odd := sorted(self.mixture.keys() - PAPER_MIXTURE.keys()):
            raise ValueError(
                f"a mixture's tasks are {', '.join(PAPER_MIXTURE)}; found {', '.join(odd)}"
            )
        return self
