"""Images as models see them: decoded, cropped, resized, normalised."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from septet.preprocess.images.crops import Box
from septet.preprocess.images.decode import decode_rgb
from septet.schemas.reasons import RejectedError
from septet.trainers.task import SampleError

Pixels = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""

Colour = tuple[float, float, float]

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of RGB in [0, 1], over CLIP's training images; FLAVA takes the same."""


def decode(data: bytes, shortest: int = 0) -> Pixels:
    """Decode an image file by the rules of builds and columns: upright, on white, in bounds.

    Args:
        data: The file's content.
        shortest: A JPEG may be decoded at a smaller scale as long as both sides stay larger than
            this; 0 decodes it whole, as evaluation views must be.

    Raises:
        SampleError: the bytes are no image that can be decoded, or too large a one.
    """
    try:
        return decode_rgb(data, width=shortest, height=shortest)
    except RejectedError as error:
        raise SampleError(f"image cannot be used: {error}", "bad_image") from error


def crop(image: Pixels, box: Box, side: int) -> Pixels:
    """A part of an image, resized to `side` x `side`: bicubic with antialiasing, Pillow's pixels
    give or take 1, in a fifth of its time."""
    x0, y0, x1, y1 = box
    part = image[y0:y1, x0:x1]
    if part.shape[:2] == (side, side):
        return np.ascontiguousarray(part)
    # Torch would warn of memory that may not be written, though nothing is.
    part = part if part.flags.writeable else part.copy()
    nchw = torch.from_numpy(part)[None].permute(0, 3, 1, 2)
    found = F.interpolate(nchw, (side, side), mode="bicubic", antialias=True)
    return np.ascontiguousarray(found.permute(0, 2, 3, 1)[0].numpy())


def centre(image: Pixels, side: int) -> Pixels:
    """The published evaluation view: shorter side to `side` (by Pillow, to the bit), then the
    middle `side` x `side`."""
    height, width = image.shape[:2]
    if min(height, width) != side:
        factor = side / min(height, width)
        size = (
            side if width <= height else int(factor * width),
            side if height <= width else int(factor * height),
        )
        image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        height, width = image.shape[:2]
    y, x = round((height - side) / 2), round((width - side) / 2)
    return np.ascontiguousarray(image[y : y + side, x : x + side])


def normalise(pixels: Tensor, mean: Colour = MEAN, std: Colour = STD) -> Tensor:
    """uint8 [B, P, P, 3] to float [B, 3, P, P] with a mean and deviation of RGB in [0, 1], by
    default CLIP's."""
    middle, spread = (_on(colour, pixels.device) for colour in (mean, std))
    return ((pixels.float() - middle) / spread).permute(0, 3, 1, 2)


@lru_cache(16)
def _on(colour: Colour, device: torch.device) -> Tensor:
    """A colour times 255. Kept, as the host waits while numbers are copied to a device."""
    return torch.tensor(colour, device=device) * 255
