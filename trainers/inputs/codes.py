"""Image codes that models predict of masked patches or draw: those of a column's views, or made
while training; and back to images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from septet.preprocess.codes.load import load_tokenizer
from septet.preprocess.codes.views import view_codes
from septet.preprocess.codes.vqgan import Vqgan
from septet.preprocess.weights import read_state
from septet.schemas.columns import ColumnManifest
from septet.trainers.inputs import images
from septet.trainers.task import Row, SampleError

COLOURS = "colours"


class Tokenizer(Protocol):
    """An image tokenizer: turns images into grids of codes."""

    codebook_size: int
    stride: int
    """Pixels on each axis of a code."""

    def codes(self, pixels: Tensor) -> Tensor:
        """float32 [B, 3, h, w] in [0, 1] to int64 [B, h / stride, w / stride]."""
        ...


class MeanColours:
    """A cell's mean colour in eight steps of red, green and blue: codes that need no weights and
    can be learnt in a minute, for trying out."""

    codebook_size = 512

    def __init__(self, stride: int):
        self.stride = stride

    def codes(self, pixels: Tensor) -> Tensor:
        """See `Tokenizer`."""
        steps = (F.avg_pool2d(pixels, self.stride) * 8).long().clamp(0, 7)
        red, green, blue = steps.unbind(1)
        return (red * 8 + green) * 8 + blue


def image_of_codes(codes: NDArray[np.int64], stride: int, tokenizer: str | None) -> images.Pixels:
    """The image that codes [rows, columns] stand for.

    Args:
        codes: Of a VQGAN, or of `MeanColours`.
        stride: Pixels on each axis of a code.
        tokenizer: Path of the VQGAN's weights, with its decoder; or `COLOURS`, for plain cells.

    Raises:
        ValueError: there is no decoder.
    """
    if tokenizer == COLOURS:  # A colour is three numbers below 8, the middles of its steps.
        steps = np.stack([codes // 64, codes // 8 % 8, codes % 8], -1)
        cells = (steps * 32 + 16).astype(np.uint8)
        return np.ascontiguousarray(cells.repeat(stride, 0).repeat(stride, 1))
    if tokenizer is None:
        raise ValueError(
            "image codes need the VQGAN that made them, with its decoder: --set model.vqgan=FILE"
        )
    vqgan = Vqgan.from_state(read_state(tokenizer), decoder=True).eval()
    with torch.no_grad():
        found = vqgan.decode(torch.from_numpy(codes)[None])[0].clamp(0, 1)
    return np.ascontiguousarray((found.permute(1, 2, 0) * 255).round().byte().numpy())


@dataclass(frozen=True)
class CodeGrid:
    """What codes a model predicts of an image."""

    kind: Literal["dvae", "vqkd", "vqgan"]
    """Whose they are."""
    stride: int
    """Pixels on each axis of a code, in the image that the tokenizer sees."""
    grid: int
    """Codes on each axis: as many as patches."""
    codes: int
    """Size of the codebook."""

    @property
    def side(self) -> int:
        """Of the image that the tokenizer sees, pixels."""
        return self.stride * self.grid

    def tokenizer(self, name: str, device: torch.device) -> Tokenizer:
        """`colours`, or the tokenizer whose weights lie at a path: frozen, and no part of the
        model.

        Raises:
            ValueError: no weights of such a tokenizer, or of a larger codebook or another stride.
        """
        found: Tokenizer = (
            MeanColours(self.stride) if name == COLOURS else load_tokenizer(self.kind, name, device)
        )
        if found.codebook_size > self.codes:
            raise ValueError(
                f"the tokenizer has {found.codebook_size} codes, but model.codes is {self.codes}"
            )
        if found.stride != self.stride:
            raise ValueError(
                f"the tokenizer has a code for {found.stride} x {found.stride} pixels; the model "
                f"needs one for {self.stride} x {self.stride}"
            )
        return found

    def check(self, column: str, manifest: ColumnManifest) -> None:
        """Whether a column's codes are the model's, by its manifest (`Task.check_column`).

        Raises:
            ValueError: they are not, by grid or size of the codebook.
        """
        form = manifest.member.arrays.get("codes")
        if form is None:
            raise ValueError(f"column {column!r} holds no codes: annotate with --column codes")
        self._fits(column, form.shape[1:], form.greatest or 0)

    def _fits(self, column: str, shape: Sequence[int | str], greatest: float) -> None:
        if tuple(shape) != (self.grid, self.grid) or greatest >= self.codes:
            found = " x ".join(map(str, shape))
            raise ValueError(
                f"column {column!r} has {found} codes up to {greatest:g}; the "
                f"model needs {self.grid} x {self.grid} below model.codes={self.codes}: annotate "
                f"with tokenizer={self.kind} size={self.side}"
            )

    def stored_view(
        self,
        image_file: bytes,
        value: bytes,
        column: str,
        side: int,
        draw: np.random.Generator | None,
    ) -> Row:
        """One of a column's views: `pixels` uint8 [side, side, 3], and `codes` int64
        [grid * grid], row by row.

        Args:
            image_file: The sample's image.
            value: Its value of the column.
            column: Name of the column.
            side: Of the image that the model sees, pixels.
            draw: Draws one of the random views; None takes the one for evaluation.

        Raises:
            ValueError: the codes are not the model's, by grid or size of the codebook.
            SampleError: the image cannot be decoded, or the value is another image's.
        """
        found = view_codes(value, None if draw is None else int(draw.integers(2**31)))
        codes = found.codes.astype(np.int64)
        self._fits(column, codes.shape, codes.max())
        try:
            found.require(image_file)
            pixels = found.pixels(images.decode(image_file), side)
        except SampleError:
            raise
        except ValueError as error:
            raise SampleError(f"column {column}: {error}", "no_value") from error
        return {"pixels": pixels, "codes": codes.reshape(-1)}


class Targets:
    """The codes of batches, by what they hold."""

    def __init__(self, form: CodeGrid, tokenizer: str | None):
        """
        Args:
            form: Of the codes.
            tokenizer: See `CodeGrid.tokenizer`; loaded when a batch needs it.
        """
        self._form, self._name = form, tokenizer
        self._tokenizer: Tokenizer | None = None

    def __call__(self, data: Mapping[str, Tensor]) -> Tensor:
        """int64 [B, N]: `codes` where the batch has them, else those of `code_pixels` uint8
        [B, side, side, 3], or of `pixels` where it has no others."""
        if "codes" in data:
            return data["codes"]
        seen = data["code_pixels" if "code_pixels" in data else "pixels"]
        if self._tokenizer is None:
            self._tokenizer = self._form.tokenizer(self._name or "", seen.device)
        with torch.no_grad():
            return self._tokenizer.codes(seen.permute(0, 3, 1, 2).float() / 255).flatten(1)
