"""Views: the parts of a picture that a model sees, fixed beforehand so that codes can be stored.

A view is a box in whole pixels of the upright source picture, a flip and colour factors. It is a
pure function of a seed, the sample's key, the view's number and the picture's size; and what is
made of it here is the same, bit for bit, in a column and in a trainer that opens the picture with
`open_picture`.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from preprocess.codes.published import Resample

Augmentation = Literal["resize", "center", "flava", "beit", "ofa"]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; the right and bottom edges are outside."""

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class View:
    """One view of one picture."""

    box: Box
    flip: bool = False
    """Left and right are exchanged, after the crop."""
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of brightness, contrast and saturation, in this order, after crop and resize; 1
    changes nothing. Exact in float32."""


@dataclass(frozen=True)
class Recipe:
    """How views are drawn."""

    scale: tuple[float, float] | None
    """Range of the box's area, as a share of the picture; None: no crop is drawn."""
    flip: float
    """Probability of a flip."""
    square: bool = False
    """Without a drawn crop: the largest centred square, not the whole picture."""
    middle: bool = False
    """Codes are those of the middle half of the view on each axis, cut out before encoding."""


RECIPES: dict[Augmentation, Recipe] = {
    "resize": Recipe(None, 0.0),
    "center": Recipe(None, 0.0, square=True),
    # Released code (facebookresearch/multimodal): RandomResizedCrop(0.9, 1.0), no flip.
    "flava": Recipe((0.9, 1.0), 0.0),
    # BEiT v2's published recipe: second-stage min_crop_scale 0.2, flip 0.5.
    "beit": Recipe((0.2, 1.0), 0.5),
    # Image infilling: the middle 128 x 128 of 256 x 256 is what the model predicts.
    "ofa": Recipe(None, 0.0, square=True, middle=True),
}


def draw_view(
    seed: int,
    key: str,
    number: int,
    size: tuple[int, int],
    recipe: Recipe,
    jitter: float = 0.0,
) -> View:
    """View `number` of a sample.

    Args:
        seed: Of the column.
        key: Of the sample.
        number: From 0.
        size: Width and height of the upright picture, pixels.
        recipe: How to draw.
        jitter: Colour factors are drawn from [1 - jitter, 1 + jitter].
    """
    width, height = size
    text = "\0".join(["view", str(seed), key, str(number)]).encode()
    philox = np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), "<u8")
    draw = np.random.Generator(np.random.Philox(key=philox))
    box = (
        fixed_box(size, recipe.square)
        if recipe.scale is None
        else random_box(width, height, draw, recipe.scale)
    )
    flip = bool(draw.random() < recipe.flip)
    colour = (1.0, 1.0, 1.0)
    if jitter:
        drawn = draw.uniform(max(0.0, 1 - jitter), 1 + jitter, 3).astype(np.float32)
        colour = (float(drawn[0]), float(drawn[1]), float(drawn[2]))
    return View(box, flip, colour)


def evaluation_view(size: tuple[int, int], recipe: Recipe) -> View:
    """The view without randomness: the whole picture, or the recipe's square."""
    return View(fixed_box(size, recipe.square))


def fixed_box(size: tuple[int, int], square: bool) -> Box:
    """The whole picture of `size` (width, height), or its largest centred square."""
    width, height = size
    if not square:
        return 0, 0, width, height
    side = min(size)
    x, y = (width - side) // 2, (height - side) // 2
    return x, y, x + side, y + side


def random_box(
    width: int,
    height: int,
    draw: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float] = _RATIO,
) -> Box:
    """The box of a "random resized crop", drawn as `torchvision.transforms` does.

    Area is drawn evenly from `scale`, as a share of the whole, width / height evenly on a log
    scale from `ratio`. When ten draws do not fit, the largest centred box within `ratio` is taken.
    """
    for _ in range(10):
        area = height * width * draw.uniform(*scale)
        aspect = math.exp(draw.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(draw.integers(width - w + 1)), int(draw.integers(height - h + 1))
            return x, y, x + w, y + h
    w = max(1, min(width, round(height * ratio[1])))
    h = max(1, min(height, round(width / ratio[0])))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def look(
    picture: Image.Image | NDArray[np.uint8],
    view: View,
    size: int,
    resample: Resample = "bicubic",
) -> NDArray[np.uint8]:
    """A view as pixels: crop, resize with Pillow, flip, colours.

    Args:
        picture: The whole upright picture, RGB; an array is [height, width, 3].
        view: What to see of it.
        size: Side of the result, pixels.
        resample: FLAVA and BEiT give the model bicubic pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: the box does not lie within the picture, which is then another picture than
            the one that the view was drawn for.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    x0, y0, x1, y1 = view.box
    if not (0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height):
        raise ValueError(
            f"the view's box {view.box} does not lie within {image.width} x {image.height} pixels: "
            "decode the picture whole and upright, as it was when the codes were made"
        )
    part = image.crop(view.box).resize((size, size), _FILTERS[resample])
    if view.flip:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    brightness, contrast, saturation = view.colour
    if brightness != 1:
        part = ImageEnhance.Brightness(part).enhance(brightness)
    if contrast != 1:
        part = ImageEnhance.Contrast(part).enhance(contrast)
    if saturation != 1:
        part = ImageEnhance.Color(part).enhance(saturation)
    return np.array(part)


def code_pixels(
    picture: Image.Image | NDArray[np.uint8],
    view: View,
    size: int,
    resample: Resample,
    middle: bool = False,
) -> NDArray[np.uint8]:
    """What the tokenizer is given of a view: `look`, or the middle half of it on each axis.

    Returns:
        uint8 [size, size, 3], or [size / 2, size / 2, 3].
    """
    pixels = look(picture, view, size, resample)
    if middle:
        edge = size // 4
        pixels = np.ascontiguousarray(pixels[edge : size - edge, edge : size - edge])
    return pixels


def pack_views(views: list[View], size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Views of one picture as arrays.

    Returns:
        `boxes` float32 [views, 4], `flips` uint8 [views], `colours` float32 [views, 3], and
        `size` int32 [2], width and height of the picture that boxes refer to.
    """
    return {
        "boxes": np.array([view.box for view in views], np.float32),
        "flips": np.array([view.flip for view in views], np.uint8),
        "colours": np.array([view.colour for view in views], np.float32),
        "size": np.array(size, np.int32),
    }


def unpack_view(arrays: Mapping[str, NDArray[Any]], number: int) -> View:
    """View `number`, modulo how many there are (so an epoch's number will do)."""
    i = number % len(arrays["boxes"])
    x0, y0, x1, y1 = (int(edge) for edge in arrays["boxes"][i])
    b, c, s = (float(factor) for factor in arrays["colours"][i])
    return View((x0, y0, x1, y1), bool(arrays["flips"][i]), (b, c, s))
