"""OFA's settings: sizes, and what its data are made into."""

from typing import Literal

from pydantic import Field, model_validator

from septet.trainers.settings.base import Settings

STRIDE = 16
"""Pixels of an image on each axis of one of its tokens: the ResNet's stride."""

CODE_SIDE = 8
"""Pixels on each axis of an image code: the VQGAN's stride."""

GRID = 42
"""Image tokens on each axis that the tables of positions have rows for."""

SPECIALS = 4
"""Words before the first piece: <s>, <pad>, </s>, <unk>."""

START, PAD, END = 0, 1, 2


class Shares(Settings):
    """Weights of the pair examples' kinds, in proportion to their numbers of samples (paper,
    appendix A); a kind of share 0 is not read."""

    captions: float = Field(default=15.25, ge=0)
    questions: float = Field(default=2.92, ge=0)
    regions: float = Field(default=3.20, ge=0)


class OfaSettings(Settings):
    """An OFA; the defaults are those of the released base model."""

    width: int = Field(default=768, gt=0)
    inner: int = Field(default=3072, gt=0)
    """Width between the two linear layers of a block."""
    heads: int = Field(default=12, gt=0)
    encoder_layers: int = Field(default=6, gt=0)
    decoder_layers: int = Field(default=6, gt=0)
    stages: tuple[int, int, int] = (3, 4, 23)
    """Bottlenecks of the ResNet's three stages."""
    stem: int = Field(default=64, gt=0)
    """Channels of the ResNet's first convolution; its last stage has 16 times as many."""
    image_size: int = Field(default=384, gt=0)
    """Side of the images of pairs, pixels."""
    plain_size: int = Field(default=256, gt=0)
    """Side of the images of detection and infilling, pixels."""
    words: int = Field(default=50_265, gt=SPECIALS + 1)
    """Pieces of text, those of the last id being <mask>."""
    codes: int = Field(default=8192, gt=1)
    """Size of the image codes' codebook."""
    bins: int = Field(default=1000, gt=1)
    """Steps of a box's coordinates."""
    binned: int = Field(default=512, gt=0)
    """Pixels that the bins span, whatever the size of the input."""
    source_positions: int = Field(default=1024, gt=0)
    target_positions: int = Field(default=1024, gt=0)
    """Longest source and target text."""
    code_grid: int = Field(default=16, gt=0)
    """Image codes on each axis that are written."""
    interpolated: int | None = None
    """Side of the images whose table of absolute positions is resized (bilinear) for larger ones;
    null reads further rows of the table instead, up to 672 pixels."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Of the last layer of encoder and decoder; it rises from 0."""
    initial_std: float = Field(default=0.02, gt=0)
    """Deviation of all linear layers and tables at the start."""
    batch_norm: Literal["batch", "frozen"] = "batch"
    """Whether the ResNet's norms go by the batch, or by their stored statistics and are not
    trained."""
    frozen: Literal["resnet", "nothing"] = "nothing"
    """What is not trained: the ResNet, whose norms then go by their stored statistics, too; or
    nothing, as published."""
    blanks: bool = True
    """Run the blank images of texts through the ResNet, as the published code does; they enter its
    statistics."""

    shares: Shares = Shares()
    plain_rows: int = Field(default=8, ge=0)
    """One of so many rows of pairs brings two texts, an image to fill in and one to find objects
    in; 0: none do."""
    patches: int | None = Field(default=196, gt=0)
    """Image tokens of a pair that are kept, drawn at random; null keeps all."""
    languages: tuple[str, ...] = ()
    """Languages of samples (column `language` of the sidecars) that captions and regions' names are
    asked for in, each by an instruction of its own; without any, all are asked for in English."""
    vocabulary: str | None = None
    """Folder of dict.txt, encoder.json and vocab.bpe, or of vocab.json and merges.txt; `scenes` for
    pieces learnt of scenes' captions."""
    source_words: int = Field(default=80, gt=0)
    target_words: int = Field(default=30, gt=0)
    """Longest caption within a source, and as a target, in words."""
    target_tokens: int = Field(default=256, gt=0)
    """Longest target; lists of objects are cut before the first that would not fit."""
    text_tokens: int = Field(default=256, gt=1)
    """Longest text to fill in, its end being taken."""
    matching: float = Field(default=1.0, gt=0)
    """Factor on the loss of whether a caption or an answer matches, a single word of all that a row
    has to write; 1 as published."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the label's probability that the other words get."""
    codes_column: str | None = "codes"
    """Column of image codes of the centre (`tokenizer=vqgan`, `augmentation=ofa`); null takes
    patches' mean colours for codes, which need no column and no weights."""
    vqgan: str | None = None
    """Path of the VQGAN's weights, with its decoder, for images that are written."""
    questions_column: str = "questions"
    phrases_column: str = "phrases"
    """Column of region phrases with their boxes."""
    boxes_column: str = "boxes"
    objects_column: str | None = "objects"
    """Column of the words of objects, of which one is exchanged in some captions that do not match;
    null exchanges none."""
    lists: tuple[str, str, str] = ("captions.txt", "objects.txt", "answers.jsonl")
    """Side files of a corpus that captions, objects and answers that do not match are drawn from;
    `python -m septet.trainers.ofa.lists` writes them."""
    largest: int = Field(default=480, gt=0)
    """Greatest number that a pair's image has its shorter side resized to, pixels."""
    augmentations: int = Field(default=2, ge=0)
    """Operations on the colours and the form of a pair's image."""
    unscored: tuple[str, ...] = ("cc12m",)
    """Corpora of which a caption's first two tokens are not scored."""

    @property
    def vocabulary_size(self) -> int:
        """Words, image codes, bins."""
        return self.words + self.codes + self.bins

    @property
    def mask(self) -> int:
        """The id of <mask>."""
        return self.words - 1

    @property
    def hole(self) -> slice:
        """The pixels on an axis of an image that are to be filled in: the middle half."""
        return slice(self.plain_size // 4, self.plain_size - self.plain_size // 4)

    @property
    def frozen_norms(self) -> bool:
        """Whether the ResNet's norms go by their stored statistics."""
        return self.batch_norm == "frozen" or self.frozen == "resnet"

    def tokens(self, side: int) -> int:
        """Image tokens of a square image."""
        return (-(-side // STRIDE)) ** 2

    @model_validator(mode="after")
    def _fit(self) -> "OfaSettings":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        most = GRID * STRIDE
        if max(self.image_size, self.plain_size) > most:
            raise ValueError(
                f"images may have {most} pixels a side, as positions have {GRID} rows; found "
                f"image_size {self.image_size}, plain_size {self.plain_size}"
            )
        if max(self.image_size, self.plain_size) > self.binned:
            raise ValueError(
                f"bins span {self.binned} pixels (binned); found image_size {self.image_size}, "
                f"plain_size {self.plain_size}"
            )
        if not self.image_size <= self.largest <= most:
            raise ValueError(
                f"largest is from image_size {self.image_size} to {most}; found {self.largest}"
            )
        if max(self.target_tokens, self.code_grid**2) >= self.target_positions or (
            self.text_tokens + 16 > self.source_positions
        ):
            raise ValueError(
                f"target_tokens {self.target_tokens} and image codes {self.code_grid**2} must be "
                f"below target_positions {self.target_positions}, and text_tokens "
                f"{self.text_tokens} 16 below source_positions {self.source_positions}"
            )
        if self.code_grid > GRID:
            raise ValueError(f"code_grid may be {GRID} at most; found {self.code_grid}")
        if self.patches is not None and self.patches > self.tokens(self.image_size):
            raise ValueError(
                f"an image of {self.image_size} pixels has {self.tokens(self.image_size)} tokens; "
                f"patches is {self.patches}"
            )
        return self
