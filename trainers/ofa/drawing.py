"""Images that OFA writes."""

import numpy as np
from numpy.typing import NDArray

from septet.trainers.inputs.codes import COLOURS, image_of_codes
from septet.trainers.inputs.images import Pixels
from septet.trainers.ofa import views
from septet.trainers.ofa.settings import CODE_SIDE, OfaSettings


def drawn_image(codes: NDArray[np.int64], s: OfaSettings) -> Pixels:
    """The image that codes [rows, columns] stand for.

    Raises:
        ValueError: there is no decoder.
    """
    return image_of_codes(codes, CODE_SIDE, s.vqgan if s.codes_column else COLOURS)


def filled(image: Pixels, middle: Pixels, s: OfaSettings) -> Pixels:
    """An image made square, whose middle half is another."""
    found = views.square(image, s.plain_size).copy()
    found[s.hole, s.hole] = views.square(middle, s.hole.stop - s.hole.start)
    return found
