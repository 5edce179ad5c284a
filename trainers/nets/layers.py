"""Layers that several models share."""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """Layer norm in fp32 whatever comes in, its result in what came in."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., W] to [..., W]."""
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


def at(x: Tensor, mask: Tensor, share: float) -> Tensor:
    """States [B, T, W] at the places of a bool mask [B, T], row by row: [n, W].

    Where there is no memory (device meta) nobody knows how many they are; then `share` of all.
    """
    if x.is_meta:
        return x.flatten(0, 1)[: math.ceil(share * mask.numel())]
    return x[mask]
