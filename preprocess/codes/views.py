"""Views: the parts of an image that a model sees, fixed beforehand so that codes can be stored.

A value of a `codes` column holds K views of a sample's image, each with its codes. A trainer
takes one an epoch, and cuts the pixels of the same view out of the image:

    found = view_codes(sample["codes"], epoch)             # None: the view for evaluation
    image = read_image(sample["jpg"])                      # whole and upright
    pixels = found.pixels(image, 224)                      # uint8 [224, 224, 3], what it sees
    targets = found.codes                                  # uint16 [rows, columns]

Everything here is a pure function. `augment` draws views.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from septet.preprocess.codes.published import Resample
from septet.preprocess.columns.members import Arrays, unpack_arrays
from septet.preprocess.images.crops import Box

Colour = tuple[float, float, float]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


@dataclass(frozen=True)
class View:
    """One view of one image."""

    box: Box
    """x0, y0, x1, y1 in whole pixels; the right and bottom edges are outside."""
    flip: bool = False
    """Whether left and right are exchanged, after the crop."""
    colour: Colour = (1.0, 1.0, 1.0)
    """Factors of brightness, contrast and saturation, in this order, after crop and resize; 1
    changes nothing. Exact in float32."""
    drawn: bool = False
    """Whether it was drawn at random; else it is the one for evaluation."""


@dataclass(frozen=True)
class ViewCodes:
    """One stored view with its codes."""

    view: View
    codes: NDArray[np.uint16]
    """[rows, columns], row-major from the top left of the view as it is seen: flipped where the
    view is."""
    size: tuple[int, int]
    """Width and height of the upright image that the view was drawn for, pixels."""
    image: int | None = None
    """CRC-32 of its file; None in columns of version 1."""

    def require(self, image: bytes) -> None:
        """Refuse another image than the one that was encoded.

        Raises:
            ValueError: the file has other bytes.
        """
        if self.image is not None and zlib.crc32(image) != self.image:
            raise ValueError(
                "codes were made of another image file: make the column anew with `septet annotate`"
            )

    def pixels(
        self, image: NDArray[np.uint8], side: int, resample: Resample = "bicubic"
    ) -> NDArray[np.uint8]:
        """The view's pixels, see `look`.

        Raises:
            ValueError: the image is of another size than the one that was encoded.
        """
        if image.shape[1::-1] != self.size:
            raise ValueError(
                f"the image has {image.shape[1]} x {image.shape[0]} pixels, codes were made "
                f"of one of {self.size[0]} x {self.size[1]}: decode it whole and upright"
            )
        return look(image, self.view, side, resample)


def view_codes(value: bytes, epoch: int | None) -> ViewCodes:
    """Choose the view of an epoch; returns it with its codes.

    Args:
        value: A sample's value of a column `codes`.
        epoch: Views that were drawn at random are taken in turn, view `epoch` modulo their number;
            so a random number does as well. None asks for the one for evaluation. A value that has
            only one kind gives that (for evaluation, the first).

    Raises:
        ValueError: it is no such value.
    """
    arrays = unpack_arrays(value)
    lacking = {"boxes", "codes", "colours", "drawn", "flips", "size"} - arrays.keys()
    if lacking or not len(arrays["boxes"]):
        raise ValueError(
            f"no value of a column `codes`: it holds {', '.join(sorted(arrays)) or 'nothing'}; "
            "make the column with `septet annotate CORPUS --column codes`"
        )
    drawn = arrays["drawn"].astype(bool)
    wanted = np.flatnonzero(drawn if epoch is not None else ~drawn)
    if not len(wanted):
        wanted = np.arange(len(drawn))
    i = int(wanted[(epoch or 0) % len(wanted)])
    width, height = arrays["size"].tolist()
    image = int(arrays["image"][0]) if "image" in arrays else None
    return ViewCodes(unpack_view(arrays, i), arrays["codes"][i], (width, height), image)


def look(
    image: Image.Image | NDArray[np.uint8],
    view: View,
    side: int,
    resample: Resample = "bicubic",
) -> NDArray[np.uint8]:
    """Make a view's pixels: crop, resize with Pillow, flip, colours.

    Args:
        image: The whole upright image, RGB, as `septet.preprocess.columns.images.read_image`
            gives it; an array is [height, width, 3].
        view: The view of the image.
        side: The side of the result, pixels.
        resample: FLAVA and BEiT give the model bicubic pixels.

    Returns:
        uint8 [side, side, 3].

    Raises:
        ValueError: the box does not lie within the image.
    """
    whole = image if isinstance(image, Image.Image) else Image.fromarray(image)
    x0, y0, x1, y1 = view.box
    if not (0 <= x0 < x1 <= whole.width and 0 <= y0 < y1 <= whole.height):
        raise ValueError(
            f"the view's box {view.box} does not lie within {whole.width} x {whole.height} pixels: "
            "decode the image whole and upright, as when the view was drawn"
        )
    part = whole.crop(view.box).resize((side, side), _FILTERS[resample])
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
    image: Image.Image | NDArray[np.uint8],
    view: View,
    side: int,
    resample: Resample,
    middle: bool = False,
) -> NDArray[np.uint8]:
    """The pixels of a view that the tokenizer is given: `look`, or the middle half of it on each
    axis.

    Returns:
        uint8 [side, side, 3], or [side / 2, side / 2, 3].
    """
    pixels = look(image, view, side, resample)
    if middle:
        edge = side // 4
        pixels = np.ascontiguousarray(pixels[edge : side - edge, edge : side - edge])
    return pixels


def pack_views(
    views: Sequence[View], size: tuple[int, int], image: bytes | None = None
) -> dict[str, NDArray[Any]]:
    """Pack the views of one image as arrays.

    Returns:
        `boxes` int32 [views, 4], `flips` uint8 [views], `colours` float32 [views, 3], `drawn`
        uint8 [views], `size` int32 [2], width and height, and where the image's file is given
        `image` int64 [1], its CRC-32.
    """
    arrays: dict[str, NDArray[Any]] = {
        "boxes": np.array([view.box for view in views], np.int32),
        "flips": np.array([view.flip for view in views], np.uint8),
        "colours": np.array([view.colour for view in views], np.float32),
        "drawn": np.array([view.drawn for view in views], np.uint8),
        "size": np.array(size, np.int32),
    }
    if image is not None:
        arrays["image"] = np.array([zlib.crc32(image)], np.int64)
    return arrays


def unpack_view(arrays: Arrays, number: int) -> View:
    """Read view `number` of what `pack_views` made."""
    x0, y0, x1, y1 = arrays["boxes"][number].tolist()
    b, c, s = arrays["colours"][number].tolist()
    flip, drawn = bool(arrays["flips"][number]), bool(arrays["drawn"][number])
    return View((x0, y0, x1, y1), flip, (b, c, s), drawn)
