"""From image bytes to a model's square of pixels."""

import io

import cv2
import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from septet.preprocess.images.crops import Box
from septet.trainers.task import SampleError

Pixels = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""

Colour = tuple[float, float, float]

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of RGB in [0, 1], over CLIP's training pictures; FLAVA takes the same."""


def decode(data: bytes, shortest: int = 0) -> Pixels:
    """Decode a JPEG, PNG or WebP.

    Args:
        data: The file's content.
        shortest: A JPEG may be decoded at a smaller scale as long as both sides stay at least
            this; 0 decodes it whole.

    Raises:
        SampleError: the bytes are no image that can be decoded.
    """
    if data[:2] == b"\xff\xd8":
        try:
            # Between 1 and 2 a scaled decode is slower than a whole one and a smaller resize.
            return simplejpeg.decode_jpeg(
                data, "RGB", min_height=shortest, min_width=shortest, min_factor=2
            )
        except ValueError:
            pass  # Unusual colour spaces; and what is broken fails below too.
    if data[:4] == b"\x89PNG":
        try:  # OpenCV reads these too, but prints a warning for each odd colour profile.
            with Image.open(io.BytesIO(data)) as image:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            pass  # Some that Pillow refuses OpenCV reads.
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise SampleError(f"image cannot be decoded: {error}") from error
    if found is None:
        raise SampleError(f"image of {len(data)} bytes cannot be decoded")
    return found


def crop(picture: Pixels, box: Box, side: int) -> Pixels:
    """A part of a picture, resized to `side` x `side`: bicubic with antialiasing, Pillow's pixels
    give or take 1, in a fifth of its time."""
    x0, y0, x1, y1 = box
    part = picture[y0:y1, x0:x1]
    if part.shape[:2] == (side, side):
        return np.ascontiguousarray(part)
    nchw = torch.from_numpy(part)[None].permute(0, 3, 1, 2)
    found = F.interpolate(nchw, (side, side), mode="bicubic", antialias=True)
    return np.ascontiguousarray(found.permute(0, 2, 3, 1)[0].numpy())


def centre(picture: Pixels, side: int) -> Pixels:
    """The published evaluation view: shorter side to `side` (by Pillow, to the bit), then the
    middle `side` x `side`."""
    height, width = picture.shape[:2]
    if min(height, width) != side:
        factor = side / min(height, width)
        size = (
            side if width <= height else int(factor * width),
            side if height <= width else int(factor * height),
        )
        picture = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        height, width = picture.shape[:2]
    y, x = round((height - side) / 2), round((width - side) / 2)
    return np.ascontiguousarray(picture[y : y + side, x : x + side])


def normalise(pixels: Tensor, mean: Colour = MEAN, std: Colour = STD) -> Tensor:
    """uint8 [B, P, P, 3] to float [B, 3, P, P] with a mean and deviation of RGB in [0, 1], by
    default CLIP's."""
    middle = torch.tensor(mean, device=pixels.device) * 255
    spread = torch.tensor(std, device=pixels.device) * 255
    return ((pixels.float() - middle) / spread).permute(0, 3, 1, 2)
