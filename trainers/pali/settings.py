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


class PaliSettings(Settings):
    """A PaLI; the defaults are SigLIP So400m/14 and mT5-Large, both public."""

    vision: VitSettings = VitSettings()
    language: T5Settings = T5Settings()
    frozen: Literal["vision", "nothing"] = "vision"
    """What is not trained: the vision half in the first stage, nothing in the second."""
    z_loss: float = Field(default=1e-4, ge=0)
    """Factor on the square of the log of the sum of scores' exponentials."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Probability that the loss spreads over the other words."""
    chunk: int = Field(default=1024, gt=0)
    """Target tokens whose scores of all words are in memory at once."""
