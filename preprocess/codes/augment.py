"""The augmentations by which views of an image are drawn, one for each model."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from septet.preprocess.codes.views import Colour, View
from septet.preprocess.images.crops import random_box

Augmentation = Literal["resize", "center", "flava", "beit", "ofa"]


@dataclass(frozen=True)
class Recipe:
    """The settings by which views are drawn."""

    scale: tuple[float, float] | None
    """Range of the box's area, as a share of the image; None: no crop is drawn."""
    flip: float
    """Probability of a flip."""
    square: bool = False
    """Without a drawn crop: the largest centred square, not the whole image."""
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


def view_generator(seed: int, key: str, number: int) -> np.random.Generator:
    """The randomness of view `number` of a sample: a pure function of its arguments."""
    text = "\0".join(["view", str(seed), key, str(number)]).encode()
    philox = np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), "<u8")
    return np.random.Generator(np.random.Philox(key=philox))


def draw_view(
    draw: np.random.Generator, size: tuple[int, int], recipe: Recipe, jitter: float = 0.0
) -> View:
    """Draw a view of an image. Where the recipe draws nothing, it is `fixed_view`.

    Args:
        draw: `view_generator`'s in a column; a trainer that encodes online gives its own.
        size: Width and height of the upright image, pixels.
        recipe: The settings of the draw.
        jitter: Colour factors are drawn from [1 - jitter, 1 + jitter].
    """
    if recipe.scale is None:
        return fixed_view(size, recipe)
    width, height = size
    box = random_box(height, width, draw, recipe.scale)
    flip = bool(draw.random() < recipe.flip)
    colour: Colour = (1.0, 1.0, 1.0)
    if jitter:
        drawn = draw.uniform(max(0.0, 1 - jitter), 1 + jitter, 3).astype(np.float32)
        colour = (float(drawn[0]), float(drawn[1]), float(drawn[2]))
    return View(box, flip, colour, drawn=True)


def fixed_view(size: tuple[int, int], recipe: Recipe) -> View:
    """The view without randomness, for evaluation: the whole image, or the recipe's square."""
    width, height = size
    if not recipe.square:
        return View((0, 0, width, height))
    side = min(size)
    x, y = (width - side) // 2, (height - side) // 2
    return View((x, y, x + side, y + side))
