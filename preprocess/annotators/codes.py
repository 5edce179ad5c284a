"""The column `codes`: image codes of fixed views (see `docs/codes.md`)."""

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from septet.preprocess.codes.augment import (
    RECIPES,
    Augmentation,
    Recipe,
    draw_view,
    fixed_view,
    view_generator,
)
from septet.preprocess.codes.published import PUBLISHED
from septet.preprocess.codes.views import View, code_pixels, pack_views
from septet.preprocess.columns.base import Drawing, Item, Mark, NoValue, Value
from septet.preprocess.columns.base import Settings as ColumnSettings
from septet.preprocess.columns.image_column import ImageColumn, ImageSettings
from septet.preprocess.columns.members import pack_arrays, unpack_arrays
from septet.preprocess.columns.weights import need, weights_digest
from septet.schemas.columns import ArrayFormat, MemberFormat

if TYPE_CHECKING:  # torch is an extra, whose absence `models` tells
    from septet.preprocess.codes.tokenizer import ImageTokenizer
    from septet.preprocess.codes.vqgan import Vqgan


class CodesSettings(ImageSettings):
    """Settings of `codes`."""

    tokenizer: Literal["vqgan", "dvae", "vqkd"] = Field(
        default="vqgan",
        description="vqgan (OFA, M6's text to image), dvae (FLAVA) or vqkd (BEiT v2, BEiT-3).",
    )
    augmentation: Augmentation = Field(
        default="resize",
        description="Which part of an image a view is: the whole, made square (`resize`), the "
        "centred square (`center`), a random crop as FLAVA or BEiT draw it (`flava`, `beit`), or "
        "the centred square with codes of its middle half (`ofa`).",
    )
    views: int = Field(
        default=1, ge=1, le=1024, description="Views a sample; a trainer takes one an epoch."
    )
    evaluation_view: bool = Field(
        default=False, description="View 0 is the one without randomness, for evaluation."
    )
    size: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="Side in pixels that a view is resized to before it is encoded; by default "
        "the tokenizer's own: vqgan 256, dvae 112, vqkd 224.",
    )
    scale: tuple[float, float] | None = Field(
        default=None,
        description="Range of a random crop's area, as a share of the image; by default 0.9 to "
        "1 (flava), 0.2 to 1 (beit).",
    )
    jitter: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Brightness, contrast and saturation of a random view are multiplied by "
        "factors from [1 - jitter, 1 + jitter], which are stored (BEiT-3: 0.4).",
    )
    seed: int = Field(default=0, ge=0, description="Of the random views.")

    @model_validator(mode="after")
    def _random_or_not(self) -> Self:
        random = RECIPES[self.augmentation].scale is not None
        if not random and (self.views > 1 or self.scale or self.jitter):
            raise ValueError(
                f"augmentation {self.augmentation} is not random, so it has one view, without "
                "scale or jitter; take flava or beit for random views"
            )
        if self.scale and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale is a range within (0, 1], found {self.scale}")
        return self


@dataclass(frozen=True)
class _Prepared:
    views: list[View]
    size: tuple[int, int]
    image: bytes
    """The file."""
    pixels: NDArray[np.uint8]
    """[views, side, side, 3]."""


class Codes(ImageColumn):
    """The column of image codes of one or more views of a sample's image, with the views
    themselves.

    Reasons for no value: `no_image`, `image` (it cannot be decoded, or has more than 100 million
    pixels).
    """

    version: ClassVar[int] = 2
    Settings: ClassVar[type[ColumnSettings]] = CodesSettings
    facts: ClassVar[pa.Schema] = pa.schema([("distinct_codes", pa.int32())])
    """The number of different codes in the first view; few say that there is little to see."""

    settings: CodesSettings

    def __init__(self, settings: CodesSettings):
        super().__init__(settings)
        self._tokenizer: ImageTokenizer | None = None
        self._decoder: Vqgan | None = None
        self._has_no_decoder = False

    @property
    def recipe(self) -> Recipe:
        """The recipe by which views are drawn."""
        recipe = RECIPES[self.settings.augmentation]
        return dataclasses.replace(recipe, scale=self.settings.scale or recipe.scale)

    @property
    def size(self) -> int:
        """The side of the resized view, pixels."""
        return self.settings.size or PUBLISHED[self.settings.tokenizer].image_size

    def models(self) -> dict[str, str]:
        """The digest of the file of weights."""
        need("torch", "vision")
        return {"tokenizer": weights_digest(self.settings.weights, "codes")}

    @property
    def member(self) -> MemberFormat:
        """`codes` uint16 [views, rows, columns], and `pack_views`' arrays.

        Raises:
            ValueError: the weights are no such tokenizer's, or `size` does not fit it.
        """
        from septet.preprocess.codes.load import tokenizer_form

        s, recipe = self.settings, self.recipe
        form = tokenizer_form(s.tokenizer, s.weights)
        if form.codebook_size > 2**16:
            raise ValueError(f"{form.codebook_size:,} codes do not fit 16 bits")
        encoded = self.size // 2 if recipe.middle else self.size
        if encoded % form.stride or (recipe.middle and self.size % 4):
            raise ValueError(
                f"{encoded} x {encoded} pixels would be encoded, which is no multiple of "
                f"{form.stride}; set size"
            )
        rows = encoded // form.stride
        return MemberFormat(
            ext="codes.safetensors",
            kind="safetensors",
            arrays={
                "codes": ArrayFormat(
                    dtype="uint16",
                    shape=(s.views, rows, rows),
                    least=0,
                    greatest=form.codebook_size - 1,
                ),
                "boxes": ArrayFormat(dtype="int32", shape=(s.views, 4), least=0),
                "flips": ArrayFormat(dtype="uint8", shape=(s.views,), least=0, greatest=1),
                "colours": ArrayFormat(
                    dtype="float32", shape=(s.views, 3), least=0, greatest=1 + s.jitter
                ),
                "drawn": ArrayFormat(dtype="uint8", shape=(s.views,), least=0, greatest=1),
                "size": ArrayFormat(dtype="int32", shape=(2,), least=1),
                "image": ArrayFormat(dtype="int64", shape=(1,), least=0, greatest=2**32 - 1),
            },
            notes={
                "tokenizer": s.tokenizer,
                "codebook_size": form.codebook_size,
                "stride": form.stride,
                "grid": [rows, rows],
                "order": "row-major from the top left",
                "augmentation": s.augmentation,
                "view_pixels": self.size,
                "encoded_pixels": encoded,
                "resample": PUBLISHED[s.tokenizer].resample,
                "boxes": "x0, y0, x1, y1 in pixels of the upright image, y downwards",
                "flips": "1: left and right exchanged after the crop",
                "colours": "factors of brightness, contrast, saturation, after crop and resize",
                "drawn": "1: drawn at random; 0: the view for evaluation",
                "size": "width, height of the upright image",
                "image": "CRC-32 of the image's file",
            },
        )

    def setup(self) -> None:
        """Load the tokenizer."""
        from septet.preprocess.codes.batches import usable_device
        from septet.preprocess.codes.load import load_tokenizer

        s = self.settings
        self._tokenizer = load_tokenizer(s.tokenizer, s.weights, usable_device(s.device))

    def prepare(self, item: Item, image: Image.Image) -> _Prepared:
        """The views of an image, and their pixels."""
        s, recipe = self.settings, self.recipe
        views = [
            fixed_view(image.size, recipe)
            if number == 0 and s.evaluation_view
            else draw_view(view_generator(s.seed, item.key, number), image.size, recipe, s.jitter)
            for number in range(s.views)
        ]
        resample = PUBLISHED[s.tokenizer].resample
        seen = [code_pixels(image, view, self.size, resample, recipe.middle) for view in views]
        return _Prepared(views, image.size, item.image or b"", np.stack(seen))

    def values(self, prepared: Sequence[Any]) -> list[Value | NoValue]:
        """The codes of all views."""
        import torch

        from septet.preprocess.codes.batches import in_batches, unit_pixels

        tokenizer = self._tokenizer
        assert tokenizer is not None, "setup() comes first"
        found = in_batches(
            lambda pixels: tokenizer.codes(unit_pixels(pixels)),
            torch.from_numpy(np.concatenate([one.pixels for one in prepared])),
            torch.device(self.settings.device),
            self.settings.batch_size,
        )
        codes = found.numpy().astype(np.uint16)
        values: list[Value | NoValue] = []
        for one, grids in zip(prepared, np.split(codes, len(prepared)), strict=True):
            arrays = {"codes": grids, **pack_views(one.views, one.size, one.image)}
            facts = {"distinct_codes": len(np.unique(grids[0]))}
            values.append(Value(pack_arrays(arrays), facts))
        return values

    def check(self, data: bytes) -> None:
        """Check that boxes lie within the image.

        Raises:
            ValueError: one does not.
        """
        arrays = unpack_arrays(data)
        width, height = arrays["size"]
        x0, y0, x1, y1 = arrays["boxes"].T
        if not ((x0 < x1) & (x1 <= width) & (y0 < y1) & (y1 <= height)).all():
            raise ValueError(f"boxes {arrays['boxes'].tolist()} outside {width} x {height} pixels")

    def drawing(self, data: bytes) -> Drawing:
        """The boxes of the views, and the first view's codes as an image: decoded where the
        weights are those of a VQGAN with its decoder, else in false colours."""
        arrays = unpack_arrays(data)
        width, height = (int(side) for side in arrays["size"])
        marks = []
        for number, (x0, y0, x1, y1) in enumerate(arrays["boxes"].tolist()):
            box = (x0 / width, y0 / height, x1 / width, y1 / height)
            marks.append(Mark(box, f"view {number}{' flipped' * int(arrays['flips'][number])}"))
        codes = arrays["codes"][0]
        lines = [
            f"{self.settings.tokenizer}: {codes.shape[0]} x {codes.shape[1]} codes, "
            f"{len(np.unique(codes))} of them different"
        ]
        decoder = self._loaded_decoder()
        image = false_colours(codes) if decoder is None else decoded(decoder, codes)
        return Drawing(marks=marks, image=png(image), lines=lines)

    def _loaded_decoder(self) -> "Vqgan | None":
        s = self.settings
        if s.tokenizer != "vqgan" or not s.weights or self._has_no_decoder:
            return None
        if self._decoder is None:
            from septet.preprocess.codes.vqgan import Vqgan
            from septet.preprocess.weights import read_state

            try:
                self._decoder = Vqgan.from_state(read_state(s.weights), decoder=True).to(s.device)
            except ValueError:
                self._has_no_decoder = True
        return self._decoder


def decoded(vqgan: "Vqgan", codes: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The image that codes [rows, columns] stand for, uint8 [height, width, 3]."""
    import torch

    device = vqgan.quant_conv.weight.device
    grid = torch.from_numpy(codes.astype(np.int64))[None].to(device)
    with torch.inference_mode():
        pixels = vqgan.decode(grid)[0].clamp(0, 1).mul(255).round()
    return pixels.permute(1, 2, 0).to("cpu", torch.uint8).numpy()


def false_colours(codes: NDArray[np.uint16], side: int = 224) -> NDArray[np.uint8]:
    """Draw codes [rows, columns] as an image, uint8 [about side, about side, 3]: equal codes have
    equal colours, which mean nothing else."""
    mixed = codes.astype(np.uint32) * np.uint32(2_654_435_761)  # Knuth's multiplicative hash
    colours = np.stack([mixed >> 24, mixed >> 16, mixed >> 8], axis=-1).astype(np.uint8)
    times = max(1, side // max(codes.shape))
    return colours.repeat(times, 0).repeat(times, 1)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels uint8 [height, width, 3] as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()
