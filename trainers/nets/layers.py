"""Layers that several models share."""

import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """Layer norm in fp32 whatever comes in, its result in what came in."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., W] to [..., W]."""
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


def at(x: Tensor, places: Tensor) -> Tensor:
    """Of [B, T, ...] the entries at flat positions int64 [n], b T + t each (see `Task.places`):
    [n, ...]."""
    return x.flatten(0, 1).index_select(0, places)
