"""The second look at two images whose hashes are near: whether their thumbnails show the same.

A near-copy differs from its original by a little light and contrast, a crop of a few per cent, and
marks that are faint, or small and at the upper or lower edge, as a site's name is. The first two
are fitted: the one thumbnail is explained by the other with a gain, an offset, and a shift and a
stretch along either axis (Gauss-Newton steps on the gradients: Lucas and Kanade 1981). What is
left over is what differs: as a whole it must be small beside the image's contrast, and nowhere
large, for a changed object or curve is large somewhere. Next to blank images have little contrast,
so there nearly nothing may be left. Colours must agree.

A number or word on a sign may be faint, and is then no larger than a watermark. But where a mark is
laid over a place, one image has detail there that the other lacks; where one word stands for
another, both have as much, and it is not the same. So wherever both images have about as much
detail, it must go together.

The bounds were chosen on the split `dev` of `benchmarks/near_images`.
"""

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.images.appearance import COLOUR_SIDE, GREY_SIDE

_REST, _REST_ANYWHERE = 0.4, 1.5
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
_DETAIL, _PLACE, _DETAIL_NOISE = 9, 16, 4.0
"""The cells along a side whose mean is taken off to leave the detail of a cell, those along a side
of a place, and the levels that are added to the detail of a place."""
_AS_MUCH, _TOGETHER = 0.75, 0.8
"""The share of the power of one image's detail that the other must have for a place to count, and
the least correlation of the two there."""
_LIGHT, _LIGHT_SHARE = 20.0, 3.0
"""The levels, and the share of the contrast, by which the mean light may differ."""
_GAINS = (0.5, 2.0)
_ASPECT = 0.12
"""The greatest difference of the logarithms of the aspect ratios."""
_STIFFNESS = 0.05
_AT_ONCE = 256
_STEPS, _FARTHEST = 2, 1.5
"""The steps in which an image is moved to where it explains another best, and the cells of each."""

_SIDE = 16
"""The cells along a side by which the whole is compared; places are compared by all there are."""
_CELLS = _SIDE * _SIDE
_EDGE = _EDGE_ROWS * _SIDE
_VIEWS = (slice(0, _CELLS), slice(0, _CELLS - _EDGE), slice(_EDGE, _CELLS))
"""The whole, and all but the lower or the upper edge."""

Floats = NDArray[np.float64]


def look_alike(
    thumbnails: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    aspects: tuple[Floats, Floats],
    in_detail: bool = True,
) -> NDArray[np.bool_]:
    """Whether the images of each pair show the same.

    Args:
        thumbnails: Of both images of each pair, uint8 [n, THUMBNAIL_BYTES]. Colours are brought to
            the strength of the second; but for colours at their bounds the order does not count.
        aspects: Logarithms of width / height, [n].
        in_detail: Whether what differs in detail alone, as one word does from another, is not the
            same.
    """
    looks = [_same_colours, _same_shapes, *([_same_detail] if in_detail else [])]
    found = [np.empty(0, bool)]
    for start in range(0, len(aspects[0]), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        a, b = (one[part].astype(np.float64) for one in thumbnails)
        same = np.abs(aspects[0][part] - aspects[1][part]) <= _ASPECT
        for looks_same in looks:
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


def _grey(thumbnails: Floats) -> Floats:
    return thumbnails[:, : GREY_SIDE**2].reshape(-1, GREY_SIDE, GREY_SIDE)


def _coarse(grey: Floats) -> Floats:
    step = GREY_SIDE // _SIDE
    return np.asarray(grey.reshape(-1, _SIDE, step, _SIDE, step).mean(axis=(2, 4)))


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


def _same_detail(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Whether the detail of both goes together wherever they have about as much."""
    a, b = _grey(a), _grey(b)
    (moved, rest), (other_moved, other_rest) = _moved(a, b), _moved(b, a)
    first = (rest <= other_rest)[:, None, None]
    one, other = _detail(np.where(first, moved, other_moved)), _detail(np.where(first, b, a))
    powers = _means(one**2, _PLACE), _means(other**2, _PLACE)
    noise = _DETAIL_NOISE**2
    together = _means(one * other, _PLACE) + noise
    together /= np.sqrt((powers[0] + noise) * (powers[1] + noise))
    counts = np.minimum(*powers) >= _AS_MUCH * np.maximum(*powers)
    return np.asarray(np.all(~counts | (together >= _TOGETHER), axis=(1, 2)))


def _moved(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """`a` moved to where it explains `b` best, [n, side, side], and the power of what is left over
    of `b`, [n]."""
    whole, side = slice(None), a.shape[1]
    moves, moved = np.zeros((len(a), 4)), a
    for _ in range(_STEPS):
        fitted, _rest = _explain(moved, b, whole)
        step = fitted[:, 2:] / np.maximum(fitted[:, :1], 0.2)
        moves += np.clip(step, -_FARTHEST, _FARTHEST)
        moved = _moving(moves[:, 2:], side) @ a @ _moving(moves[:, :2], side).swapaxes(1, 2)
    return moved, (_explain(moved, b, whole)[1] ** 2).mean(axis=1)


def _detail(grey: Floats) -> Floats:
    """Cells less the mean of their neighbourhood, [n, side, side]."""
    around = _DETAIL // 2
    edges = ((0, 0), (around, around), (around, around))
    return grey - _means(np.pad(grey, edges, mode="edge"), _DETAIL)


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


def _means(cells: Floats, size: int) -> Floats:
    """Means over all squares of so many cells a side, [n, places, places]."""
    sums = np.cumsum(np.cumsum(np.pad(cells, ((0, 0), (1, 0), (1, 0))), axis=1), axis=2)
    return np.asarray(
        sums[:, size:, size:] - sums[:, :-size, size:] - sums[:, size:, :-size]
        + sums[:, :-size, :-size]
    ) / size**2  # fmt: skip
