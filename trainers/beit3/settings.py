"""BEiT-3's settings: sizes, and what its data are made into."""

from typing import Literal

from pydantic import Field, model_validator

from septet.trainers.inputs.codes import CodeGrid
from septet.trainers.settings.base import Settings

Kind = Literal["images", "texts", "pairs"]

UNUSED_ROWS = 2
"""Rows of each table of positions that no token has: fairseq counted from behind the pad's."""


class Beit3Settings(Settings):
    """A BEiT-3; the defaults are those of the released base model."""

    width: int = Field(default=768, gt=0)
    layers: int = Field(default=12, gt=0)
    heads: int = Field(default=12, gt=0)
    inner: int = Field(default=3072, gt=0)
    """Width between the two linear layers of an expert."""
    image_size: int = Field(default=224, gt=0)
    patch: int = Field(default=16, gt=0)
    """Side of a patch in pixels; each patch has one code."""
    codes: int = Field(default=8192, gt=1)
    """Size of the codebook."""
    words: int = Field(default=64_010, gt=5)
    """Rows of the table of words; the published tokenizer has eight fewer pieces."""
    text_positions: int = Field(default=1024, gt=UNUSED_ROWS)
    """Rows of the table of text positions, of which the first two are not used."""
    attention: Literal["decoupled", "shared"] = "decoupled"
    """`decoupled`: projections and norms of attention exist for each modality, as in the released
    base and large; `shared`: once for both, as in the paper."""
    sub_norm: bool = True
    """Norms before attention's output projection and before an expert's second layer, with
    Magneto's initialisation; without them it is BEiT's."""
    fusion_layers: int = Field(default=0, ge=0)
    """Top layers in which pairs go to a vision-language expert."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Of the last layer; it rises from 0."""
    stage: Literal["masked", "contrastive"] = "masked"
    """Masked data modelling, or the image-text contrastive stage after it."""

    vocabulary: str | None = None
    """Path of `beit3.spm`; `scenes` for the words of scenes' captions."""
    pair_tokens: int = Field(default=64, ge=3)
    """Length of a pair's text, <s> and </s> included."""
    text_tokens: int = Field(default=512, ge=3)
    """Length of a text alone."""
    column: str | None = "codes"
    """Column of image codes; null makes them while training, with `tokenizer`."""
    tokenizer: str | None = None
    """Path of VQ-KD's weights for codes made while training; `colours` for patches' mean colours,
    which need no weights."""
    masked_patches: int = Field(default=78, gt=0)
    """Patches that are masked in every image, exactly."""
    least_block: int = Field(default=16, gt=0)
    """Fewest patches in a masked block."""
    masked_words: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens of a text alone to predict."""
    masked_pair_words: float = Field(default=0.5, gt=0, lt=1)
    """Share of the tokens of a pair's text to predict."""
    crop: tuple[float, float] = (0.2, 1.0)
    """Range of a random crop's area, as a share of the image, where no view is stored."""
    jitter: float = Field(default=0.4, ge=0, le=1)
    """Brightness, contrast and saturation of such a crop are multiplied by factors from
    [1 - jitter, 1 + jitter]."""

    @property
    def grid(self) -> int:
        """Patches on each axis."""
        return self.image_size // self.patch

    @property
    def code_grid(self) -> CodeGrid:
        """VQ-KD's codes, a code for 16 x 16 pixels of the same view; so for patches of 14 pixels it
        sees the view at 256 pixels where the model sees it at 224."""
        return CodeGrid("vqkd", 16, self.grid, self.codes)

    @model_validator(mode="after")
    def _fit(self) -> "Beit3Settings":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if self.image_size % self.patch:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch {self.patch}")
        if self.fusion_layers > self.layers:
            raise ValueError(f"fusion_layers {self.fusion_layers} of layers {self.layers}")
        if not self.least_block <= self.masked_patches < self.grid**2:
            raise ValueError(
                f"masked_patches must be at least least_block {self.least_block} and less than "
                f"all {self.grid**2} patches; found {self.masked_patches}"
            )
        room = self.text_positions - UNUSED_ROWS
        if max(self.pair_tokens, self.text_tokens) > room:
            raise ValueError(
                f"pair_tokens {self.pair_tokens} and text_tokens {self.text_tokens} must be at "
                f"most {room}, text_positions less the {UNUSED_ROWS} that are not used"
            )
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop is a range within (0, 1]; found {self.crop}")
        if self.stage == "masked" and (self.column is None) == (self.tokenizer is None):
            raise ValueError(
                "codes come from a column or are made while training: set one of column and "
                f"tokenizer to null; found {self.column!r} and {self.tokenizer!r}"
            )
        return self
