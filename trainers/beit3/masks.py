"""What is hidden from BEiT-3 (paper, section 2.2): 40 % of the patches of an image, 15 % of the
tokens of a text, 50 % of those of a pair's text. All drawn from a generator."""

import numpy as np

from septet.preprocess.tokenizers.xlmr import FIRST_PIECE, XlmrTokenizer
from septet.trainers.inputs.masks import Ids, Mask, block_mask, choose_words, hide_words


def mask_patches(draw: np.random.Generator, grid: int, count: int, least: int) -> Mask:
    """Exactly `count` patches: BEiT's blocks as far as they go, the rest single patches (BEiT v2's
    masking generator).

    Args:
        draw: Source of randomness.
        grid: Patches on each axis.
        count: Patches to mask.
        least: Fewest patches of a block, as drawn.

    Returns:
        bool [grid * grid], row by row.
    """
    mask = block_mask(draw, grid, count, least)
    free = draw.permutation(np.flatnonzero(~mask))
    mask[free[: count - int(mask.sum())]] = True
    return mask


def mask_words(
    draw: np.random.Generator, ids: Ids, count: int, share: float, words: XlmrTokenizer
) -> tuple[Ids, Mask]:
    """Hide tokens of a text: max(1, round(share * count)), never <s> or </s>, of which 80 % become
    <mask>, 10 % another piece and 10 % stay.

    Args:
        draw: Source of randomness.
        ids: int64 [T]: <s>, `count` pieces, </s>, pads.
        count: Pieces of the text; 0 hides nothing.
        share: Of the pieces to predict.
        words: Their tokenizer.

    Returns:
        Ids with those hidden, int64 [T], and which are to be predicted, bool [T].
    """
    places = np.zeros(len(ids), np.bool_)
    if count:
        places[1 : count + 1] = choose_words(draw, count, share)
    return hide_words(draw, ids, places, words.mask, words.mask, FIRST_PIECE), places
