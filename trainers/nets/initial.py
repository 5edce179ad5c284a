"""Initial values that `torch.nn.init` has no rule for that the meta device can note."""

import math

import torch
from torch import Tensor


@torch.no_grad()
def truncated_normal_(x: Tensor, std: float, most: float) -> Tensor:
    """Fill with a normal distribution of deviation `std`, cut off at `most` from zero.

    `nn.init.trunc_normal_` redraws what lies beyond, so what it does depends on what it drew; this
    maps a uniform draw through the distribution's inverse.
    """
    reach = math.erf(most / std / math.sqrt(2))
    x.uniform_(-reach, reach).erfinv_().mul_(std * math.sqrt(2))
    return x.clamp_(-most, most)
