"""From a sample's bytes to the arrays that FLAVA sees. Everything random comes from a generator
that is a pure function of (seed, stream, key, epoch)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from septet.preprocess.codes.views import View, look
from septet.preprocess.images.crops import random_box
from septet.preprocess.shards.reader import Sample
from septet.trainers.flava.model import CHANNELS
from septet.trainers.flava.settings import FlavaSettings
from septet.trainers.inputs import images
from septet.trainers.inputs.kinds import stacked, stored_view, words_of
from septet.trainers.inputs.masks import block_mask, choose_words, hide_words
from septet.trainers.inputs.members import image_file
from septet.trainers.inputs.wordpieces import tokenizer
from septet.trainers.task import Batch, Row


def text_row(
    text: str, length: int, s: FlavaSettings, draw: np.random.Generator | None, whole: bool = False
) -> Row:
    """`ids` int64 [length]: [CLS], pieces, [SEP], pads; and with `draw` `ids_masked` int64
    [length] and `word_places` bool [length], what to predict.

    Args:
        text: The text.
        length: Of the row; longer texts are cut.
        s: Settings.
        draw: Source of randomness; None masks nothing.
        whole: Mask whole words.
    """
    words = tokenizer(s.vocabulary, s.words)
    pieces = words.encode(text, length - 2)
    count = len(pieces.ids)
    ids = np.full(length, words.pad, np.int64)
    ids[: count + 2] = [words.start, *pieces.ids, words.end]
    if draw is None:
        return {"ids": ids}
    places = np.zeros(length, np.bool_)
    if count:
        starts = pieces.starts if whole else None
        places[1 : count + 1] = choose_words(draw, count, s.masked_words, starts)
    masked = hide_words(draw, ids, places, words.mask, len(words))
    return {"ids": ids, "ids_masked": masked, "word_places": places}


def image_row(sample: Sample, s: FlavaSettings, draw: np.random.Generator | None) -> Row:
    """`pixels` uint8 [P, P, 3], and where codes are wanted `codes` int64 [N] of the same view, or
    the view's `code_pixels` uint8 [8 grid, 8 grid, 3].

    With a column one of its views is drawn (without `draw`: the one for evaluation). Else it is a
    random crop of 90 to 100 % of the area, or without `draw` the whole image, made square.

    Raises:
        SampleError: the image cannot be decoded, or the column is another image's.
    """
    data = image_file(sample)
    stored = stored_view(data, sample, s.column, s.code_grid, s.image_size, draw)
    if stored is not None:
        return stored
    image = images.decode(data, shortest=s.image_size if draw else 0)
    height, width = image.shape[:2]
    box = (0, 0, width, height) if draw is None else random_box(height, width, draw)
    row: Row = {"pixels": look(image, View(box), s.image_size)}
    if draw is not None:
        row["code_pixels"] = look(image, View(box), s.code_grid.side, "lanczos")
    return row


def read(stream: str, sample: Sample, s: FlavaSettings, draw: np.random.Generator | None) -> Row:
    """A sample as model inputs: `image_row` and `text_row`, as far as the stream has them.

    With `draw` there is `patch_mask` bool [N], too, and for pairs `swap` bool [], see
    `negatives`.
    """
    row = Row()
    if stream != "texts":
        row |= image_row(sample, s, draw)
        if draw:
            mask = block_mask(draw, s.grid, s.masked_patches, s.least_block)
            row["patch_mask"] = mask
    if stream != "images":
        words, alone = words_of(stream, sample), stream == "texts"
        length = s.text_tokens if alone else s.pair_tokens
        row |= text_row(words, length, s, draw, whole=not alone)
    if stream == "pairs" and draw:
        row["swap"] = np.asarray(draw.random() < s.mismatched)
    return row


def texts(given: Sequence[str], s: FlavaSettings) -> dict[str, Tensor]:
    """`ids` int64 [n, T] of texts without images, nothing masked."""
    return stacked([text_row(caption, s.pair_tokens, s, None) for caption in given])


def example(stream: str, rows: int, s: FlavaSettings) -> Batch:
    """An empty batch of the shapes and types that `read` and `negatives` give, as much masked as
    is."""
    pixels = torch.empty(rows, s.image_size, s.image_size, CHANNELS, dtype=torch.uint8)
    patches = torch.zeros(rows, s.grid**2).bool()
    ids = torch.zeros(rows, s.pair_tokens if stream == "pairs" else s.text_tokens).long()
    image = {"pixels": pixels, "patch_mask": patches, "patch_places": patches}
    text = {"ids": ids, "ids_masked": ids, "word_places": ids.bool()}
    data = {"pairs": {**image, **text}, "images": image, "texts": text}
    counts = dict.fromkeys(OF_PATCHES, rows * s.masked_patches)
    words = {"mmm_text": s.pair_tokens, "mlm": s.text_tokens}
    counts |= {name: math.ceil(s.masked_words * rows * length) for name, length in words.items()}
    places = {n: torch.zeros(counts[n]).long() for n in PREDICTED[stream].values()}
    return Batch(stream, data[stream], places=places)


PREDICTED = {
    "pairs": {"patch_places": "mmm_image", "word_places": "mmm_text"},
    "images": {"patch_mask": "mim"},
    "texts": {"word_places": "mlm"},
}
"""Of each kind the masks of what is predicted, and by which loss."""

OF_PATCHES = ("mmm_image", "mim")
"""Losses that predict patches."""

_INPUTS = {
    "pairs": ("patch_mask", "ids", "ids_masked"),
    "images": ("patch_mask",),
    "texts": ("ids_masked",),
    "vectors": ("ids",),
}


def model_inputs(batch: Batch, places: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The method of `model.Flava` that a batch is for, and its arguments, with the places that
    losses predict. Rows without masks are for `vectors`."""
    data = batch.data
    kind = batch.kind if places else "vectors"
    inputs = {name: data[name] for name in _INPUTS[kind] if name in data}
    for loss, found in places.items():
        inputs["patch_places" if loss in OF_PATCHES else "word_places"] = found
    if "pixels" in data:
        inputs["pixels"] = images.normalise(data["pixels"])
    if "ids" in data:
        inputs["text_mask"] = data["ids"] != 0
    return kind, inputs
