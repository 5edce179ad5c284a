"""Boxes as tokens, in the schemes of OFA, Pix2Seq, PaLI, PaliGemma and Kosmos-2.

All take normalised corners x0, y0, x1, y1 (float [n, 4]), clip them to [0, 1] and compute in
float64; `rint` rounds half to even, as torch, TensorFlow and Python do. `decode` gives normalised
corners back. Encoding what was decoded gives the same tokens, and no coordinate is further from
the original than `max_error` (a share of the side).
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from septet.preprocess.boxes.transforms import as_boxes

Tokens = NDArray[np.int64]
Corners = NDArray[np.float64]

_YXYX = [1, 0, 3, 2]


def _clipped(boxes: ArrayLike) -> Corners:
    corners = as_boxes(boxes).astype(np.float64)
    if not np.isfinite(corners).all():
        raise ValueError("boxes hold values that are not finite")
    return np.clip(corners, 0.0, 1.0)


class BoxTokens(ABC):
    """A scheme of box tokens. Tokens are whole numbers from 0, [n, width], in the order in which
    they are written; what a model's vocabulary adds to them is not part of them."""

    name: ClassVar[str]
    width: ClassVar[int] = 4
    """The number of tokens of a box."""
    form: ClassVar[str]
    """The written form of one token, for `str.format`."""
    pattern: ClassVar[str] = r"(\d+)"
    """A regular expression of a written token; its group is the number."""
    separator: ClassVar[str] = ""

    @property
    @abstractmethod
    def bins(self) -> int:
        """The number of different tokens."""

    @property
    @abstractmethod
    def max_error(self) -> float:
        """The greatest distance of a decoded coordinate from the encoded one."""

    @abstractmethod
    def encode(self, boxes: ArrayLike) -> Tokens:
        """Normalised corners [n, 4] to tokens [n, width]."""

    @abstractmethod
    def decode(self, tokens: ArrayLike) -> Corners:
        """Tokens [n, width] to normalised corners [n, 4], float64.

        Raises:
            ValueError: a token is out of range, or the shape is another.
        """

    def text(self, tokens: ArrayLike) -> list[str]:
        """Each box's tokens as text, for example "<bin_3><bin_9><bin_500><bin_749>"."""
        return [
            self.separator.join(self.form.format(token) for token in row)
            for row in self._checked(tokens).tolist()
        ]

    def parse(self, text: str) -> tuple[Tokens, list[str]]:
        """The boxes in a text such as a model writes, and what stands after each.

        Returns:
            Tokens [n, width] and n labels: the text up to the next box, without spaces and
            semicolons at its ends. A run of tokens that is no whole box, or holds a number that
            is out of range, is no box.
        """
        gap = r"\s+" if self.separator else r"\s*"
        box = gap.join([self.pattern] * self.width)
        if self.separator:
            box = rf"(?<!\S){box}(?!\S)"
        found = list(re.finditer(box, text))
        ends = [*(match.start() for match in found[1:]), len(text)][: len(found)]
        boxes, labels = [], []
        for match, end in zip(found, ends, strict=True):
            tokens = [int(digits) for digits in match.groups()]
            if max(tokens) < self.bins:
                boxes.append(tokens)
                labels.append(text[match.end() : end].strip(" ;\n"))
        return self._checked(np.array(boxes, np.int64)), labels

    def _checked(self, tokens: ArrayLike) -> Tokens:
        array = np.asarray(tokens, dtype=np.int64)
        array = array.reshape(0, self.width) if not array.size else array
        if array.ndim != 2 or array.shape[1] != self.width:
            raise ValueError(f"{self.name} tokens are [n, {self.width}], not {list(array.shape)}")
        if array.size and not (array.min() >= 0 and array.max() < self.bins):
            raise ValueError(
                f"{self.name} tokens lie in [0, {self.bins}), found {array.min()} to {array.max()}"
            )
        return array


@dataclass(frozen=True)
class Ofa(BoxTokens):
    """OFA (Wang et al. 2022, arXiv 2202.03052; OFA-Sys/OFA): k = rint(x · size / 512 · 999), x y
    order, `<bin_k>`.

    Pixels are those of the image resized to size x size; the divisor is 512 whatever the size,
    so a model that sees 384 pixels never uses bins above 749.
    """

    name: ClassVar[str] = "ofa"
    form: ClassVar[str] = "<bin_{}>"
    pattern: ClassVar[str] = r"<bin_(\d+)>"
    size: int = 512
    """The side to which the model resizes images, pixels."""
    max_image_size: int = 512
    bins: int = field(default=1000)

    def __post_init__(self) -> None:
        if not 0 < self.size <= self.max_image_size:
            raise ValueError(
                f"OFA's bins reach {self.max_image_size} pixels; a size of {self.size} needs a "
                "max_image_size that is at least as large"
            )

    @property
    def _factor(self) -> float:
        return self.size / self.max_image_size * (self.bins - 1)

    @property
    def max_error(self) -> float:
        """Half a bin."""
        return 0.5 / self._factor

    def encode(self, boxes: ArrayLike) -> Tokens:
        """See `BoxTokens.encode`."""
        return np.rint(_clipped(boxes) * self._factor).astype(np.int64)

    def decode(self, tokens: ArrayLike) -> Corners:
        """See `BoxTokens.decode`; bins that lie beyond the image give coordinates above 1."""
        return self._checked(tokens) / self._factor


@dataclass(frozen=True)
class Pix2Seq(BoxTokens):
    """Pix2Seq (Chen et al. 2022, arXiv 2109.10852; google-research/pix2seq): k = rint(x · 999),
    order ymin xmin ymax xmax, then the class.

    In its vocabulary coordinates begin at 1000 and classes at 100 (default configuration). It has
    no written form; `text` gives the numbers with spaces between.
    """

    name: ClassVar[str] = "pix2seq"
    form: ClassVar[str] = "{}"
    separator: ClassVar[str] = " "
    bins: int = field(default=1000)

    @property
    def max_error(self) -> float:
        """Half a bin."""
        return 0.5 / (self.bins - 1)

    def encode(self, boxes: ArrayLike) -> Tokens:
        """See `BoxTokens.encode`."""
        return np.rint(_clipped(boxes)[:, _YXYX] * (self.bins - 1)).astype(np.int64)

    def decode(self, tokens: ArrayLike) -> Corners:
        """See `BoxTokens.decode`."""
        return (self._checked(tokens) / (self.bins - 1))[:, _YXYX]


@dataclass(frozen=True)
class Pali(BoxTokens):
    """PaLI (Chen et al. 2023, arXiv 2209.06794, appendix A.2): whole numbers 0 to 999 as plain
    digits, order ymin xmin ymax xmax, then the label: "10 20 90 100 cat".

    The paper does not give the formula. Here k = min(999, floor(1000 · x)), and decoding gives
    the middle of the bin.
    """

    name: ClassVar[str] = "pali"
    form: ClassVar[str] = "{}"
    separator: ClassVar[str] = " "
    bins: int = field(default=1000)

    @property
    def max_error(self) -> float:
        """Half a bin."""
        return 0.5 / self.bins

    def encode(self, boxes: ArrayLike) -> Tokens:
        """See `BoxTokens.encode`."""
        bins = np.floor(_clipped(boxes)[:, _YXYX] * self.bins)
        return np.minimum(bins, self.bins - 1).astype(np.int64)

    def decode(self, tokens: ArrayLike) -> Corners:
        """See `BoxTokens.decode`."""
        return ((self._checked(tokens) + 0.5) / self.bins)[:, _YXYX]


@dataclass(frozen=True)
class PaliGemma(BoxTokens):
    """PaliGemma (Beyer et al. 2024, arXiv 2407.07726; google-research/big_vision):
    k = rint(x · 1023), order ymin xmin ymax xmax, `<loc0000>` to `<loc1023>`, then the label.

    In its vocabulary these begin at 256,000.
    """

    name: ClassVar[str] = "paligemma"
    form: ClassVar[str] = "<loc{:04d}>"
    pattern: ClassVar[str] = r"<loc(\d{4})>"
    bins: ClassVar[int] = 1024

    @property
    def max_error(self) -> float:
        """Half a bin."""
        return 0.5 / (self.bins - 1)

    def encode(self, boxes: ArrayLike) -> Tokens:
        """See `BoxTokens.encode`."""
        return np.rint(_clipped(boxes)[:, _YXYX] * (self.bins - 1)).astype(np.int64)

    def decode(self, tokens: ArrayLike) -> Corners:
        """See `BoxTokens.decode`."""
        return (self._checked(tokens) / (self.bins - 1))[:, _YXYX]


@dataclass(frozen=True)
class Kosmos2(BoxTokens):
    """Kosmos-2 (Peng et al. 2023, arXiv 2306.14824): two cells of a 32 x 32 grid, y · 32 + x, of
    the top-left corner (floor(32 · x)) and of the bottom-right one (ceil(32 · x - 1)),
    `<patch_index_0000>` to `<patch_index_1023>`.

    Decoding gives the middles of the cells; where both lie in one row or column, their outer
    edges. A box without area gets the cell of its top-left corner twice.
    """

    name: ClassVar[str] = "kosmos2"
    width: ClassVar[int] = 2
    form: ClassVar[str] = "<patch_index_{:04d}>"
    pattern: ClassVar[str] = r"<patch_index_(\d{4})>"
    side: ClassVar[int] = 32
    bins: ClassVar[int] = 32 * 32

    @property
    def max_error(self) -> float:
        """A cell for boxes within one row or column; half a cell for all others."""
        return 1 / self.side

    def encode(self, boxes: ArrayLike) -> Tokens:
        """See `BoxTokens.encode`."""
        corners = _clipped(boxes) * self.side
        last = self.side - 1
        first = np.minimum(np.floor(corners[:, :2]), last)
        second = np.maximum(np.clip(np.ceil(corners[:, 2:] - 1), 0, last), first)
        cells = np.stack([first, second], axis=1).astype(np.int64)
        return cells[:, :, 1] * self.side + cells[:, :, 0]

    def decode(self, tokens: ArrayLike) -> Corners:
        """See `BoxTokens.decode`.

        Raises:
            ValueError: also where the second cell lies above or left of the first.
        """
        cells = self._checked(tokens)
        x, y = cells % self.side, cells // self.side
        if (x[:, 1] < x[:, 0]).any() or (y[:, 1] < y[:, 0]).any():
            raise ValueError("a Kosmos-2 box ends above or left of where it begins")
        thin = (x[:, 0] == x[:, 1]) | (y[:, 0] == y[:, 1])
        first = np.where(thin, 0.0, 0.5)
        second = np.where(thin, 1.0, 0.5)
        corners = [x[:, 0] + first, y[:, 0] + first, x[:, 1] + second, y[:, 1] + second]
        return np.stack(corners, axis=1) / self.side


SCHEMES: dict[str, type[BoxTokens]] = {
    scheme.name: scheme for scheme in (Ofa, Pix2Seq, Pali, PaliGemma, Kosmos2)
}
