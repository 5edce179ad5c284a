"""Positions of OFA's tokens: ids of image tokens, and rows of the tables of relative positions.

Nothing of a position is added to a token; it enters attention as a bias, of absolute positions
(once for all layers) and of relative ones (a table a layer), the latter among the tokens of a text
or of an image alone.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from septet.trainers.ofa.settings import GRID

NEAR = 128
"""Tokens of a text that are so close have a row of their own for each distance."""
FAR = 1024
"""Greater distances share rows in steps of a logarithm, up to this one."""

TEXT_ROWS = 4 * NEAR - 1
"""Of a table of relative positions of text."""
IMAGE_ROWS = (2 * GRID - 1) ** 2 + 3
"""Of a table of relative positions of images; the last three are for the place before the first
image code: as query, as key, as both."""
IMAGE_IDS = GRID**2 + 1
"""Image positions: 0 is before the first code, 1 + row * GRID + column the grid."""
BEHIND = 1024
"""The image position of what follows the last code."""
AFTER = 769
"""Places behind the last code that the released files have positions for."""


@lru_cache(16)
def text_rows(length: int, device: torch.device) -> Tensor:
    """Rows of the table for texts, int64 [length, length], by query and key."""
    places = torch.arange(length)
    apart = places[:, None] - places[None, :]
    far = apart.abs().clamp(min=NEAR - 1)
    steps = torch.log(far / NEAR) / math.log((FAR - 1) / NEAR) * (NEAR - 1)
    found = torch.where(
        apart.abs() <= NEAR, apart, (torch.ceil(steps).long() + NEAR) * apart.sign()
    )
    return (found + 2 * NEAR - 1).to(device)


def image_rows(ids: Tensor) -> Tensor:
    """Rows of the table for image positions `ids` int64 [..., n]: [..., n, n], by query and key."""
    row, column = (ids - 1) // GRID, (ids - 1) % GRID

    def apart(x: Tensor) -> Tensor:
        return x[..., :, None] - x[..., None, :] + GRID - 1

    found = apart(row) * (2 * GRID - 1) + apart(column)
    as_query, as_key = (ids == 0)[..., :, None], (ids == 0)[..., None, :]
    found = torch.where(as_query, IMAGE_ROWS - 3, found)
    return torch.where(as_key, IMAGE_ROWS - 2 + as_query.long(), found)


def grid_ids(height: int, width: int, device: torch.device) -> Tensor:
    """Image positions of a grid of tokens, row by row, int64 [height * width]."""
    rows = torch.arange(height, device=device)[:, None] * GRID
    return (1 + rows + torch.arange(width, device=device)).flatten()


def code_ids(side: int, length: int, device: torch.device) -> Tensor:
    """Image positions of `length` places of a target of side x side image codes, int64 [length]:
    that before the first code, those of the grid's upper left, those behind the last."""
    ids = torch.full((max(length, side**2 + 1),), BEHIND, device=device)
    ids[0] = 0
    ids[1 : side**2 + 1] = grid_ids(side, side, device)
    return ids[:length]
