"""Images that OFA writes: from codes to pixels."""

import numpy as np
import torch
from numpy.typing import NDArray

from septet.preprocess.codes.vqgan import Vqgan
from septet.preprocess.weights import read_state
from septet.trainers.inputs.images import Pixels
from septet.trainers.ofa import views
from septet.trainers.ofa.settings import CODE_SIDE, OfaSettings


def picture(codes: NDArray[np.int64], s: OfaSettings) -> Pixels:
    """The image that codes [rows, columns] stand for: by the VQGAN's decoder, or where codes are
    mean colours, their cells.

    Raises:
        ValueError: there is no decoder.
    """
    if s.codes_column is None:  # A colour is three numbers below 8, the middles of its steps.
        steps = np.stack([codes // 64, codes // 8 % 8, codes % 8], -1)
        cells = (steps * 32 + 16).astype(np.uint8)
        return np.ascontiguousarray(cells.repeat(CODE_SIDE, 0).repeat(CODE_SIDE, 1))
    if s.vqgan is None:
        raise ValueError(
            "image codes need the VQGAN that made them, with its decoder: --set model.vqgan=FILE"
        )
    vqgan = Vqgan.from_state(read_state(s.vqgan), decoder=True).eval()
    with torch.no_grad():
        found = vqgan.decode(torch.from_numpy(codes)[None])[0].clamp(0, 1)
    return np.ascontiguousarray((found.permute(1, 2, 0) * 255).round().byte().numpy())


def filled(image: Pixels, middle: Pixels, s: OfaSettings) -> Pixels:
    """An image made square, whose middle half is another."""
    found = views.square(image, s.plain_size).copy()
    found[s.hole, s.hole] = views.square(middle, s.hole.stop - s.hole.start)
    return found
