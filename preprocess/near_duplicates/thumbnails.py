"""The second look at two images whose hashes are near: whether their thumbnails show the same.

A near-copy differs from its original by a little light and contrast, a crop of a few per cent, and
marks that are faint, or small and at the upper or lower edge, as a site's name is. The first two
are fitted: the one thumbnail is explained by the other with a gain, an offset, and a shift and a
stretch along either axis (one Gauss-Newton step on the gradients: Lucas and Kanade 1981). What is
left over is what differs: as a whole it must be small beside the image's contrast, and nowhere
large, for a changed number, object or curve is large somewhere. Next to blank images have little
contrast, so there nearly nothing may be left. Colours must agree.

The bounds were chosen on the split `dev` of `benchmarks/near_images`.
"""

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.images.appearance import GREY_SIDE

_REST, _REST_ANYWHERE = 0.28, 1.0
"""The greatest share of the contrast that may be left, on the whole and in one cell."""
_NOISE, _NOISE_ANYWHERE = 2.0, 4.0
"""Levels of 256 that coding may add to the contrast."""
_EDGE_ROWS, _MARKED_CELLS, _MARKED_CONTRAST = 3, 12, 8.0
"""The rows at an edge in which a mark may stand, its greatest number of cells, and the contrast
from which on it is a mark on an image, not the image."""
_COLOUR, _COLOUR_SHARE, _OTHER_COLOURS = 6.0, 0.3, 2
"""The levels, and the share of the colour's strength, by which a colour value may differ, and how
many of the values may differ by more."""
_LIGHT, _LIGHT_SHARE = 20.0, 3.0
"""The levels, and the share of the contrast, by which the mean light may differ."""
_GAINS = (0.5, 2.0)
_ASPECT = 0.12
"""The greatest difference of the logarithms of the aspect ratios."""
_STIFFNESS = 0.05 * GREY_SIDE**2
_AT_ONCE = 4096

_ACROSS = np.linspace(-1, 1, GREY_SIDE)[None, None, :]
_DOWN = np.linspace(-1, 1, GREY_SIDE)[None, :, None]
_WEIGHTS = np.diag([1e-3, 1e-3, *4 * [_STIFFNESS]])
_CELLS = GREY_SIDE * GREY_SIDE
_EDGE = _EDGE_ROWS * GREY_SIDE
_VIEWS = (slice(0, _CELLS), slice(0, _CELLS - _EDGE), slice(_EDGE, _CELLS))
"""The whole, and all but the lower or the upper edge."""

Floats = NDArray[np.float64]


def look_alike(
    thumbnails: tuple[NDArray[np.uint8], NDArray[np.uint8]], aspects: tuple[Floats, Floats]
) -> NDArray[np.bool_]:
    """Whether the images of each pair show the same; the order of the two does not count.

    Args:
        thumbnails: Of both images of each pair, uint8 [n, THUMBNAIL_BYTES].
        aspects: Logarithms of width / height, [n].
    """
    found = [np.empty(0, bool)]
    for start in range(0, len(aspects[0]), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        a, b = (one[part].astype(np.float64) for one in thumbnails)
        close = np.abs(aspects[0][part] - aspects[1][part]) <= _ASPECT
        found.append(close & _same_colours(a, b) & _same_shapes(a, b))
    return np.concatenate(found)


def _same_colours(a: Floats, b: Floats) -> NDArray[np.bool_]:
    one, other = a[:, _CELLS:] - 128, b[:, _CELLS:] - 128
    strength = np.maximum(np.abs(one), np.abs(other))
    differs = np.abs(one - other) > _COLOUR + _COLOUR_SHARE * strength
    return np.asarray(differs.sum(axis=1) <= _OTHER_COLOURS)


def _same_shapes(a: Floats, b: Floats) -> NDArray[np.bool_]:
    grey_a, grey_b = (one[:, :_CELLS].reshape(-1, GREY_SIDE, GREY_SIDE) for one in (a, b))
    contrast = np.minimum(grey_a.std(axis=(1, 2)), grey_b.std(axis=(1, 2)))
    # Of an image without contrast any light would be explained by the offset.
    same_light = (
        np.abs(grey_a.mean(axis=(1, 2)) - grey_b.mean(axis=(1, 2)))
        <= _LIGHT + _LIGHT_SHARE * contrast
    )
    same = np.zeros(len(a), bool)
    for view in _VIEWS:
        fits = [_left_over(grey_a, grey_b, view), _left_over(grey_b, grey_a, view)]
        first = fits[0][1] <= fits[1][1]
        gain = np.where(first, fits[0][0], fits[1][0])
        whole = np.where(first, fits[0][1], fits[1][1])
        rest = np.where(first[:, None], fits[0][2], fits[1][2])
        large = np.abs(rest) > (_REST_ANYWHERE * (contrast + _NOISE_ANYWHERE))[:, None]
        fine = (gain >= _GAINS[0]) & (gain <= _GAINS[1]) & ~large[:, view].any(axis=1)
        fine &= whole <= _REST * (contrast + _NOISE)
        if view != _VIEWS[0]:
            fine &= (large.sum(axis=1) <= _MARKED_CELLS) & (contrast > _MARKED_CONTRAST)
        same |= fine
    return np.asarray(same & same_light)


def _left_over(a: Floats, b: Floats, view: slice) -> tuple[Floats, Floats, Floats]:
    """Explain what `b` shows in a view by `a`: the gain, the deviation of what is left over there,
    and what is left over anywhere, [n, cells]."""
    down, across = np.gradient(a, axis=(1, 2))
    basis = np.stack(
        [a, np.ones_like(a), across, across * _ACROSS, down, down * _DOWN], axis=-1
    ).reshape(len(a), -1, 6)
    seen = b.reshape(len(b), -1, 1)
    turned = basis[:, view].transpose(0, 2, 1)
    fitted = np.linalg.solve(turned @ basis[:, view] + _WEIGHTS, turned @ seen[:, view])
    rest = (seen - basis @ fitted)[:, :, 0]
    return fitted[:, 0, 0], np.sqrt((rest[:, view] ** 2).mean(axis=1)), rest
