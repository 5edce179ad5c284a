"""What the published pipelines give each tokenizer; known without loading any."""

from dataclasses import dataclass
from typing import Literal

Resample = Literal["bicubic", "lanczos"]


@dataclass(frozen=True)
class Published:
    """How a tokenizer is fed."""

    image_size: int
    """Side of the image, pixels."""
    resample: Resample
    """How it is resized, by Pillow."""


PUBLISHED: dict[str, Published] = {
    "vqgan": Published(256, "lanczos"),  # OFA-Sys/OFA, generate_code.py
    "dvae": Published(112, "lanczos"),  # facebookresearch/multimodal, flava_transform.py
    "vqkd": Published(224, "bicubic"),  # microsoft/unilm, beit2
}
