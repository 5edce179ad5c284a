"""The image sizes and filters with which the published pipelines feed each tokenizer; known without
loading any."""

from dataclasses import dataclass
from typing import Literal

Resample = Literal["bicubic", "lanczos"]


@dataclass(frozen=True)
class Published:
    """The image that a tokenizer is fed with."""

    image_size: int
    """The side of the image, pixels."""
    resample: Resample
    """The filter by which Pillow resizes it."""


PUBLISHED: dict[str, Published] = {
    "vqgan": Published(256, "lanczos"),  # OFA-Sys/OFA, generate_code.py
    "dvae": Published(112, "lanczos"),  # facebookresearch/multimodal, flava_transform.py
    "vqkd": Published(224, "bicubic"),  # microsoft/unilm, beit2
}
