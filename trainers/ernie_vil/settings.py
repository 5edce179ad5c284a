"""ERNIE-ViL's settings: sizes, and what its data are made into."""

from typing import Literal

from pydantic import Field, model_validator

from septet.trainers.settings.base import Settings


class TowerSettings(Settings):
    """Sizes of one stream's Transformer."""

    width: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    inner: int = Field(gt=0)
    """Width between the two linear layers of a layer, and of the stream's side of a co-layer."""

    @model_validator(mode="after")
    def _whole_heads(self) -> "TowerSettings":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class ErnieVilSettings(Settings):
    """An ERNIE-ViL; the defaults are the published base."""

    text: TowerSettings = TowerSettings(width=768, layers=12, heads=12, inner=3072)
    image: TowerSettings = TowerSettings(width=1024, layers=6, heads=8, inner=1024)
    co_width: int = Field(default=1024, gt=0)
    """Width of co-attention and of the pooled vectors."""
    co_heads: int = Field(default=8, gt=0)
    text_places: tuple[int, ...] = (6, 7, 8, 9, 10, 11)
    """How many text layers run before each co-layer (`t_biattention_id`)."""
    image_places: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """How many image layers run before each co-layer (`v_biattention_id`)."""
    words: int = Field(default=30_522, gt=5)
    """Size of the vocabulary."""
    positions: int = Field(default=512, gt=2)
    segments: int = Field(default=4, gt=0)
    """Rows of the segment table; captions are segment 0."""
    features: int = Field(default=2048, gt=0)
    """Width of a region's feature."""
    classes: int = Field(default=1601, gt=1)
    """Classes of the detector, background included."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of states and of attention weights."""
    norm_eps: float = 1e-5
    """Of all layer norms: Paddle's default. ViLBERT's and BERT's is 1e-12."""
    initial_std: float = Field(default=0.02, gt=0)
    """Deviation of weights at the start, cut at two of them."""
    pooling: Literal["mul", "sum"] = "mul"
    """How the two pooled vectors become one."""

    vocabulary: str | None = None
    """Path of a BERT vocab.txt; `scenes` for the words of scenes' captions."""
    text_tokens: int = Field(default=36, ge=3)
    """Length of a caption, [CLS] and [SEP] included."""
    most_regions: int = Field(default=36, gt=0)
    """Regions of an image, at most; the first ones are taken."""
    regions: str = "regions"
    """Column of regions."""
    graphs: str | None = "scene-graphs"
    """Column of scene graphs; null does without."""
    masked_words: float = Field(default=0.15, ge=0, lt=1)
    """Probability that a word piece outside of masked nodes and their neighbours is masked."""
    masked_nodes: float = Field(default=0.3, ge=0, lt=1)
    """Share of objects, of attributes and of relations that is masked."""
    shown_words: float = Field(default=0.2, ge=0, le=1)
    """Share of what is masked that is not [MASK]: half of it is any word, half the word itself."""
    masked_regions: float = Field(default=0.15, ge=0, lt=1)
    """Probability that a region is masked; 0 needs no class distributions."""
    kept_regions: float = Field(default=0.1, ge=0, le=1)
    """Share of the masked regions whose feature stays, to be predicted all the same."""
    mismatched: float = Field(default=0.5, ge=0, lt=1)
    """Probability that a pair does not match."""
    replace: Literal["regions", "caption"] = "regions"
    """What a pair that does not match has of another: ERNIE-ViL replaces the image, ViLBERT the
    caption."""

    @model_validator(mode="after")
    def _fit(self) -> "ErnieVilSettings":
        if self.co_width % self.co_heads:
            raise ValueError(f"co_width {self.co_width} is no multiple of co_heads {self.co_heads}")
        if len(self.text_places) != len(self.image_places) or not self.text_places:
            raise ValueError(
                "text_places and image_places have one number for each co-layer; found "
                f"{list(self.text_places)} and {list(self.image_places)}"
            )
        for name, places, layers in (
            ("text_places", self.text_places, self.text.layers),
            ("image_places", self.image_places, self.image.layers),
        ):
            if list(places) != sorted(places) or not 0 <= places[0] <= places[-1] < layers:
                raise ValueError(
                    f"{name} must rise within the stream's {layers} layers, the last of which "
                    f"follows all co-layers; found {list(places)}"
                )
        if self.text_tokens > self.positions:
            raise ValueError(f"text_tokens {self.text_tokens} is above positions {self.positions}")
        return self
