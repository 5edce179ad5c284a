"""M6's settings: sizes of the stack, and how long texts may be."""

import math
from typing import Literal

from pydantic import Field, model_validator

from septet.trainers.nets.routing import ExpertSettings
from septet.trainers.settings.base import Settings

PAD, START, END, MASK = 0, 101, 102, 103
"""Ids of [PAD], [CLS], [SEP] and [MASK] in BERT-Chinese's list."""

GRID = 4
"""Pieces of an image on each axis."""

PIECES = GRID**2

TASKS = {
    "denoising": 1.0,
    "language_modelling": 1.0,
    "captioning": 1.0,
    "image_denoising": 1.0,
    "drawing": 0.0,
}
"""The tasks, with their weights where nothing else is said: texts and pairs equally, within each
both tasks equally."""


class M6Settings(Settings):
    """An M6; the defaults are M6-base."""

    width: int = Field(default=1024, gt=0)
    inner: int = Field(default=4096, gt=0)
    """Width inside feed-forward networks."""
    heads: int = Field(default=16, gt=0)
    layers: int = Field(default=24, gt=0)
    words: int = Field(default=21_128, gt=MASK + 1)
    """Size of the vocabulary."""
    codes: int = Field(default=0, ge=0)
    """Image codes that follow the words in the table, for drawing; 0 for none."""
    positions: int = Field(default=512, gt=PIECES)
    """Rows of the table of positions: those of an image's pieces, then those of a text's tokens."""
    features: int = Field(default=2048, gt=0)
    """Width of a piece's features."""
    stages: tuple[int, ...] = ()
    """Bottlenecks of the stages of a ResNet in the graph, (3, 4, 6, 3) for a ResNet-50, whose
    pooled features are an image's; without any, features come from a column."""
    stem: int = Field(default=64, gt=0)
    """Channels of the ResNet's first convolution."""
    batch_norm: Literal["batch", "frozen"] = "frozen"
    """Whether the ResNet's norms go by the batch, or by their stored statistics and are not
    trained."""
    image_size: int = Field(default=448, gt=0, multiple_of=GRID)
    """Side in pixels that an image is resized to for the ResNet; a piece has a quarter of it."""
    experts: ExpertSettings | None = None
    """Experts in place of feed-forward networks; none in a dense model."""
    experts_every: int = Field(default=1, gt=0)
    """One of so many layers has experts, the last of them; 2 is every second layer."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of embeddings, attention weights and branches."""
    initial_std: float = Field(default=0.02, gt=0)
    """Deviation of weights at the start."""

    mixture: dict[str, float] = Field(default=TASKS)
    """Weights of the tasks; those left out, and those of weight 0, are not trained."""
    vocabulary: str | None = None
    """Path of BERT-Chinese's vocab.txt; `scenes-zh` for the pieces of scenes' Chinese captions."""
    languages: tuple[str, ...] = ("zh",)
    """Codes of the languages whose texts are read, by what the build told; none for all texts
    whatever their language."""
    patches_column: str = "patches"
    """Column of the pieces' features."""
    resnet: str | None = None
    """Path of the weights that made the column (torchvision's resnet50), for images that a trained
    model is asked about."""
    text_tokens: int = Field(default=255, gt=1)
    """Longest text of a row that has one text, [SEP] left out."""
    hidden_tokens: int = Field(default=128, gt=1)
    """The same of a row that has a text with hidden spans and the whole one."""
    hidden: float = Field(default=0.15, gt=0, lt=1)
    """Share of a text's tokens that are hidden."""
    target: Literal["whole", "masked"] = "whole"
    """What is written of a text with hidden spans: all of it, or the hidden spans alone, each
    behind a [MASK]."""
    codes_column: str | None = "codes"
    """Column of image codes (`tokenizer=vqgan`); null takes pieces' mean colours for codes, which
    need no column and no weights."""
    code_grid: int = Field(default=16, gt=0)
    """Image codes on each axis that are drawn."""
    code_side: int = Field(default=16, gt=0)
    """Pixels on each axis of a code."""
    vqgan: str | None = None
    """Path of the VQGAN's weights, with its decoder, for images that are drawn."""
    chunk: int | None = Field(default=None, gt=0)
    """Target tokens whose scores of all words are in memory at once; null for as many as have 2^25
    scores."""

    def experts_of(self, layer: int) -> ExpertSettings | None:
        """The experts of a layer, counted from 0; None where it has a feed-forward network."""
        return self.experts if (layer + 1) % self.experts_every == 0 else None

    @property
    def expert_layers(self) -> int:
        """Layers with experts."""
        return self.layers // self.experts_every if self.experts else 0

    @property
    def vocabulary_size(self) -> int:
        """Words and image codes."""
        return self.words + self.codes

    @property
    def longest_masked(self) -> int:
        """Tokens of the longest target of hidden spans alone, [SEP] left out: at worst each token
        is a span."""
        return 2 * math.ceil(self.hidden * self.hidden_tokens)

    @property
    def longest_target(self) -> int:
        """Tokens of the longest target of any task, its end among them."""
        hidden = self.longest_masked if self.target == "masked" else self.hidden_tokens
        drawn = self.code_grid**2 if self.codes else 0
        return 1 + max(self.text_tokens, hidden, drawn)

    @model_validator(mode="after")
    def _fit(self) -> "M6Settings":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if odd := sorted(self.mixture.keys() - TASKS.keys()):
            raise ValueError(f"a mixture's tasks are {', '.join(TASKS)}; found {', '.join(odd)}")
        if self.mixture.get("drawing", 0) > 0 and not self.codes:
            raise ValueError("drawing needs image codes: model.codes is 0, say how many there are")
        if PIECES + self.longest_target > self.positions:
            raise ValueError(
                f"targets of {self.longest_target} tokens need {PIECES + self.longest_target} "
                f"positions; model.positions is {self.positions}"
            )
        source = max(self.hidden_tokens, self.text_tokens if self.codes else 0)
        if PIECES + source > self.positions:
            raise ValueError(
                f"sources of {source} tokens need {PIECES + source} positions; model.positions is "
                f"{self.positions}"
            )
        if self.stages and 2 ** (len(self.stages) + 1) * self.stem != self.features:
            raise ValueError(
                f"a ResNet of {len(self.stages)} stages and {self.stem} channels gives "
                f"{2 ** (len(self.stages) + 1) * self.stem} features; model.features is "
                f"{self.features}"
            )
        return self
