"""From a sample's bytes to the arrays that BEiT-3 sees. Everything random comes from a generator
that is a pure function of (seed, stream, key, epoch)."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from septet.preprocess.codes.augment import Recipe, draw_view
from septet.preprocess.codes.views import View, look
from septet.preprocess.shards.reader import Sample
from septet.preprocess.synthetic.scenes import captions, make_scene
from septet.preprocess.tokenizers.xlmr import END, PAD, START, XlmrTokenizer
from septet.trainers.beit3.masks import mask_patches, mask_words
from septet.trainers.beit3.model import CHANNELS
from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.inputs import images
from septet.trainers.inputs.kinds import stacked, stored_view, words_of
from septet.trainers.inputs.members import image_file
from septet.trainers.inputs.wordpieces import SCENES
from septet.trainers.task import Batch, Row

MEAN = STD = (0.5, 0.5, 0.5)
"""Of RGB in [0, 1], as BEiT's and as the released code for pairs."""

FLIP = 0.5


@lru_cache(4)
def tokenizer(vocabulary: str | None, words: int) -> XlmrTokenizer:
    """The tokenizer of a SentencePiece model, or of scenes' captions.

    Raises:
        ValueError: there is none, or it has more than `words` pieces.
    """
    if vocabulary is None:
        raise ValueError("texts need a vocabulary: --set model.vocabulary=PATH of beit3.spm")
    if vocabulary == SCENES:
        told = (caption for i in range(300) for caption in captions(make_scene(0, i)))
        return XlmrTokenizer.learn(told, words, SCENES)
    found = XlmrTokenizer.load(vocabulary)
    if len(found) > words:
        raise ValueError(
            f"vocabulary {vocabulary} has {len(found)} pieces: expected at most model.words={words}"
        )
    return found


def text_row(
    words: str, length: int, s: Beit3Settings, share: float, draw: np.random.Generator | None
) -> Row:
    """`ids` int64 [length]: <s>, pieces, </s>, pads; and with `draw` `ids_masked` int64 [length]
    and `word_places` bool [length], what to predict.

    Args:
        words: The text.
        length: Of the row; longer texts are cut and still end with </s>.
        s: Settings.
        share: Of the pieces to predict.
        draw: Source of randomness; None masks nothing.
    """
    pieces = tokenizer(s.vocabulary, s.words)
    found = pieces.encode(words)[: length - 2]
    ids = np.full(length, PAD, np.int64)
    ids[: len(found) + 2] = [START, *found, END]
    if draw is None:
        return {"ids": ids}
    masked, places = mask_words(draw, ids, len(found), share, pieces)
    return {"ids": ids, "ids_masked": masked, "word_places": places}


def image_row(sample: Sample, s: Beit3Settings, draw: np.random.Generator | None) -> Row:
    """`pixels` uint8 [P, P, 3]; and for masked data modelling `codes` int64 [N] of the same view,
    or `code_pixels` uint8 [16 grid, 16 grid, 3] where the tokenizer sees it at another size.

    With a column one of its views is drawn (without `draw`: the one for evaluation). Else it is a
    random crop, flipped or not, its colours changed; without `draw` the whole image, made square.

    Raises:
        SampleError: the image cannot be decoded, or the column is another image's.
    """
    data, masked = image_file(sample), s.stage == "masked"
    column = s.column if masked else None
    stored = stored_view(data, sample, column, s.code_grid, s.image_size, draw)
    if stored is not None:
        return stored
    # A crop of the least area still has about as many pixels as the model sees.
    shortest = 0 if draw is None else round(s.image_size / s.crop[0] ** 0.5)
    image = images.decode(data, shortest=shortest)
    height, width = image.shape[:2]
    view = View((0, 0, width, height))
    if draw is not None:
        view = draw_view(draw, (width, height), Recipe(s.crop, FLIP), s.jitter)
    row: Row = {"pixels": look(image, view, s.image_size)}
    if masked and draw is not None and s.code_grid.side != s.image_size:
        row["code_pixels"] = look(image, view, s.code_grid.side)
    return row


def read(stream: str, sample: Sample, s: Beit3Settings, draw: np.random.Generator | None) -> Row:
    """A sample as model inputs: `image_row` and `text_row`, as far as the stream has them, and
    `patch_mask` bool [N]. Without `draw`, and in the contrastive stage, nothing is masked.

    Raises:
        SampleError: see `image_row`; or a text alone is empty, or a text is not UTF-8.
    """
    row = Row()
    masking = draw if s.stage == "masked" else None
    if stream != "texts":
        row |= image_row(sample, s, draw)
        if masking:
            row["patch_mask"] = mask_patches(masking, s.grid, s.masked_patches, s.least_block)
    if stream != "images":
        words, alone = words_of(stream, sample), stream == "texts"
        length = s.text_tokens if alone else s.pair_tokens
        share = s.masked_words if alone else s.masked_pair_words
        row |= text_row(words, length, s, share, masking)
    return row


def texts(given: Sequence[str], s: Beit3Settings) -> dict[str, Tensor]:
    """`ids` int64 [n, T] of texts without images, nothing masked."""
    return stacked([text_row(caption, s.pair_tokens, s, 0.0, None) for caption in given])


def example(stream: str, rows: int, s: Beit3Settings) -> Batch:
    """An empty batch of the shapes and types that `read` gives, as much masked as is."""
    pixels = torch.empty(rows, s.image_size, s.image_size, CHANNELS, dtype=torch.uint8)
    ids = torch.zeros(rows, s.pair_tokens if stream == "pairs" else s.text_tokens).long()
    data: dict[str, Tensor] = {}
    if stream != "texts":
        data["pixels"] = pixels
    if stream != "images":
        data["ids"] = ids
    if s.stage != "masked":
        return Batch(stream, data)
    if stream != "texts":
        data["patch_mask"] = torch.zeros(rows, s.grid**2).bool()
    if stream != "images":
        data |= {"ids_masked": ids, "word_places": ids.bool()}
    share = s.masked_pair_words if stream == "pairs" else s.masked_words
    counts = {"patch_mask": rows * s.masked_patches, "word_places": math.ceil(share * ids.numel())}
    places = {loss: torch.zeros(counts[n]).long() for n, loss in PREDICTED[stream].items()}
    return Batch(stream, data, places=places)


PREDICTED = {
    "images": {"patch_mask": "mim"},
    "texts": {"word_places": "mlm"},
    "pairs": {"patch_mask": "mvlm_image", "word_places": "mvlm_text"},
}
"""Of each kind the masks of what is predicted, and by which loss: masked image, language and
vision-language modelling."""

OF_PATCHES = ("mim", "mvlm_image")
"""Losses that predict patches."""


def model_inputs(batch: Batch, places: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The method of `model.Beit3` that a batch is for, and its arguments, with the places that
    losses predict. Rows without masks are for `vectors`."""
    data, masked = batch.data, bool(places)
    inputs: dict[str, Tensor] = {
        "patch_places" if loss in OF_PATCHES else "word_places": found
        for loss, found in places.items()
    }
    if "patch_mask" in data:
        inputs["patch_mask"] = data["patch_mask"]
    if "pixels" in data:
        inputs["pixels"] = images.normalise(data["pixels"], MEAN, STD)
    if "ids" in data:
        inputs["ids"] = data["ids_masked"] if masked else data["ids"]
        inputs["padding"] = data["ids"] == PAD
    return batch.kind if masked else "vectors", inputs
