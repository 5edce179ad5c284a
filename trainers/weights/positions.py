"""Position tables of image patches, for another number of patches."""

import torch.nn.functional as F
from torch import Tensor


def resize_grid(rows: Tensor, side: int, antialias: bool = False) -> Tensor:
    """Positions of a square grid of patches, interpolated for another grid: bicubic.

    Args:
        rows: [old * old, W], row by row; without positions of class tokens.
        side: Patches on each axis of the other grid.
        antialias: As open_clip does; Hugging Face and BEiT-3's code do not.

    Returns:
        [side * side, W], of the same type.
    """
    old = round(len(rows) ** 0.5)
    if old == side:
        return rows
    grid = rows.float().T.reshape(1, -1, old, old)
    resized = F.interpolate(
        grid, (side, side), mode="bicubic", antialias=antialias, align_corners=False
    )
    return resized.flatten(2)[0].T.to(rows.dtype)
