"""The second look at two images whose hashes are near: whether their thumbnails show the same.

A near-copy differs from its original by a little light and contrast, a crop of a few per cent, and
marks that are faint, or small and at the upper or lower edge, as a site's name is. The first two
are fitted: the one thumbnail is explained by the other with a gain, an offset, and a shift and a
stretch along either axis (Gauss-Newton steps on the gradients: Lucas and Kanade 1981). What is
left over is what differs: as a whole it must be small beside the image's contrast, and nowhere
large, for a changed object or curve is large somewhere. Next to blank images have little contrast,
so there nearly nothing may be left. Colours must agree.

A number or word on a sign may be faint, and is then no larger than a watermark. But a mark makes a
place lighter, or darker; where one word stands for another, what was there is gone and something
else is there, so that it is lighter here and darker beside. So nowhere may much be left over of
both signs, measured by the contrast of the place itself.

The bounds were chosen on the split `dev` of `benchmarks/near_images`.
"""

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.images.appearance import COLOUR_SIDE, GREY_SIDE

_REST, _REST_ANYWHERE = 0.28, 1.0
"""The greatest share of the contrast that may be left, on the whole and in one cell."""
_NOISE, _NOISE_ANYWHERE = 2.0, 4.0
"""Levels of 256 that coding may add to the contrast."""
_EDGE_ROWS, _MARKED_CELLS, _MARKED_CONTRAST = 3, 12, 8.0
"""The rows at an edge in which a mark may stand, its greatest number of cells, and the contrast
from which on it is a mark on an image, not the image."""
_COLOUR, _COLOUR_SHARE, _OTHER_COLOURS = 0.8, 0.3, 1
"""The levels, and the share of the colour's strength, by which the colour of a cell may differ, and
how many cells may differ by more."""
_COLOUR_GAINS = (0.6, 1.6)
_PLACE, _PLACE_NOISE, _EXCHANGED, _EVERYWHERE = 8, 9.0, 0.26, 8.0
"""The cells along a side of a place, the levels that are added to its contrast, the greatest
share of it that may be left over of both signs, and how many times that of the quieter places a
place may have in any case: lines of print that were moved a little differ everywhere."""
_LIGHT, _LIGHT_SHARE = 20.0, 3.0
"""The levels, and the share of the contrast, by which the mean light may differ."""
_GAINS = (0.5, 2.0)
_ASPECT = 0.12
"""The greatest difference of the logarithms of the aspect ratios."""
_STIFFNESS = 0.05
_AT_ONCE = 1024

_SIDE = 16
"""The cells along a side by which the whole is compared; places are compared by all there are."""
_CELLS = _SIDE * _SIDE
_EDGE = _EDGE_ROWS * _SIDE
_VIEWS = (slice(0, _CELLS), slice(0, _CELLS - _EDGE), slice(_EDGE, _CELLS))
"""The whole, and all but the lower or the upper edge."""

Floats = NDArray[np.float64]


def look_alike(
    thumbnails: tuple[NDArray[np.uint8], NDArray[np.uint8]], aspects: tuple[Floats, Floats]
) -> NDArray[np.bool_]:
    """Whether the images of each pair show the same.

    Args:
        thumbnails: Of both images of each pair, uint8 [n, THUMBNAIL_BYTES]. Colours are brought to
            the strength of the second; but for colours at their bounds the order does not count.
        aspects: Logarithms of width / height, [n].
    """
    found = [np.empty(0, bool)]
    for start in range(0, len(aspects[0]), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        a, b = (one[part].astype(np.float64) for one in thumbnails)
        same = np.abs(aspects[0][part] - aspects[1][part]) <= _ASPECT
        for looks_same in (_same_colours, _same_shapes, _nothing_exchanged):
            if same.any():
                same[same] = looks_same(a[same], b[same])
        found.append(same)
    return np.concatenate(found)


def _same_colours(a: Floats, b: Floats) -> NDArray[np.bool_]:
    one, other = (
        part[:, GREY_SIDE**2 :].reshape(len(part), 2, COLOUR_SIDE**2) - 128 for part in (a, b)
    )
    products = [(x * y).sum(axis=(1, 2)) for x, y in ((one, other), (one, one))]
    gain = np.clip(products[0] / np.maximum(products[1], 1), *_COLOUR_GAINS)[:, None, None]
    strength = np.maximum(*(np.sqrt((x**2).sum(axis=1)) for x in (one, other)))
    apart = np.sqrt(((gain * one - other) ** 2).sum(axis=1))
    differs = apart > _COLOUR + _COLOUR_SHARE * strength
    return np.asarray(differs.sum(axis=1) <= _OTHER_COLOURS)


def _shares() -> Floats:
    """The share of each fine cell in each coarse one along a side, [_SIDE, GREY_SIDE]."""
    edges = np.arange(_SIDE + 1) * GREY_SIDE / _SIDE
    fine = np.arange(GREY_SIDE)
    covered = np.minimum(edges[1:, None], fine + 1) - np.maximum(edges[:-1, None], fine)
    return np.asarray(np.maximum(covered, 0) * _SIDE / GREY_SIDE)


_SHARES = _shares()


def _grey(thumbnails: Floats) -> Floats:
    return thumbnails[:, : GREY_SIDE**2].reshape(-1, GREY_SIDE, GREY_SIDE)


def _coarse(grey: Floats) -> Floats:
    return np.asarray(_SHARES @ grey @ _SHARES.T)


def _same_shapes(a: Floats, b: Floats) -> NDArray[np.bool_]:
    a, b = _coarse(_grey(a)), _coarse(_grey(b))
    contrast = np.minimum(a.std(axis=(1, 2)), b.std(axis=(1, 2)))
    # Of an image without contrast any light would be explained by the offset.
    same_light = (
        np.abs(a.mean(axis=(1, 2)) - b.mean(axis=(1, 2))) <= _LIGHT + _LIGHT_SHARE * contrast
    )
    same = np.zeros(len(a), bool)
    for view in _VIEWS:
        fits = [_explain(a, b, view), _explain(b, a, view)]
        left = [np.sqrt((rest[:, view] ** 2).mean(axis=1)) for _, rest in fits]
        first = left[0] <= left[1]
        gain = np.where(first, fits[0][0][:, 0], fits[1][0][:, 0])
        whole = np.minimum(*left)
        rest = np.where(first[:, None], fits[0][1], fits[1][1])
        large = np.abs(rest) > (_REST_ANYWHERE * (contrast + _NOISE_ANYWHERE))[:, None]
        fine = (gain >= _GAINS[0]) & (gain <= _GAINS[1]) & ~large[:, view].any(axis=1)
        fine &= whole <= _REST * (contrast + _NOISE)
        if view != _VIEWS[0]:
            fine &= (large.sum(axis=1) <= _MARKED_CELLS) & (contrast > _MARKED_CONTRAST)
        same |= fine
    return np.asarray(same & same_light)


def _explain(a: Floats, b: Floats, view: slice) -> tuple[Floats, Floats]:
    """Explain what `b` shows in a view by `a`: what was fitted (gain, offset, shift and stretch
    across, then down, by the gain), [n, 6], and what is left over anywhere, [n, cells]."""
    side = a.shape[1]
    way = np.linspace(-1, 1, side)
    down, across = np.gradient(a, axis=(1, 2))
    basis = np.stack(
        [a, np.ones_like(a), across, across * way, down, down * way[:, None]], axis=-1
    ).reshape(len(a), -1, 6)
    weights = np.diag([1e-3, 1e-3, *4 * [_STIFFNESS * side**2]])
    seen = b.reshape(len(b), -1, 1)
    turned = basis[:, view].transpose(0, 2, 1)
    fitted = np.linalg.solve(turned @ basis[:, view] + weights, turned @ seen[:, view])
    return fitted[:, :, 0], (seen - basis @ fitted)[:, :, 0]


def _nothing_exchanged(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Whether nowhere much is left over of both signs."""
    a, b = _grey(a), _grey(b)
    rests = [_left_over(a, b), _left_over(b, a)]
    first = (rests[0] ** 2).mean(axis=(1, 2)) <= (rests[1] ** 2).mean(axis=(1, 2))
    rest = np.where(first[:, None, None], *rests)
    contrast = np.minimum(*(_by_place(one**2) - _by_place(one) ** 2 for one in (a, b)))
    lighter, darker = (_by_place(np.maximum(one, 0) ** 2) for one in (rest, -rest))
    both = lighter * darker / np.maximum(lighter + darker, 1e-9)
    share = (both / (contrast + _PLACE_NOISE**2)).reshape(len(a), -1)
    quiet = np.quantile(share, 0.25, axis=1)
    return np.asarray(share.max(axis=1) <= np.maximum(_EXCHANGED**2, _EVERYWHERE * quiet))


def _left_over(a: Floats, b: Floats) -> Floats:
    """What is left over of `b` when `a` was moved to where it explains it best, [n, side, side]."""
    whole = slice(None)
    fitted, _ = _explain(a, b, whole)
    moves = np.clip(fitted[:, 2:] / np.maximum(fitted[:, :1], 0.2), -1, 1)
    moved = _moving(moves[:, 2:], len(a[0])) @ a @ _moving(moves[:, :2], len(a[0])).swapaxes(1, 2)
    return _explain(moved, b, whole)[1].reshape(b.shape)


def _moving(moves: Floats, side: int) -> Floats:
    """Matrices that shift and stretch along one axis, by cubic convolution (Keys 1981), [n, side,
    side]."""
    cells = np.arange(side)
    at = cells + moves[:, :1] + moves[:, 1:] * np.linspace(-1, 1, side)
    away = np.abs(np.clip(at, 0, side - 1)[:, :, None] - cells)
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    weights = np.where(away <= 1, near, np.where(away < 2, far, 0))
    return np.asarray(weights / weights.sum(axis=2, keepdims=True))


def _by_place(cells: Floats) -> Floats:
    """Means over all places, [n, places, places]."""
    sums = np.cumsum(np.cumsum(np.pad(cells, ((0, 0), (1, 0), (1, 0))), axis=1), axis=2)
    size = _PLACE
    return np.asarray(
        sums[:, size:, size:] - sums[:, :-size, size:] - sums[:, size:, :-size]
        + sums[:, :-size, :-size]
    ) / size**2  # fmt: skip
