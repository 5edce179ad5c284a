"""FLAVA's settings: sizes, and what its data are made into."""

from typing import Literal

from pydantic import Field, model_validator

from septet.trainers.inputs.codes import CodeGrid
from septet.trainers.settings.base import Settings

Kind = Literal["pairs", "images", "texts"]


class EncoderSettings(Settings):
    """Sizes of one Transformer."""

    width: int = Field(default=768, gt=0)
    layers: int = Field(default=12, gt=0)
    heads: int = Field(default=12, gt=0)
    inner: int = Field(default=3072, gt=0)
    """Width between the two linear layers of a block."""

    @model_validator(mode="after")
    def _whole_heads(self) -> "EncoderSettings":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class Shares(Settings):
    """Probability that a step is of a kind (paper, table A.2); a kind of share 0 is not read."""

    pairs: float = Field(default=0.70, ge=0)
    images: float = Field(default=0.15, ge=0)
    texts: float = Field(default=0.15, ge=0)


class FlavaSettings(Settings):
    """A FLAVA; the defaults are the published ones."""

    image: EncoderSettings = EncoderSettings()
    text: EncoderSettings = EncoderSettings()
    fusion: EncoderSettings = EncoderSettings(layers=6)
    """The multimodal encoder."""
    embed: int = Field(default=768, gt=0)
    """Width of the contrastive space."""
    image_size: int = Field(default=224, gt=0)
    patch: int = Field(default=16, gt=0)
    """Side of a patch in pixels; each patch has one code."""
    codes: int = Field(default=8192, gt=1)
    """Size of the codebook."""
    words: int = Field(default=30_522, gt=5)
    """Size of the vocabulary."""
    positions: int = Field(default=512, gt=2)
    """Longest text."""
    initial_std: float = Field(default=0.02, gt=0)
    """Deviation of weights at the start."""
    head_norm_eps: float = 1e-12
    """Of the prediction heads' layer norm; torchmultimodal's is 1e-5."""
    fusion_sees_pads: bool = False
    """Let the multimodal encoder attend to pads, as torchmultimodal does; Hugging Face does not."""

    shares: Shares = Shares()
    vocabulary: str | None = None
    """Path of a BERT vocab.txt; `scenes` for the words of scenes' captions."""
    pair_tokens: int = Field(default=77, ge=3)
    """Length of a pair's text, [CLS] and [SEP] included."""
    text_tokens: int = Field(default=512, ge=3)
    """Length of a text alone."""
    column: str | None = "codes"
    """Column of image codes; null makes them while training, with `tokenizer`."""
    tokenizer: str | None = None
    """Path of the dVAE's weights for codes made while training; `colours` for patches' mean
    colours, which need no weights."""
    masked_patches: int = Field(default=75, gt=0)
    """Most patches that are masked in an image."""
    least_block: int = Field(default=16, gt=0)
    """Fewest patches in a masked block."""
    masked_words: float = Field(default=0.15, gt=0, lt=1)
    """Share of a text's tokens to predict."""
    mismatched: float = Field(default=0.1, ge=0, lt=1)
    """Probability that a pair's caption is another one's."""

    @property
    def grid(self) -> int:
        """Patches on each axis."""
        return self.image_size // self.patch

    @property
    def code_grid(self) -> CodeGrid:
        """The dVAE's codes, a code for 8 x 8 pixels of the same crop."""
        return CodeGrid("dvae", 8, self.grid, self.codes)

    @model_validator(mode="after")
    def _fit(self) -> "FlavaSettings":
        if self.image_size % self.patch:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch {self.patch}")
        if not self.least_block <= self.masked_patches < self.grid**2:
            raise ValueError(
                f"masked_patches must be at least least_block {self.least_block} and less than "
                f"all {self.grid**2} patches; found {self.masked_patches}"
            )
        if max(self.pair_tokens, self.text_tokens) > self.positions:
            raise ValueError(
                f"pair_tokens {self.pair_tokens} and text_tokens {self.text_tokens} must be at "
                f"most positions {self.positions}"
            )
        if (self.column is None) == (self.tokenizer is None):
            raise ValueError(
                "codes come from a column or are made while training: set one of column and "
                f"tokenizer to null; found {self.column!r} and {self.tokenizer!r}"
            )
        if not sum((self.shares.pairs, self.shares.images, self.shares.texts)) > 0:
            raise ValueError("at least one of shares.pairs, shares.images, shares.texts is above 0")
        return self
